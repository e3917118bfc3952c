"""Convolution as a NumPy program does it fast: im2col, then one BLAS product. What the benchmarks compare with.

Channels last, any rank, groups, strides, dilation and padding; each call allocates its columns, as such programs do.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .geometry import ConvGeometry

Array = NDArray[Any]


def conv(x: Array, w: Array, b: Array | None, y: Array, g: ConvGeometry) -> None:
    """x (n, *spatial, ci), w (*k, ci // groups, co), b (co,) -> y (n, *o, co)."""
    if g.groups == 1:
        np.matmul(_columns(x, g)[0], _weights(w, g)[0], out=y.reshape(-1, y.shape[-1]))
    else:
        _grouped(y, g)[...] = _columns(x, g) @ _weights(w, g)
    if b is not None:
        y += b


def conv_grad_input(dy: Array, w: Array, dx: Array, g: ConvGeometry) -> None:
    """dy (n, *o, co), w -> dx (n, *spatial, ci): the columns' gradients, added up where windows overlap."""
    columns = _grouped(dy, g) @ _weights(w, g).swapaxes(1, 2)
    columns = columns.reshape(g.groups, *g.y_shape[:-1], -1, g.x_shape[-1] // g.groups)
    padded = np.zeros(_padded_shape(g), dx.dtype)
    target = np.moveaxis(padded.reshape(*padded.shape[:-1], g.groups, -1), -2, 0)
    for number, tap in enumerate(np.ndindex(g.w_shape[:-2])):
        target[(slice(None), slice(None), *_reach(g, tap))] += columns[..., number, :]
    dx[...] = padded[
        (slice(None), *(slice(p[0], p[0] + size) for p, size in zip(g.padding, dx.shape[1:-1], strict=True)))
    ]


def conv_grad_weight(x: Array, dy: Array, dw: Array, g: ConvGeometry) -> None:
    """x (n, *spatial, ci), dy (n, *o, co) -> dw (*k, ci // groups, co)."""
    _weights(dw, g)[...] = _columns(x, g).swapaxes(1, 2) @ _grouped(dy, g)


def _columns(x: Array, g: ConvGeometry) -> Array:
    """x -> (groups, n * pixels, taps * ci // groups), each row the inputs of one output."""
    kernel, ci = g.w_shape[:-2], g.x_shape[-1]
    if any(before or after for before, after in g.padding):
        x = np.pad(x, ((0, 0), *g.padding, (0, 0)))
    extents = tuple(d * (k - 1) + 1 for k, d in zip(kernel, g.dilation, strict=True))
    windows = sliding_window_view(x, extents, tuple(range(1, g.rank + 1)))
    steps = (slice(None), *(slice(None, None, s) for s in g.strides), slice(None))
    windows = windows[(*steps, *(slice(None, None, d) for d in g.dilation))]
    windows = np.moveaxis(windows, g.rank + 1, -1)
    windows = windows.reshape(*windows.shape[:-1], g.groups, ci // g.groups)
    return np.moveaxis(windows, -2, 0).reshape(g.groups, prod(g.y_shape[:-1]), -1)


def _weights(w: Array, g: ConvGeometry) -> Array:
    """w -> a view (groups, taps * ci // groups, co // groups)."""
    return np.moveaxis(w.reshape(-1, g.groups, g.w_shape[-1] // g.groups), 1, 0)


def _grouped(y: Array, g: ConvGeometry) -> Array:
    """y -> a view (groups, n * pixels, co // groups)."""
    return np.moveaxis(y.reshape(-1, g.groups, g.w_shape[-1] // g.groups), 1, 0)


def _padded_shape(g: ConvGeometry) -> tuple[int, ...]:
    sizes = (before + size + after for size, (before, after) in zip(g.x_shape[1:-1], g.padding, strict=True))
    return (g.x_shape[0], *sizes, g.x_shape[-1])


def _reach(g: ConvGeometry, tap: tuple[int, ...]) -> tuple[slice, ...]:
    """The padded inputs that the tap multiplies, along each spatial axis."""
    return tuple(
        slice(k * d, k * d + (o - 1) * s + 1, s)
        for k, d, s, o in zip(tap, g.dilation, g.strides, g.y_shape[1:-1], strict=True)
    )
