"""What users of other engines complain of, as rows: what must not be slow stands beside what it is compared with.

pytest benchmarks/bench_gates.py --benchmark-enable --benchmark-json=gates.json
python benchmarks/report.py gates.json
"""

import json
import statistics
import subprocess
import sys
from math import prod

import numpy as np
import pytest

import tapwise
from tapwise.geometry import conv_geometry, conv_transpose_geometry

DIRECTIONS = ("forward", "grad_input", "grad_weight")


def random(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def compare(got, reference, *arrays, **geometry):
    """The largest difference to float64, over the largest value; refused where rounding can't explain it."""
    with tapwise.backend.use("reference"):
        want = reference(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arrays), **geometry)
    error = float(np.abs(got - want).max() / np.abs(want).max())
    assert error < 2e-5  # the terms are random: these rows look for speed, the tests hold results to derived bounds
    return error


def time_conv(benchmark, gate, row, direction, x_shape, w_shape, **options):
    """One direction of a convolution; options beyond the geometry go to the operation."""
    geometry = {key: options[key] for key in ("strides", "padding", "dilation", "data_format") if key in options}
    defaults = {"strides": 1, "padding": "valid", "dilation": 1, "data_format": "channels_last", **geometry}
    g = conv_geometry(x_shape, w_shape, *(defaults[key] for key in ("strides", "padding", "dilation")), None,
                      defaults["data_format"])  # fmt: skip
    x, w, dy = random(x_shape, w_shape, g.y_shape)
    operation, arrays, like = {
        "forward": (tapwise.conv, (x, w), dy),
        "grad_input": (tapwise.conv_grad_input, (dy, w, x_shape), x),
        "grad_weight": (tapwise.conv_grad_weight, (x, dy, w_shape), w),
    }[direction]
    out = np.zeros_like(like)
    operation(*arrays, out=out, **options)
    channels = w_shape[:-1] if g.channels_last else w_shape[1:]
    plan = tapwise.plan(x_shape, w_shape, direction=direction, **{k: v for k, v in options.items() if k != "out"})
    named = options.get("algorithm", "auto")
    engine = f"auto: {plan.algorithm}" if named == "auto" else named
    benchmark.group = f"gate {gate} {row}"
    benchmark.extra_info.update(
        row=f"gate {gate}: {row}", direction=direction, engine=engine,
        flops=2 * prod(g.y_shape) * prod(channels), bytes=4 * (x.size + w.size + dy.size),
        workspace=plan.workspace_bytes, packed=plan.packed_bytes,
        error=compare(out, operation, *arrays, **geometry),
    )  # fmt: skip
    benchmark(operation, *arrays, out=out, **options)


SEPARABLE = {
    "32 @112": (1, 112, 112, 32),
    "128 @28": (1, 28, 28, 128),
    "512 @14": (1, 14, 14, 512),
    "1-D 64 @16000": (1, 16000, 64),
    "3-D 32 @28": (1, 28, 28, 28, 32),
}


@pytest.mark.parametrize("kind", ["depthwise", "groups of 4", "dense"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("row", SEPARABLE)
def bench_groups(benchmark, peak, row, direction, kind):
    """Gate 3: in no pass slower than the dense one of the same shape. GFLOP/s are of the kind's own operations."""
    x_shape = SEPARABLE[row]
    c = x_shape[-1]
    w_shape = (*[3] * (len(x_shape) - 2), {"depthwise": 1, "groups of 4": 4, "dense": c}[kind], c)
    time_conv(benchmark, 3, f"k3 {row}, {kind}", direction, x_shape, w_shape, padding="same")


TRANSPOSED = {
    "2x2 s2 128-64 @28, as U-Net's": ((1, 28, 28, 128), (2, 2, 64, 128), 2),
    "2x2 s4 64-64 @28, stride > kernel": ((1, 28, 28, 64), (2, 2, 64, 64), 4),
    "4x4 s2 256-128 @16, as a generator's": ((1, 16, 16, 256), (4, 4, 128, 256), 2),
    "1-D 1024 s256 512-1 @128, as a vocoder's": ((1, 128, 512), (1024, 1, 512), 256),
}


@pytest.mark.parametrize("row", TRANSPOSED)
def bench_transposed(benchmark, peak, row):
    """Gate 4: 10 to 1000 times too slow elsewhere."""
    x_shape, w_shape, strides = TRANSPOSED[row]
    x, w = random(x_shape, w_shape)
    g = conv_transpose_geometry(x_shape, w_shape, strides, "valid", None, 1, None, "channels_last")
    y = np.zeros(g.x_shape, np.float32)
    tapwise.conv_transpose(x, w, strides=strides, out=y)
    benchmark.group = f"gate 4 {row}"
    benchmark.extra_info.update(
        row=f"gate 4: {row}", direction="transposed", engine="tapwise", flops=2 * x.size * prod(w_shape[:-1]),
        bytes=4 * (x.size + w.size + y.size), error=compare(y, tapwise.conv_transpose, x, w, strides=strides),
    )  # fmt: skip
    benchmark(tapwise.conv_transpose, x, w, strides=strides, out=y)


SIGNALS = {
    "k9 64 (16000)": ((1, 16000, 64), (9, 64, 64)),
    "k9 64 (1, 16000)": ((1, 1, 16000, 64), (1, 9, 64, 64)),
    "k9 64 (16000, 1)": ((1, 16000, 1, 64), (9, 1, 64, 64)),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("row", SIGNALS)
def bench_signal(benchmark, peak, row, direction):
    """Gate 5: a long signal, and the same as an image of one row or one column."""
    time_conv(benchmark, 5, row, direction, *SIGNALS[row], padding="same")


TINY = {
    "3x3 3-8 @8": ((1, 8, 8, 3), (3, 3, 3, 8)),
    "5x5 1-6 @28": ((1, 28, 28, 1), (5, 5, 1, 6)),
    "1x1 16-16 @8": ((1, 8, 8, 16), (1, 1, 16, 16)),
    "3x3 32-32 @4": ((1, 4, 4, 32), (3, 3, 32, 32)),
    "1x1 1-1 @1": ((1, 1, 1, 1), (1, 1, 1, 1)),
}


@pytest.mark.parametrize("row", TINY)
def bench_tiny(benchmark, peak, row):
    """Gate 6: a whole call of microseconds."""
    time_conv(benchmark, 6, row, "forward", *TINY[row], padding="same")


SUBNORMAL = {
    "3x3 64 @28": ((1, 28, 28, 64), (3, 3, 64, 64)),
    "depthwise 64 @28": ((1, 28, 28, 64), (3, 3, 1, 64)),
}


@pytest.mark.parametrize("weights", ["normal", "subnormal"])
@pytest.mark.parametrize("direction", ["forward", "grad_input"])
@pytest.mark.parametrize("row", SUBNORMAL)
def bench_subnormal(benchmark, peak, row, direction, weights):
    """Gate 9: weights of 1e-42 cost at most 1.2 times as much; both are held to the bound that flushing allows."""
    x_shape, w_shape = SUBNORMAL[row]
    scale = np.float32(1e-42 if weights == "subnormal" else 1)
    x, w = random(x_shape, w_shape)
    w *= scale
    arrays = (x, w) if direction == "forward" else (x, w, x_shape)
    operation = tapwise.conv if direction == "forward" else tapwise.conv_grad_input
    out = np.empty_like(x)
    operation(*arrays, padding="same", out=out)
    flops = 2 * x.size * prod(w_shape[:-1])
    benchmark.group = f"gate 9 {row} {direction}"
    benchmark.extra_info.update(
        row=f"gate 9: {row}, {weights} weights", direction=direction, engine="tapwise", flops=flops,
        bytes=4 * (x.size + w.size + out.size), error=compare_flushed(out, operation, *arrays),
    )  # fmt: skip
    benchmark(operation, *arrays, padding="same", out=out)


def compare_flushed(got, reference, x, w, *rest):
    """compare, for results that may all be subnormal: what flushing may cost each term is no error."""
    if np.abs(w).max() >= np.finfo(np.float32).tiny:
        return compare(got, reference, x, w, *rest, padding="same")
    terms, largest = prod(w.shape[:-1]), max(1.0, float(np.abs(x).max()))
    assert np.abs(got).max() <= terms * 1e-41 * largest
    return 0.0


FIRST = """
import json, time
import numpy as np, tapwise
x, w, y = (np.ones(shape, np.float32) for shape in ((1, 112, 112, 128), (3, 3, 128, 128), (1, 112, 112, 128)))
times = []
for _ in range(20):
    start = time.perf_counter()
    tapwise.conv(x, w, padding="same", out=y)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""


def bench_first_call(benchmark, peak):
    """Gate 10: the first call of a process takes at most twice a later one's time; medians over eight processes.

    The row's time is a later call's; its text has the first call's, the start of the threads included.
    """
    processes = [json.loads(subprocess.check_output([sys.executable, "-c", FIRST])) for _ in range(8)]
    first = statistics.median(times[0] for times in processes)
    later = statistics.median(statistics.median(times[5:]) for times in processes)
    row = f"VGG 3x3 128 @112, first call {first * 1e3:.2f} ms, later ones {later * 1e3:.2f} ms"
    time_conv(benchmark, 10, row, "forward", (1, 112, 112, 128), (3, 3, 128, 128), padding="same")


DILATED = {
    **{f"3x3 64 @56 dilation {d}": ((1, 56, 56, 64), (3, 3, 64, 64), d) for d in (1, 2, 4)},
    **{f"3x3 256 @28 dilation {d}": ((1, 28, 28, 256), (3, 3, 256, 256), d) for d in (1, 2, 12)},
    **{f"k3 64 @16000 dilation {d}": ((1, 16000, 64), (3, 64, 64), d) for d in (1, 64)},
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("row", DILATED)
def bench_dilated(benchmark, peak, row, direction):
    """Gate 15: within 1.5 times the undilated one, by the same algorithm."""
    x_shape, w_shape, dilation = DILATED[row]
    options = {"padding": "same", "dilation": dilation, "algorithm": "direct"}
    time_conv(benchmark, 15, row, direction, x_shape, w_shape, **options)


LARGE = {
    **{f"{k}x{k} 64 @32": ((1, 32, 32, 64), (k, k, 64, 64)) for k in (3, 7, 11, 15, 31)},
    **{f"depthwise {k}x{k} 128 @32": ((1, 32, 32, 128), (k, k, 1, 128)) for k in (3, 7, 13, 31)},
    **{f"1-D k{k} 16 @4096": ((1, 4096, 16), (k, 16, 16)) for k in (9, 512, 2048)},
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("row", LARGE)
def bench_large(benchmark, peak, row, direction):
    """Gate 16: not slower an operation than a small kernel. Taps in the padding count as operations here."""
    time_conv(benchmark, 16, row, direction, *LARGE[row], padding="same", algorithm="direct")


SIDE_BY_SIDE = {
    "3x3 64 @56 n4": ((4, 56, 56, 64), (3, 3, 64, 64), 1),
    "3x3 s2 128 @28 n4": ((4, 28, 28, 128), (3, 3, 128, 128), 2),
    "1x1 256-64 @56 n4": ((4, 56, 56, 256), (1, 1, 256, 64), 1),
    "depthwise 144 @56 n4": ((4, 56, 56, 144), (3, 3, 1, 144), 1),
}


@pytest.mark.parametrize("algorithm", ["direct", "auto"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("row", SIDE_BY_SIDE)
def bench_gradients(benchmark, peak, row, direction, algorithm):
    """Gate 18: each gradient within 1.5 times the direct forward pass."""
    x_shape, w_shape, strides = SIDE_BY_SIDE[row]
    options = {"padding": 1 if w_shape[0] == 3 else 0, "strides": strides, "algorithm": algorithm}
    time_conv(benchmark, 18, row, direction, x_shape, w_shape, **options)


@pytest.mark.parametrize("accuracy", ["strict", "default", "fast"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def bench_accuracy(benchmark, peak, direction, accuracy):
    """Gates 19 and 20: what the bits of one order of summation cost, and the error that a faster scheme brings."""
    row = f"3x3 128 @28, {accuracy}"
    shapes = (1, 28, 28, 128), (3, 3, 128, 128)
    time_conv(benchmark, 20, row, direction, *shapes, padding="same", accuracy=accuracy)
