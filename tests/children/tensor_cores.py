"""TF32 and bfloat16 on the backend cuda-emulated, within its bound of float64: test_cuda_emulated.py runs this file.

A factor rounded to 11 bits is 2^-11 of itself off at most, so a product of two 2^-10 + 2^-22; sums are float32's.
"""

import numpy as np
import pytest
from ml_dtypes import bfloat16 as BF16

import tapwise
from cases import Case
from engines import Engine
from exact import exact

CASES = [
    Case("3x3", (2, 7, 6, 12), (3, 3), 20, padding=1),
    Case("tails in each tile", (1, 5, 7, 19), (3, 2), 21, strides=2, padding=((0, 2), (1, 0))),
    Case("groups that narrow", (1, 6, 5, 10), (2, 2), 6, dilation=2, groups=2),
    Case("3-D", (1, 3, 4, 5, 8), (3, 1, 2), 9, padding=((1, 1), (0, 0), (1, 0))),
]
CASES += [Case(c.name, c.x, c.k, c.co, c.strides, c.padding, c.dilation, c.groups, "channels_first") for c in CASES]
FEW = Case("depthwise", (1, 6, 5, 12), (3, 3), 12, padding=1, groups=12)
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
    want, mass = exact(operation, *arguments, **case.geometry)
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


@pytest.mark.parametrize("out", [BF16, np.float32], ids=["rounded", "as summed"])
@pytest.mark.parametrize("kind", [BF16, np.float32], ids=["bfloat16's weights", "float32's weights"])
@pytest.mark.parametrize("case", [*CASES, FEW], ids=str)
def test_bfloat16(case, kind, out, rng):
    """Products are exact; of float32's weights the rounded ones count; the result's own rounding is 2^-8 of it."""
    x, w, b, _ = case.arrays(rng)
    x, w = x.astype(BF16), w.astype(BF16).astype(kind)
    y = tapwise.conv(x, w, b, activation="relu", out=np.empty(case.y_shape, out), **case.geometry)
    want, mass = exact(tapwise.conv, x, w, b, **case.geometry)
    want = np.maximum(want, 0)
    slack = (case.terms + 1) * EPS * mass
    if out is BF16:
        slack = slack * (1 + 2.0**-8) + 2.0**-8 * np.abs(want)
    assert (np.abs(y.astype(np.float64) - want) <= slack).all()


def test_bfloat16_keeps_infinite_weights_from_padding():
    y = tapwise.conv(np.ones((1, 5, 5, 16), BF16), np.full((3, 3, 16, 16), np.inf, BF16), padding="same")
    assert np.isposinf(y.astype(np.float32)).all()
