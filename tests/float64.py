"""Convolution in float64 tap by tap through BLAS: as plain as the reference, fast enough for whole networks.

x (n, *spatial, ci), w (*k, ci // groups, co), y (n, *o, co). Held to the reference in test_shapes.
"""

from itertools import product

import numpy as np


def _padded(x, padding, value=0):
    """x with value around it, or without its last rows where `after` is negative."""
    x = x[(slice(None), *(slice(None, after if after < 0 else None) for _, after in padding))]
    pairs = ((0, 0), *((before, max(after, 0)) for before, after in padding), (0, 0))
    return np.pad(x, pairs, constant_values=value)


def _grown(size, padding):
    """Sizes of the padded input, with what is cropped."""
    return [i + before + max(after, 0) for i, (before, after) in zip(size, padding, strict=True)]


def _inside(size, padding):
    """Where the input lies in the padded one."""
    return (slice(None), *(slice(before, before + i) for i, (before, _) in zip(size, padding, strict=True)))


def _taps(k, o, strides, dilation):
    """(tap, the slices of the padded input it meets), for each tap of the kernel."""
    for tap in product(*map(range, k)):
        yield (
            tap,
            (
                slice(None),
                *(
                    slice(t * d, t * d + s * (n - 1) + 1, s)
                    for t, n, s, d in zip(tap, o, strides, dilation, strict=True)
                ),
            ),
        )


def _by_group(a, groups):
    """(pixels, channels) -> (groups, pixels, channels // groups)."""
    return a.reshape(int(np.prod(a.shape[:-1])), groups, a.shape[-1] // groups).transpose(1, 0, 2)


def _ungrouped(a):
    return a.transpose(1, 0, 2).reshape(a.shape[1], a.shape[0] * a.shape[2])


def conv(x, w, o, strides, padding, dilation, groups):
    y = np.zeros((x.shape[0] * int(np.prod(o)), w.shape[-1]))
    x = _padded(x, padding)
    for tap, window in _taps(w.shape[:-2], o, strides, dilation):
        pixels = x[window].reshape(len(y), x.shape[-1])
        if groups == x.shape[-1] == w.shape[-1]:
            y += pixels * w[tap]
        elif groups == 1:
            y += pixels @ w[tap]
        else:
            y += _ungrouped(_by_group(pixels, groups) @ _by_group(w[tap], groups))
    return y.reshape(x.shape[0], *o, w.shape[-1])


def conv_grad_input(dy, w, size, strides, padding, dilation, groups):
    n, *o, co = dy.shape
    ci = w.shape[-2] * groups
    dx = np.zeros((n, *_grown(size, padding), ci))
    for tap, window in _taps(w.shape[:-2], o, strides, dilation):
        if groups == ci == co:
            dx[window] += dy * w[tap][0]
        else:
            sums = _by_group(dy.reshape(-1, co), groups) @ _by_group(w[tap], groups).transpose(0, 2, 1)
            dx[window] += _ungrouped(sums).reshape(n, *o, ci)
    return dx[_inside(size, padding)]


def conv_grad_weight(x, dy, k, strides, padding, dilation, groups):
    *_, ci = x.shape
    *_, co = dy.shape
    x = _padded(x, padding)
    dw = np.empty((*k, ci // groups, co))
    for tap, window in _taps(k, dy.shape[1:-1], strides, dilation):
        if groups == ci == co:
            dw[tap] = np.einsum("pc,pc->c", x[window].reshape(-1, ci), dy.reshape(-1, co))
        else:
            pixels = x[window].reshape(-1, ci)
            sums = _by_group(pixels, groups).transpose(0, 2, 1) @ _by_group(dy.reshape(-1, co), groups)
            dw[tap] = _ungrouped(sums)
    return dw


def _window_padding(size, k, o, strides, padding, dilation):
    """Padding that ends where the last window does."""
    axes = zip(size, k, o, strides, padding, dilation, strict=True)
    return [(before, (n - 1) * s + d * (e - 1) + 1 - i - before) for i, e, n, s, (before, _), d in axes]


def max_pool(x, k, o, strides, padding, dilation):
    """Padding is -infinity, which never wins."""
    y = np.full((x.shape[0], *o, x.shape[-1]), -np.inf, x.dtype)
    x = _padded(x, _window_padding(x.shape[1:-1], k, o, strides, padding, dilation), -np.inf)
    for _, window in _taps(k, o, strides, dilation):
        np.maximum(y, x[window], out=y)
    return y


def _counts(size, k, o, strides, padding, dilation):
    """The input elements of each window."""
    counts = np.zeros((1, *o, 1))
    inside = _padded(np.ones((1, *size, 1)), _window_padding(size, k, o, strides, padding, dilation))
    for _, window in _taps(k, o, strides, dilation):
        counts += inside[window]
    return counts


def average_pool(x, k, o, strides, padding, dilation):
    total, counts = np.zeros((x.shape[0], *o, x.shape[-1])), _counts(x.shape[1:-1], k, o, strides, padding, dilation)
    x = _padded(x, _window_padding(x.shape[1:-1], k, o, strides, padding, dilation))
    for _, window in _taps(k, o, strides, dilation):
        total += x[window]
    return total / counts


def average_pool_grad(dy, size, k, strides, padding, dilation):
    n, *o, c = dy.shape
    padding = _window_padding(size, k, o, strides, padding, dilation)
    shares = dy / _counts(size, k, o, strides, padding, dilation)
    dx = np.zeros((n, *_grown(size, padding), c))
    for _, window in _taps(k, o, strides, dilation):
        dx[window] += shares
    return dx[_inside(size, padding)]


def flat_indices(indices, x_shape):
    """Places in x, flat, of indices (n, *o, c) into the planes of x_shape (n, *spatial, c)."""
    n, *size, c = x_shape
    planes = np.arange(n).reshape(-1, *[1] * (indices.ndim - 1)) * int(np.prod(size))
    return ((planes + indices) * c + np.arange(c)).reshape(-1)
