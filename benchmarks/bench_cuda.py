"""Convolutions on an NVIDIA device beside cuDNN's, timed by device events.

python benchmarks/bench_cuda.py -k VGG --direction forward    # a table, Markdown
pytest benchmarks/bench_cuda.py                               # one layer's results, once

Each algorithm of ours and cuDNN take turns in five rounds; the figure is the best round's mean of the calls between two
events. cuDNN runs through PyTorch, in channels last and first, the faster counts; it measures its algorithms first, in
float32 without TF32. Errors are the largest difference to float64 over the largest value.
"""

import argparse
from types import SimpleNamespace

import numpy as np
import pytest

import tapwise
from shapes import LAYERS
from tapwise import bench

DIRECTIONS = ("forward", "grad_input", "grad_weight")
ROUNDS, ROUND_MS = 5, 50
FP32_LANES = {(7, 5): 64, (8, 0): 64}  # of a multiprocessor; 128 of the others
# PyTorch pads two dimensions, alike before and after.
ROWS = [a for a in LAYERS if len(a.x_shape) == 4 and all(before == after for before, after in a.g.padding)]


def device():
    """The CuPy module, and what the device reaches; skips with what is missing."""
    try:
        with tapwise.backend.use("cuda"):
            pass
    except ValueError as error:
        pytest.skip(str(error))
    cupy = pytest.importorskip("cupy", reason='pip install "tapwise[cuda]"')
    there = cupy.cuda.Device()
    facts, kind = there.attributes, (int(there.compute_capability[:-1]), int(there.compute_capability[-1]))
    name = cupy.cuda.runtime.getDeviceProperties(there.id)["name"].decode()
    lanes = facts["MultiProcessorCount"] * FP32_LANES.get(kind, 128)
    peak = 2 * lanes * facts["ClockRate"] * 1e3
    memory = 2 * facts["MemoryClockRate"] * 1e3 * facts["GlobalMemoryBusWidth"] / 8
    return SimpleNamespace(cupy=cupy, name=name, peak=peak, bytes=memory)


def operation(layer, direction):
    """The function of tapwise, its arrays, and the shape of what it gives."""
    x, w, b, dy = layer.arrays()
    return {
        "forward": (tapwise.conv, (x, w, b), dy.shape),
        "grad_input": (tapwise.conv_grad_input, (dy, w, x.shape), x.shape),
        "grad_weight": (tapwise.conv_grad_weight, (x, dy, w.shape), w.shape),
    }[direction]


def ours(cupy, layer, direction):
    """{algorithm: (call, its output)}, with the output allocated before."""
    function, arguments, shape = operation(layer, direction)
    arguments = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with tapwise.backend.use("cuda"):
        possible = tapwise.plan(layer.x_shape, layer.w_shape, direction=direction, **layer.geometry).possible
    calls = {}
    for algorithm in possible:
        out = cupy.empty(shape, np.float32)

        def call(algorithm=algorithm, out=out):
            return function(*arguments, algorithm=algorithm, out=out, **layer.geometry)

        calls[algorithm] = call, lambda y: y.get()
    return calls


def cudnn(layer, direction, place="cuda"):
    """{"cuDNN, channels last": (call, what makes an array here of its result), ...}; place: PyTorch's device."""
    torch = pytest.importorskip("torch", reason="pip install torch, with CUDA")
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("this build of PyTorch has no CUDA: pip install torch")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    x, w, b, dy = layer.arrays()
    before, groups = layer.g.padding[0][0], layer.x_shape[-1] // layer.w_shape[-2]
    calls, bias = {}, torch.from_numpy(b).to(place)
    for label, order in {"last": torch.channels_last, "first": torch.contiguous_format}.items():
        first = np.moveaxis(x, -1, 1), w.transpose(3, 2, 0, 1), np.moveaxis(dy, -1, 1)
        there = [torch.from_numpy(a.copy()).to(place).contiguous(memory_format=order) for a in first]
        calls[f"cuDNN, channels {label}"] = torch_call(torch, direction, there, bias, layer.strides, before, groups)
    return calls


def torch_call(torch, direction, tensors, bias, strides, padding, groups):
    x, w, dy = tensors
    geometry = [strides] * 2, [padding] * 2, [1] * 2, False, [0] * 2, groups
    if direction == "forward":
        return lambda: torch.convolution(x, w, bias, *geometry), lambda y: np.moveaxis(y.cpu().numpy(), 1, -1)
    of_input = direction == "grad_input"
    backward, wanted = torch.ops.aten.convolution_backward, [of_input, not of_input, False]

    def as_ours(results):
        dx, dw, _ = results
        return np.moveaxis(dx.cpu().numpy(), 1, -1) if of_input else dw.cpu().numpy().transpose(2, 3, 1, 0)

    return lambda: backward(dy, x, w, None, *geometry, wanted), as_ours


def milliseconds(cupy, call, count):
    """Of one call: device events around `count` of them."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(start, end) / count


def measured(cupy, calls):
    """{name: the best round's milliseconds}; the calls take turns."""
    counts = {}
    for name, call in calls.items():
        milliseconds(cupy, call, 2)
        counts[name] = max(1, min(1000, int(ROUND_MS / max(milliseconds(cupy, call, 1), 1e-3))))
    rounds = [{name: milliseconds(cupy, call, counts[name]) for name, call in calls.items()} for _ in range(ROUNDS)]
    return {name: min(times[name] for times in rounds) for name in calls}


def errors(layer, direction, calls):
    """{name: the largest difference to float64, over the largest value}."""
    want = bench.wanted(layer, direction)
    return {name: float(np.abs(get(call()) - want).max() / np.abs(want).max()) for name, (call, get) in calls.items()}


def lines(there, layer, direction):
    """Rows of the table, an engine each."""
    calls = {**ours(there.cupy, layer, direction), **cudnn(layer, direction)}
    error = errors(layer, direction, calls)
    ms = measured(there.cupy, {name: call for name, (call, _) in calls.items()})
    rival = min(time for name, time in ms.items() if name.startswith("cuDNN"))
    for name, time in ms.items():
        flops, bandwidth = layer.flops / time * 1e3, layer.bytes / time * 1e3
        shares = f"{flops / there.peak:.0%} | {bandwidth / there.bytes:.0%}"
        yield f"| {layer}, {direction} | {name} | {time:.4f} | {shares} | {rival / time:.2f} | {error[name]:.1e} |"


@pytest.mark.parametrize("direction", DIRECTIONS)
def bench_cuda(direction):
    """One layer: all are right, and are timed."""
    there = device()
    layer = next(row for row in ROWS if "3x3 128-128 @28" in row.name)
    assert max(errors(layer, direction, ours(there.cupy, layer, direction)).values()) < 1e-4
    assert all(line.count("|") == 8 for line in lines(there, layer, direction))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", metavar="TEXT", help="only layers whose name contains it")
    parser.add_argument("--direction", choices=DIRECTIONS, action="append")
    chosen = parser.parse_args()
    try:
        there = device()
        print(f"{there.name}: {there.peak / 1e12:.1f} TFLOP/s, {there.bytes / 1e9:.0f} GB/s by its clocks\n")
        print("| layer | engine | ms | of peak | of bandwidth | times as fast as cuDNN | error |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for layer in (row for row in ROWS if chosen.k in row.name):
            for direction in chosen.direction or DIRECTIONS:
                print(*lines(there, layer, direction), sep="\n", flush=True)
    except pytest.skip.Exception as reason:
        print(f"not measured: {reason}")


if __name__ == "__main__":
    main()
