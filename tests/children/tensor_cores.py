"""TF32 on the backend cuda-emulated, within its bound of float64: test_cuda_emulated.py runs this file.

A factor rounded to 11 bits is 2^-11 of itself off at most, so a product of two 2^-10 + 2^-22; sums are float32's.
"""

import numpy as np
import pytest

import tapwise
from cases import Case
from engines import Engine

CASES = [
    Case("3x3", (2, 7, 6, 12), (3, 3), 20, padding=1),
    Case("tails in each tile", (1, 5, 7, 19), (3, 2), 21, strides=2, padding=((0, 2), (1, 0))),
    Case("groups that narrow", (1, 6, 5, 10), (2, 2), 6, dilation=2, groups=2),
    Case("3-D", (1, 3, 4, 5, 8), (3, 1, 2), 9, padding=((1, 1), (0, 0), (1, 0))),
]
CASES += [Case(c.name, c.x, c.k, c.co, c.strides, c.padding, c.dilation, c.groups, "channels_first") for c in CASES]
FACTORS = 2.0**-10 + 2.0**-22
EPS = 2.0**-23


@pytest.fixture(autouse=True)
def emulated():
    with Engine("cuda-emulated").use():
        yield


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("direction", ["forward", "grad_input"])
def test_within_the_bound(case, direction, rng):
    """And beyond float32's: the factors are rounded, only where that is asked for."""
    terms, operation, *arguments = case.passes(*case.arrays(rng))[direction]
    want, mass = in_float64(operation, arguments, case), in_float64(operation, arguments, case, absolute=True)
    how = {**case.geometry, "algorithm": "im2col"}
    tf32 = np.abs(operation(*arguments, accuracy="fast", **how) - want)
    full = np.abs(operation(*arguments, **how) - want)
    assert (full <= terms * EPS * mass).all()
    assert (tf32 <= (FACTORS + terms * EPS) * mass).all()
    assert np.sqrt((tf32**2).mean()) > 100 * np.sqrt((full**2).mean())


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_infinite_weights_miss_padding(case, rng):
    x, w, _, _ = case.arrays(rng)
    w[...] = np.inf
    y = tapwise.conv(np.abs(x) + 1, w, algorithm="im2col", accuracy="fast", **case.geometry)
    assert np.isposinf(y).all()


def test_plan_says_so():
    shapes = (1, 64, 64, 32), (3, 3, 32, 64)
    assert "TF32" in tapwise.plan(*shapes, accuracy="fast").tile
    assert "TF32" not in tapwise.plan(*shapes).tile
    assert "TF32" not in tapwise.plan(*shapes, accuracy="fast", direction="grad_weight").tile


def in_float64(operation, arguments, case, absolute=False):
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
    if absolute:
        wide = [np.abs(a) if isinstance(a, np.ndarray) else a for a in wide]
    with tapwise.backend.use("reference"):
        return operation(*wide, **case.geometry)
