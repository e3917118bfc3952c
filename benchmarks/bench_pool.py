"""Pooling and its gradients in GB/s, in both layouts, beside the rate at which this machine copies memory.

pytest benchmarks/bench_pool.py --benchmark-enable --benchmark-json=pool.json
python benchmarks/report.py pool.json
"""

import time
from dataclasses import dataclass

import numpy as np
import pytest

import tapwise


@dataclass(frozen=True)
class Row:
    """Square windows over x (n, size, size, c), or (n, c, size, size)."""

    window: int
    strides: int
    c: int
    size: int
    n: int
    data_format: str

    def __str__(self):
        layout = "nhwc" if self.data_format == "channels_last" else "nchw"
        return f"{self.window}x{self.window} s{self.strides} {self.c} @{self.size} n{self.n} {layout}"

    @property
    def geometry(self):
        return {"strides": self.strides, "data_format": self.data_format}

    @property
    def bytes(self):
        """Of x, float32."""
        return 4 * self.n * self.size**2 * self.c

    def image(self):
        shape = (self.n, self.size, self.size, self.c)
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        return x if self.data_format == "channels_last" else np.ascontiguousarray(np.moveaxis(x, -1, 1))

    def call(self, operation):
        """What to time, its output, and the bytes that it must read and write."""
        x = self.image()
        y, indices = tapwise.max_pool(x, self.window, return_indices=True, **self.geometry)
        dy, dx = np.random.default_rng(1).standard_normal(y.shape, np.float32), np.empty_like(x)
        moved = x.nbytes + y.nbytes
        if operation == "max_pool":
            return lambda: tapwise.max_pool(x, self.window, out=y, **self.geometry), y, moved
        if operation == "average_pool":
            return lambda: tapwise.average_pool(x, self.window, out=y, **self.geometry), y, moved
        if operation == "max_pool_grad":
            options = {"data_format": self.data_format, "out": dx}
            return lambda: tapwise.max_pool_grad(dy, indices, x.shape, **options), dx, moved + indices.nbytes
        return lambda: tapwise.average_pool_grad(dy, x.shape, self.window, out=dx, **self.geometry), dx, moved


SIZES = [(3, 2, 64, 112, 16), (2, 2, 64, 56, 16), (3, 2, 64, 112, 1)]
ROWS = [Row(*sizes, data_format) for sizes in SIZES for data_format in ("channels_last", "channels_first")]
OPERATIONS = ("max_pool", "average_pool", "max_pool_grad", "average_pool_grad")
BACKENDS = tapwise.backend.available()


def result(row, operation, backend):
    with tapwise.backend.use(backend):
        call, out, _ = row.call(operation)
        call()
    return out


@pytest.fixture(scope="module")
def copy_rate():
    """GB/s of NumPy's copy from and to memory, on one thread; bytes read and written count."""
    source = np.ones(1 << 26, np.uint8)
    target, seconds = source.copy(), []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds) / 1e9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def bench_pool(benchmark, copy_rate, operation, row, backend):
    want, got = result(row, operation, "reference"), result(row, operation, backend)
    error = float(np.abs(got - want).max())
    # A maximum is exact; an average, and a gradient where windows overlap, are sums of at most 9 terms.
    assert error <= (0 if operation == "max_pool" else 9 * np.finfo(np.float32).eps * np.abs(want).max())
    with tapwise.backend.use(backend):
        call, _, moved = row.call(operation)
        benchmark.group = f"{operation} {row}"
        benchmark.extra_info.update(
            row=str(row), direction=operation, engine=backend, bytes=moved, error=error, copy_rate=copy_rate
        )
        benchmark(call)
