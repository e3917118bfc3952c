"""Transposed convolution: its sizes by Keras' and PyTorch's rules, and its definition by scattering."""

import numpy as np
import pytest

import tapwise


def scattered(x, w, stride, dilation, before, size):
    """Each x[i] adds a kernel at i * stride - before; one spatial axis, channels last."""
    y = np.zeros((x.shape[0], size, w.shape[1]))
    for i in range(x.shape[1]):
        for t in range(w.shape[0]):
            at = i * stride + t * dilation - before
            if 0 <= at < size:
                y[:, at] += x[:, i] @ w[t].T
    return y


@pytest.mark.parametrize(
    ("k", "stride", "dilation", "padding", "output_padding", "before", "size"),
    [
        (3, 1, 1, "valid", None, 0, 7),
        (3, 2, 1, "valid", None, 0, 11),
        (2, 3, 1, "valid", None, 0, 15),
        (2, 3, 1, "valid", 0, 0, 14),
        (3, 2, 1, "same", None, 0, 10),
        (4, 2, 1, "same", None, 1, 10),
        (5, 2, 1, "same", None, 1, 10),
        (3, 1, 2, "same", None, 2, 5),
        (3, 2, 1, 0, None, 0, 11),
        (3, 2, 1, 1, None, 1, 9),
        (3, 2, 1, 1, 1, 1, 10),
        (4, 2, 1, 1, None, 1, 10),
        (3, 3, 2, ((1, 0),), 2, 1, 18),
    ],
)
def test_sizes_and_places(k, stride, dilation, padding, output_padding, before, size, engine, rng):
    """Keras' sizes for the names, PyTorch's for the numbers; whole numbers, so that equality is exact."""
    x = rng.integers(-4, 5, (2, 5, 3)).astype(np.float32)
    w = rng.integers(-4, 5, (k, 4, 3)).astype(np.float32)
    geometry = {"strides": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    y = tapwise.conv_transpose(x, w, **geometry)
    np.testing.assert_array_equal(y, scattered(x, w, stride, dilation, before, size))
    first = {**geometry, "data_format": "channels_first"}
    x_first, w_first = np.ascontiguousarray(x.transpose(0, 2, 1)), w.transpose(2, 1, 0)
    np.testing.assert_array_equal(tapwise.conv_transpose(x_first, w_first, **first), y.transpose(0, 2, 1))


def test_kernel_1024_at_stride_256(engine, rng):
    """The overlap-add of an inverse short-time Fourier transform (gate 4), on whole numbers."""
    x = rng.integers(-2, 3, (1, 9, 6)).astype(np.float32)
    w = rng.integers(-2, 3, (1024, 1, 6)).astype(np.float32)
    want = scattered(x, w, 256, 1, 0, 8 * 256 + 1024)
    np.testing.assert_array_equal(tapwise.conv_transpose(x, w, strides=256), want)
