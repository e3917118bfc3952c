"""The ten-second tier: the lecture's worked example to the digit, and one case of each kind on every engine."""

import numpy as np
import pytest

import tapwise
from cases import named
from close import assert_within
from exact import exact

# A "T" of 7x7 pixels, and what three rows of -1 2 0 make of it.
IMAGE = np.zeros((7, 7), np.float32)
IMAGE[1, 2:5] = 1
IMAGE[2:6, 3] = 1
KERNEL = np.array([[-1, 2, 0]] * 3, np.float32)
FILTERED = np.array([[0, 2, 3, 0, -1], [0, 2, 5, -1, -1], [0, 0, 6, -3, 0], [0, 0, 6, -3, 0], [0, 0, 4, -2, 0]])


def test_worked_example(engine):
    x, w = IMAGE.reshape(1, 7, 7, 1), KERNEL.reshape(3, 3, 1, 1)
    np.testing.assert_array_equal(tapwise.conv(x, w)[0, :, :, 0], FILTERED)
    np.testing.assert_array_equal(tapwise.conv(x, w, activation="relu")[0, :, :, 0], np.maximum(FILTERED, 0))
    first = tapwise.conv(IMAGE.reshape(1, 1, 7, 7), KERNEL.reshape(1, 1, 3, 3), data_format="channels_first")
    np.testing.assert_array_equal(first[0, 0], FILTERED)


def test_gradients_of_the_worked_example(engine):
    """Of the sum of the filtered image: each tap's is the sum of the pixels it met, each pixel's of the taps."""
    x, w, dy = IMAGE.reshape(1, 7, 7, 1), KERNEL.reshape(3, 3, 1, 1), np.ones((1, 5, 5, 1), np.float32)
    dw = tapwise.conv_grad_weight(x, dy, w.shape)[:, :, 0, 0]
    np.testing.assert_array_equal(dw, [[IMAGE[r : r + 5, s : s + 5].sum() for s in range(3)] for r in range(3)])
    columns = [-1, 1, 1, 1, 1, 2, 0]  # -1 2 0 summed where they meet a column
    dx = tapwise.conv_grad_input(dy, w, x.shape)[0, :, :, 0]
    np.testing.assert_array_equal(dx, np.outer([1, 2, 3, 3, 3, 2, 1], columns))
    np.testing.assert_array_equal(tapwise.conv_grad_bias(dy), [25])


@pytest.mark.parametrize(
    "case",
    named("prime channels", "3x3 stride 2, same", "strided 1x1", "groups of 4", "depthwise, 7 channels", "1-D", "3-D"),
    ids=str,
)
def test_passes(case, engine, rng):
    for direction, (terms, operation, *arguments) in case.passes(*case.arrays(rng)).items():
        want, mass = exact(operation, *arguments, **case.geometry)
        assert_within(operation(*arguments, **case.geometry), want, mass, terms, label=direction)
