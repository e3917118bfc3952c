"""The reference, which everything else is compared with, against the definition: one multiplication at a time."""

import numpy as np
import pytest

import tapwise
from cases import ONE_LAYOUT

WORK = 60_000  # products: a second of Python loops for all cases together
SMALL = [case for case in ONE_LAYOUT if np.prod(case.x[:-1], dtype=int) * case.terms * case.co <= WORK]


@pytest.fixture(autouse=True)
def on_the_reference():
    with tapwise.backend.use("reference"):
        yield


def products(case, y_shape):
    """(index in x, index in w, index in y) of every product of the convolution; channels last."""
    strides, dilation, pads = case.per_axis(case.strides), case.per_axis(case.dilation), case.pads
    channels, outputs = case.ci // case.groups, case.co // case.groups
    for n, *o, out in np.ndindex(y_shape):
        for tap in np.ndindex(case.k):
            axes = zip(o, strides, tap, dilation, pads, strict=True)
            at = tuple(i * stride + t * dil - before for i, stride, t, dil, (before, _) in axes)
            if all(0 <= i < size for i, size in zip(at, case.x[1:-1], strict=True)):
                for c in range(channels):
                    yield (n, *at, out // outputs * channels + c), (*tap, c, out), (n, *o, out)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_passes_by_definition(case, rng):
    """All three passes on whole numbers, so that equality is exact."""
    x, w, b, dy = (a.astype(np.float64) for a in case.integers(rng))
    y, dx, dw = np.zeros(dy.shape) + b, np.zeros(x.shape), np.zeros(w.shape)
    for i, j, k in products(case, dy.shape):
        y[k] += x[i] * w[j]
        dx[i] += dy[k] * w[j]
        dw[j] += x[i] * dy[k]
    np.testing.assert_array_equal(tapwise.conv(x, w, b, **case.geometry), y)
    np.testing.assert_array_equal(tapwise.conv_grad_input(dy, w, x.shape, **case.geometry), dx)
    np.testing.assert_array_equal(tapwise.conv_grad_weight(x, dy, w.shape, **case.geometry), dw)
    np.testing.assert_array_equal(tapwise.conv_grad_bias(dy), dy.reshape(-1, case.co).sum(0))


@pytest.mark.parametrize("case", ONE_LAYOUT, ids=str)
def test_channels_first_is_a_transposition(case, rng):
    x, w, b, _ = case.integers(rng)
    rank = len(case.k)
    first, weights_first = (0, rank + 1, *range(1, rank + 1)), (rank + 1, rank, *range(rank))
    y = tapwise.conv(x, w, b, **case.geometry)
    geometry = {**case.geometry, "data_format": "channels_first"}
    x_first, w_first = np.ascontiguousarray(x.transpose(first)), np.ascontiguousarray(w.transpose(weights_first))
    y_first = np.ascontiguousarray(y.transpose(first))
    np.testing.assert_array_equal(tapwise.conv(x_first, w_first, b, **geometry), y_first)
    dx = tapwise.conv_grad_input(y, w, x.shape, **case.geometry)
    dx_first = tapwise.conv_grad_input(y_first, w_first, x_first.shape, **geometry)
    np.testing.assert_array_equal(dx_first, dx.transpose(first))
    dw = tapwise.conv_grad_weight(x, y, w.shape, **case.geometry)
    dw_first = tapwise.conv_grad_weight(x_first, y_first, w_first.shape, **geometry)
    np.testing.assert_array_equal(dw_first, dw.transpose(weights_first))


@pytest.mark.parametrize(
    ("size", "k", "stride", "dilation", "padding", "want"),
    [
        (5, 3, 1, 1, "valid", 3),
        (5, 3, 2, 1, "same", 3),
        (6, 3, 2, 1, "same", 3),
        (7, 3, 2, 1, "same_lower", 4),
        (7, 2, 3, 1, "same", 3),
        (7, 3, 1, 4, "causal", 7),
        (224, 7, 2, 1, 3, 112),
        (10, 3, 2, 2, 1, 4),
        (8, 3, 1, 1, ((2, -1),), 7),
    ],
)
def test_output_sizes(size, k, stride, dilation, padding, want):
    """TensorFlow's for the names, PyTorch's for the numbers."""
    y = tapwise.conv(np.ones((1, size, 1)), np.ones((k, 1, 1)), strides=stride, padding=padding, dilation=dilation)
    assert y.shape == (1, want, 1)


@pytest.mark.parametrize(
    ("padding", "size", "want"),
    [
        ("same", 6, [1 + 2 + 3, 3 + 4 + 5, 5 + 6]),
        ("same_lower", 6, [1 + 2, 2 + 3 + 4, 4 + 5 + 6]),
        ("causal", 5, [1, 1 + 2 + 3, 3 + 4 + 5]),
        ("valid", 6, [1 + 2 + 3, 3 + 4 + 5]),
    ],
)
def test_where_the_odd_pad_goes(padding, size, want):
    """Sums of three at stride 2 over 1, 2, 3, ..."""
    x = np.arange(1.0, size + 1).reshape(1, -1, 1)
    y = tapwise.conv(x, np.ones((3, 1, 1)), strides=2, padding=padding)
    np.testing.assert_array_equal(y.ravel(), want)
