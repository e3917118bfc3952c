"""TF32 and bfloat16 on the backend cuda-emulated, within its bound of float64: test_cuda_emulated.py runs this file.

A factor rounded to 11 bits is 2^-11 of itself off at most, so a product of two 2^-10 + 2^-22; sums are float32's.
"""

import numpy as np
import pytest
from ml_dtypes import bfloat16 as BF16

import tapwise
from cases import DIRECTIONS, Case
from engines import Engine
from exact import exact

CASES = [
    Case("3x3", (2, 7, 6, 12), (3, 3), 20, padding=1),
    Case("tails in each tile", (1, 5, 7, 19), (3, 2), 21, strides=2, padding=((0, 2), (1, 0))),
    Case("groups that narrow", (1, 6, 5, 10), (2, 2), 6, dilation=2, groups=2),
    Case("3-D", (1, 3, 4, 5, 8), (3, 1, 2), 9, padding=((1, 1), (0, 0), (1, 0))),
]
SPLIT = Case("a sum in two stretches", (2, 27, 26, 9), (3, 3), 10, strides=(1, 2), padding=1)
CASES += [Case(c.name, c.x, c.k, c.co, c.strides, c.padding, c.dilation, c.groups, "channels_first") for c in CASES]
FEW = Case("depthwise", (1, 6, 5, 12), (3, 3), 12, padding=1, groups=12)
FACTORS = 2.0**-10 + 2.0**-22
EPS = 2.0**-23


@pytest.fixture(autouse=True)
def emulated():
    with Engine("cuda-emulated").use():
        yield


@pytest.mark.parametrize("case", [*CASES, SPLIT], ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
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


@pytest.mark.parametrize("kind", [BF16, np.float32], ids=["bfloat16", "TF32"])
def test_infinite_gradients_miss_padding(kind, rng):
    """Of positive inputs all weights' gradients are infinite, those of the taps that meet padding too."""
    x, dy = np.ones((1, 5, 5, 16), kind), np.full((1, 5, 5, 16), np.inf, kind)
    dw = tapwise.conv_grad_weight(x, dy, (3, 3, 16, 16), padding="same", algorithm="im2col", accuracy="fast")
    assert np.isposinf(dw).all()


@pytest.mark.parametrize("kind", [BF16, np.float32], ids=["bfloat16", "TF32"])
def test_bits_are_the_same_in_any_order_of_threads_and_blocks(kind, rng):
    x, _, _, dy = (a.astype(kind) for a in SPLIT.arrays(rng))
    found = set()
    for seed in range(3):
        tapwise.backend.current().extension.set_seed(seed)
        how = {**SPLIT.geometry, "algorithm": "im2col", "accuracy": "fast"}
        found.add(tapwise.conv_grad_weight(x, dy, SPLIT.w_shape, **how).tobytes())
    assert len(found) == 1


def test_plan_says_so():
    shapes = (1, 64, 64, 32), (3, 3, 32, 64)
    assert "TF32" in tapwise.plan(*shapes, accuracy="fast").tile
    assert "TF32" not in tapwise.plan(*shapes).tile
    assert "TF32" in tapwise.plan(*shapes, accuracy="fast", direction="grad_weight").tile
    assert "TF32" not in tapwise.plan(*shapes, direction="grad_weight").tile


def assert_close(got, want, mass, terms):
    """Of exact products, summed in float32; a narrow result's own rounding is 2^-8 of it."""
    slack = terms * EPS * mass
    if got.dtype == BF16:
        slack = slack * (1 + 2.0**-8) + 2.0**-8 * np.abs(want)
    assert (np.abs(got.astype(np.float64) - want) <= slack).all()


@pytest.mark.parametrize("out", [BF16, np.float32], ids=["rounded", "as summed"])
@pytest.mark.parametrize("kind", [BF16, np.float32], ids=["bfloat16's weights", "float32's weights"])
@pytest.mark.parametrize("case", [*CASES, FEW], ids=str)
def test_bfloat16(case, kind, out, rng):
    """Of float32's weights the rounded ones count."""
    x, w, b, _ = case.arrays(rng)
    x, w = x.astype(BF16), w.astype(BF16).astype(kind)
    y = tapwise.conv(x, w, b, activation="relu", out=np.empty(case.y_shape, out), **case.geometry)
    want, mass = exact(tapwise.conv, x, w, b, **case.geometry)
    want = np.maximum(want, 0)
    assert_close(y, want, mass, case.terms + 1)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
@pytest.mark.parametrize("kind", [BF16, np.float32], ids=["bfloat16's weights", "float32's weights"])
@pytest.mark.parametrize("case", [*CASES, FEW], ids=str)
def test_bfloat16_input_gradients(case, kind, algorithm, rng):
    """At stride 1 "auto" and "direct" are a forward pass with the weights turned round; "im2col" is the gradient's."""
    _, w, _, dy = case.arrays(rng)
    w, dy = w.astype(BF16).astype(kind), dy.astype(BF16)
    dx = tapwise.conv_grad_input(dy, w, case.x_shape, algorithm=algorithm, **case.geometry)
    want, mass = exact(tapwise.conv_grad_input, dy, w, case.x_shape, **case.geometry)
    assert dx.dtype == BF16
    assert_close(dx, want, mass, case.grad_input_terms)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
@pytest.mark.parametrize("case", [*CASES, SPLIT, FEW], ids=str)
def test_bfloat16_weight_gradients(case, algorithm, rng):
    x, _, _, dy = (a.astype(BF16) for a in case.arrays(rng))
    dw = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm=algorithm, **case.geometry)
    want, mass = exact(tapwise.conv_grad_weight, x, dy, case.w_shape, **case.geometry)
    assert dw.dtype == np.float32
    assert_close(dw, want, mass, case.grad_weight_terms)


def test_bfloat16_has_no_winograd(rng):
    x = np.ones((1, 6, 6, 8), BF16)
    with pytest.raises(ValueError, match="algorithm must be auto, direct or im2col for bfloat16"):
        tapwise.conv_grad_weight(x, x, (3, 3, 8, 8), padding="same", algorithm="winograd")


def test_bfloat16_keeps_infinite_weights_from_padding():
    y = tapwise.conv(np.ones((1, 5, 5, 16), BF16), np.full((3, 3, 16, 16), np.inf, BF16), padding="same")
    assert np.isposinf(y.astype(np.float32)).all()
