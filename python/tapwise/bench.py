"""The quick table of `tapwise bench`: convolution layers of known networks, our algorithms beside NumPy and Numba.

Each result is checked against the float64 reference, then timed: the median of rounds that take turns between the
engines and a measurement of the FMA peak. GFLOP/s count the direct method's operations; the error is the largest
difference over the largest value.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from math import isnan, nan, prod
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import backend, isa, numpy_im2col, ops, threads
from .geometry import ConvGeometry, conv_geometry
from .plan import plan

Array = NDArray[Any]
ROUNDS = 5
ROUND_SECONDS = 0.03
SETTLE_SECONDS = 0.12  # after a product a thread of OpenBLAS spins for 0.1 s on a core that the next engine needs
AMPLIFIED = {"auto": 4, "winograd-2x2": 2, "winograd-4x4": 4, "winograd-6x6": 16}  # errors, against a direct sum's
BLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Layer:
    """A convolution of a known network, channels last: x (n, *spatial, ci), w (*k, ci // groups, co)."""

    name: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    strides: int = 1
    padding: str | int = "same"

    def __str__(self) -> str:
        return self.name

    @cached_property
    def g(self) -> ConvGeometry:
        return conv_geometry(self.x_shape, self.w_shape, self.strides, self.padding, 1, None, "channels_last")

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments of tapwise.conv."""
        return {"strides": self.strides, "padding": self.padding}

    def terms(self, direction: str) -> int:
        """Products in one sum."""
        if direction == "grad_weight":
            return prod(self.g.y_shape[:-1])
        per_output = prod(self.w_shape[:-1])
        return per_output if direction == "forward" else per_output * self.w_shape[-1] // self.x_shape[-1]

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each term of each output; the same for both gradients."""
        return 2 * prod(self.g.y_shape) * self.terms("forward")

    @property
    def bytes(self) -> int:
        """Of x, w and y, each once, float32."""
        return 4 * (prod(self.x_shape) + prod(self.w_shape) + prod(self.g.y_shape))

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """x, w, b and dy (as y) of normal numbers, float32, the same each time."""
        rng = np.random.default_rng(0)
        shapes = (self.x_shape, self.w_shape, self.w_shape[-1:], self.g.y_shape)
        x, w, b, dy = (rng.standard_normal(shape, np.float32) for shape in shapes)
        return x, w, b, dy


LAYERS = (
    Layer("LeNet 5x5 1-32 @28 n64", (64, 28, 28, 1), (5, 5, 1, 32)),
    Layer("ResNet-50 3x3 64-64 @56", (1, 56, 56, 64), (3, 3, 64, 64)),
    Layer("ResNet-50 1x1 64-256 @56", (1, 56, 56, 64), (1, 1, 64, 256)),
    Layer("ResNet-50 3x3 256-256 @14", (1, 14, 14, 256), (3, 3, 256, 256)),
    Layer("MobileNetV2 3x3 depthwise 144 @56", (1, 56, 56, 144), (3, 3, 1, 144)),
    Layer("MobileNetV2 1x1 64-384 @14", (1, 14, 14, 64), (1, 1, 64, 384)),
)


class Engine(NamedTuple):
    """One way to compute a convolution and its gradients."""

    name: str
    backend: str  # "numpy" is numpy_im2col
    algorithm: str = "auto"

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def use(self) -> Iterator[None]:
        with backend.use("reference" if self.backend == "numpy" else self.backend):
            yield

    def call(self, layer: Layer, direction: str = "forward") -> tuple[Callable[[], object], Array]:
        """What to time while the engine is in use, and the output that it writes."""
        x, w, b, dy = layer.arrays()
        out = np.full({"forward": dy, "grad_input": x, "grad_weight": w}[direction].shape, nan, np.float32)
        if self.backend == "numpy":
            return {
                "forward": lambda: numpy_im2col.conv(x, w, b, out, layer.g),
                "grad_input": lambda: numpy_im2col.conv_grad_input(dy, w, out, layer.g),
                "grad_weight": lambda: numpy_im2col.conv_grad_weight(x, dy, out, layer.g),
            }[direction], out
        options = {**layer.geometry, "algorithm": self.algorithm, "out": out}
        return {
            "forward": lambda: ops.conv(x, w, b, **options),
            "grad_input": lambda: ops.conv_grad_input(dy, w, x.shape, **options),
            "grad_weight": lambda: ops.conv_grad_weight(x, dy, w.shape, **options),
        }[direction], out

    def error(self, layer: Layer, direction: str = "forward") -> float:
        """The largest difference to the float64 result, over the largest value of that.

        Raises ArithmeticError above 2 * eps * sqrt(terms): the terms have random signs, so sums and their rounding
        errors grow as random walks do. Winograd's may be as many times larger as its table in docs/numerics.md says.
        """
        call, out = self.call(layer, direction)
        with self.use():
            call()
        want = wanted(layer, direction)
        error = float(np.abs(out - want).max() / np.abs(want).max())
        amplified = AMPLIFIED.get(self.algorithm, 1) if self.backend == "native" else 1
        bound = 2 * amplified * float(np.finfo(np.float32).eps) * layer.terms(direction) ** 0.5
        if not error <= bound:
            raise ArithmeticError(f"{self} is wrong on {direction} {layer}: error {error:.1e}, at most {bound:.1e}")
        return error


REFERENCE = Engine("NumPy reference", "reference")


@lru_cache(maxsize=1)
def wanted(layer: Layer, direction: str) -> Array:
    """The result in float64."""
    x, w, b, dy = (a.astype(np.float64) for a in layer.arrays())
    with backend.use("reference"):
        if direction == "forward":
            return ops.conv(x, w, b, **layer.geometry)
        if direction == "grad_input":
            return ops.conv_grad_input(dy, w, x.shape, **layer.geometry)
        return ops.conv_grad_weight(x, dy, w.shape, **layer.geometry)


class Row(NamedTuple):
    layer: Layer
    engine: Engine
    seconds: float
    error: float
    peak: float  # GFLOP/s of multiply-adds between the same rounds; NaN without the extension

    @property
    def gflops(self) -> float:
        return self.layer.flops / self.seconds / 1e9

    def text(self, layer: str, slowest: float) -> str:
        share = "-" if isnan(self.peak) else f"{100 * self.gflops / self.peak:.1f}"
        return (
            f"{layer:<34}{self.engine.name:<21}{self.seconds * 1e3:>9.3f}{self.gflops:>9.1f}{share:>8}"
            f"{slowest / self.seconds:>13.1f}{self.error:>9.1e}"
        )


def engines(layer: Layer, direction: str = "forward") -> list[Engine]:
    """The reference first, then what this machine has for the layer."""
    found = [REFERENCE, Engine("NumPy im2col + BLAS", "numpy")]
    if "numba" in backend.available():
        found.append(Engine("Numba", "numba"))
    if "native" in backend.available():
        with backend.use("native"):
            possible = plan(layer.x_shape, layer.w_shape, direction=direction, **layer.geometry).possible
        found += [Engine(f"tapwise {algorithm}", "native", algorithm) for algorithm in possible]
    return found


def measure(layer: Layer) -> list[Row]:
    """One row for each engine, of the forward pass."""
    found = engines(layer)
    errors = [engine.error(layer) for engine in found]
    calls = [engine.call(layer)[0] for engine in found]
    times: list[list[float]] = [[] for _ in found]
    peaks = []
    for _ in range(ROUNDS):
        peaks.append(fma_peak())
        for engine, call, seconds in zip(found, calls, times, strict=True):
            with engine.use():
                seconds.append(round_seconds(call))
            if engine.backend != "native":
                time.sleep(SETTLE_SECONDS)
    return [Row(layer, *row, max(peaks)) for row in zip(found, map(median, times), errors, strict=True)]


def round_seconds(call: Callable[[], object]) -> float:
    """Seconds of a call, from as many as fit into ROUND_SECONDS, one at least."""
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < ROUND_SECONDS:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def fma_peak() -> float:
    """The best of three short measurements, GFLOP/s on all threads; NaN without the extension."""
    if "native" not in backend.available():
        return nan
    with backend.use("native"):
        return max(isa.fma_peak() for _ in range(3))


def machine() -> str:
    """CPU, instruction set, threads, compiler, BLAS and commit: what a table of speeds must say."""
    engine = "native" if "native" in backend.available() else backend.name()
    with backend.use(engine):
        build = backend.current().build_info()
        facts = [cpu_name(), isa.name(), f"{threads.get()} threads", build.get("compiler", engine)]
    facts += [f"NumPy {np.__version__}", *blas(), *commit()]
    return ", ".join(facts)


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> list[str]:
    """The kernels that NumPy's OpenBLAS chose, if threadpoolctl is there to ask."""
    if find_spec("threadpoolctl") is None:
        return []
    from threadpoolctl import threadpool_info

    return [f"OpenBLAS {pool['architecture']}" for pool in threadpool_info() if pool.get("internal_api") == "openblas"][
        :1
    ]


def commit() -> list[str]:
    """Of the source tree that this module runs from; none if it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return []
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return [f"commit {answer.stdout.strip()}"]


def print_table() -> None:
    """Print the machine and, as they are measured, the rows: about fifteen seconds, more where Numba compiles first."""
    peak = fma_peak()
    print(machine())
    print("FMA peak not measured: the extension isn't built" if isnan(peak) else f"FMA peak {peak:.0f} GFLOP/s")
    for variable in BLAS_VARIABLES:
        if variable in os.environ:
            print(f"{variable} is set: NumPy's BLAS may be slower than it can be")
    print(f"\n{'layer':<34}{'by':<21}{'ms':>9}{'GFLOP/s':>9}{'% peak':>8}{'x reference':>13}{'error':>9}")
    for layer in LAYERS:
        rows = measure(layer)
        for number, row in enumerate(rows):
            print(row.text("" if number else layer.name, rows[0].seconds), flush=True)
