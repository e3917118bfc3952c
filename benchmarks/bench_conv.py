"""Convolution and both gradients on layers of real networks: our algorithms, NumPy im2col + BLAS and Numba.

pytest benchmarks/bench_conv.py --benchmark-enable --benchmark-json=conv.json
python benchmarks/report.py conv.json
"""

import pytest

from shapes import LAYERS
from tapwise import bench

DIRECTIONS = ("forward", "grad_input", "grad_weight")
# The reference has einsum-like loops over taps, which take seconds on the large layers: it checks, and isn't timed.
ENGINES = [
    (direction, layer, engine)
    for direction in DIRECTIONS
    for layer in LAYERS
    for engine in bench.engines(layer, direction)
    if engine is not bench.REFERENCE
]


@pytest.mark.parametrize(("direction", "layer", "engine"), ENGINES, ids=str)
def bench_conv(benchmark, peak, direction, layer, engine):
    benchmark.group = f"{direction} {layer}"
    benchmark.extra_info.update(
        row=str(layer), direction=direction, engine=str(engine), flops=layer.flops, bytes=layer.bytes,
        error=engine.error(layer, direction),
    )  # fmt: skip
    call, _ = engine.call(layer, direction)
    with engine.use():
        benchmark(call)
