"""bfloat16 and int8 on layers of ResNet-50, weights packed: share of the peak of their own multiply-adds.

pytest benchmarks/bench_lowp.py --benchmark-enable --benchmark-json=lowp.json
python benchmarks/bench_lowp.py          # the table of docs/performance.md: rounds that alternate with the peak
"""

import time

import numpy as np
import pytest

import tapwise

ml_dtypes = pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")

# name, x, w, padding, stride
LAYERS = [
    ("3x3 256 @14 n1", (1, 14, 14, 256), (3, 3, 256, 256), 1, 1),
    ("1x1 1024-256 @14 n1", (1, 14, 14, 1024), (1, 1, 1024, 256), 0, 1),
    ("3x3 64 @56 n1", (1, 56, 56, 64), (3, 3, 64, 64), 1, 1),
    ("3x3 512 @7 n1", (1, 7, 7, 512), (3, 3, 512, 512), 1, 1),
    ("1x1 256-64 @56 n1", (1, 56, 56, 256), (1, 1, 256, 64), 0, 1),
    ("1x1 64-256 @56 n1", (1, 56, 56, 64), (1, 1, 64, 256), 0, 1),
    ("7x7 s2 3-64 @224 n1", (1, 224, 224, 3), (7, 7, 3, 64), 3, 2),
    ("3x3 256 @14 n16", (16, 14, 14, 256), (3, 3, 256, 256), 1, 1),
    ("1x1 1024-256 @14 n16", (16, 14, 14, 1024), (1, 1, 1024, 256), 0, 1),
]
ROUNDS, SECONDS = 5, 0.08


def bf16_call(x_shape, w_shape, geometry):
    """A call, its result's largest error against float64 over the largest value, and its operations."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_shape).astype(ml_dtypes.bfloat16)
    w = (rng.standard_normal(w_shape) / 30).astype(ml_dtypes.bfloat16)
    b = rng.standard_normal(w_shape[-1]).astype(np.float32)
    packed = tapwise.pack(w, x_shape=x_shape, **geometry)
    y = tapwise.conv(x, packed, b, **geometry)
    want = tapwise.conv(*(a.astype(np.float32) for a in (x, w, b)), **geometry, accuracy="strict")
    error = float(np.abs(y.astype(np.float32) - want).max() / np.abs(want).max())
    return lambda: tapwise.conv(x, packed, b, out=y, activation="relu", **geometry), error, y


def int8_call(x_shape, w_shape, geometry):
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, x_shape, np.uint8), rng.integers(-127, 128, w_shape, np.int8)
    b = rng.integers(-999, 999, w_shape[-1], np.int32)
    step = 1 / (74 * 73 * float(np.prod(w_shape[:-1])) ** 0.5)
    how = {"x_scale": 1.0, "x_zero_point": 128, "w_scale": np.full(w_shape[-1], step, np.float32), **geometry}
    how |= {"y_scale": 0.03, "y_zero_point": 128}
    packed = tapwise.pack(w, x_shape=x_shape, **geometry)
    y = tapwise.conv_int8(x, packed, b, **how)
    values = (x.astype(np.float32) - 128, w * np.float32(step), b.astype(np.float32) * np.float32(step))
    want = np.clip(tapwise.conv(*values, **geometry, accuracy="strict"), -128 * 0.03, 127 * 0.03)
    error = float(np.abs((y.astype(np.float32) - 128) * 0.03 - want).max() / np.abs(want).max())
    return lambda: tapwise.conv_int8(x, packed, b, out=y, activation="relu", **how), error, y


KINDS = {"bfloat16": bf16_call, "int8": int8_call}


def prepared(layer, dtype):
    name, x_shape, w_shape, padding, strides = layer
    call, error, y = KINDS[dtype](x_shape, w_shape, {"padding": padding, "strides": strides})
    assert error < 0.01, f"{name} {dtype}: error {error}"
    return call, error, 2 * y.size * int(np.prod(w_shape[:-1]))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
@pytest.mark.parametrize("dtype", KINDS)
def bench_low_precision(benchmark, layer, dtype):
    call, error, flops = prepared(layer, dtype)
    benchmark.group = f"{dtype} {layer[0]}"
    benchmark.extra_info.update(row=layer[0], direction=dtype, engine="tapwise", flops=flops, error=error)
    benchmark.extra_info.update(peak=tapwise.isa.fma_peak(1 << 16, dtype))
    benchmark(call)


def median_seconds(call):
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def main():
    print(f"| layer, {tapwise.isa.name()}, {tapwise.threads.get()} threads | dtype | GFLOP/s | peak | share | error |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for layer in LAYERS:
        for dtype in KINDS:
            call, error, flops = prepared(layer, dtype)
            call()
            speeds, peaks = [], []
            for _ in range(ROUNDS):
                peaks.append(tapwise.isa.fma_peak(1 << 18, dtype))
                speeds.append(flops / median_seconds(call) / 1e9)
            speed, peak = float(np.median(speeds)), max(peaks)
            print(f"| {layer[0]} | {dtype} | {speed:.0f} | {peak:.0f} | {speed / peak:.2f} | {error:.0e} |", flush=True)


if __name__ == "__main__":
    main()
