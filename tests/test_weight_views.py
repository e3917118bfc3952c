"""conv_grad_weight writes its result into any view: the same bits as into a contiguous array, and nothing beside it."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import tapwise

CASES = {
    "3x3 (winograd)": ((2, 9, 10, 6), (3, 3, 6, 5), {"padding": 1}),
    "1x1": ((2, 5, 6, 7), (1, 1, 7, 18), {}),
    "strides": ((2, 9, 10, 6), (3, 3, 6, 5), {"padding": 1, "strides": 2}),
    "depthwise": ((2, 9, 10, 20), (3, 3, 1, 20), {"groups": 20}),
    "two groups": ((2, 9, 10, 6), (3, 2, 3, 8), {"groups": 2}),
    "signal": ((2, 40, 3), (5, 3, 17), {}),
    "volume": ((1, 5, 6, 7, 3), (2, 3, 2, 3, 4), {}),
    "empty batch": ((0, 9, 10, 6), (3, 3, 6, 5), {}),
}


def as_pytorch_has_it(w_shape):
    """(co, *k, ci) in memory, with a NaN behind each row: a view (*k, ci, co)."""
    *kernel, ci, co = w_shape
    memory = np.full((co, *kernel, ci + 1), np.nan, np.float32)
    return memory, np.moveaxis(memory[..., :ci], 0, -1)


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name, engine, rng):
    x_shape, w_shape, geometry = CASES[name]
    x, w = rng.standard_normal(x_shape, np.float32), rng.standard_normal(w_shape, np.float32)
    dy = rng.standard_normal(tapwise.conv(x, w, **geometry).shape, np.float32)
    for algorithm in ("auto", *tapwise.plan(x_shape, w_shape, **geometry, direction="grad_weight").possible):
        want = tapwise.conv_grad_weight(x, dy, w_shape, algorithm=algorithm, **geometry)
        memory, view = as_pytorch_has_it(w_shape)
        assert tapwise.conv_grad_weight(x, dy, w_shape, algorithm=algorithm, out=view, **geometry) is view
        np.testing.assert_array_equal(view, want)
        assert np.isnan(memory[..., -1]).all()
        dw, db = tapwise.conv_grad_weight_bias(x, dy, w_shape, algorithm=algorithm, **geometry)
        memory, view = as_pytorch_has_it(w_shape)
        _, other = tapwise.conv_grad_weight_bias(x, dy, w_shape, algorithm=algorithm, out=view, **geometry)
        np.testing.assert_array_equal(view, dw)
        np.testing.assert_array_equal(other, db)
        assert np.isnan(memory[..., -1]).all()


def test_channels_first(engine, rng):
    x, w_shape = rng.standard_normal((2, 6, 9, 10), np.float32), (5, 6, 3, 3)
    dy = rng.standard_normal((2, 5, 7, 8), np.float32)
    want = tapwise.conv_grad_weight(x, dy, w_shape, data_format="channels_first")
    view = np.empty((3, 3, 5, 6), np.float32).transpose(2, 3, 0, 1)
    tapwise.conv_grad_weight(x, dy, w_shape, data_format="channels_first", out=view)
    np.testing.assert_array_equal(view, want)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((3, 3, 5), np.float32).T[None, :, None], r"out must have shape \(3, 3, 6, 5\), got"),
        (np.empty((5, 6, 3, 3)).T, "out must be float32, got float64"),
        (
            as_strided(np.empty(99, np.float32), (3, 3, 6, 5), (4, 4, 4, 24)),
            "apart from each other",
        ),
        (np.broadcast_to(np.empty((3, 3, 6, 1), np.float32), (3, 3, 6, 5)), "out must be writeable"),
    ],
)
def test_rejects(out, message):
    x, dy = np.zeros((1, 4, 4, 6), np.float32), np.zeros((1, 2, 2, 5), np.float32)
    with pytest.raises((ValueError, TypeError), match=message):
        tapwise.conv_grad_weight(x, dy, (3, 3, 6, 5), out=out)


def test_rejects_memory_of_x():
    x = np.zeros((1, 6, 6, 6), np.float32)
    view = x.reshape(-1)[:54].reshape(3, 3, 6, 1).transpose(1, 0, 2, 3)
    with pytest.raises(ValueError, match="out must not overlap x"):
        tapwise.conv_grad_weight(x, np.zeros((1, 4, 4, 1), np.float32), (3, 3, 6, 1), out=view)
