"""Windows of an image in NumPy, for types that the kernels don't take and poolings that they don't know."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .values import Array, Shape

Pairs = tuple[tuple[int, int], ...]


def windows(x: Array, kernel: Shape, strides: Shape, pairs: Pairs, dilation: Shape, filler: Any) -> Array:
    """x (n, c, *spatial) -> a view (n, c, *o, *kernel) of x with filler around it."""
    if any(map(any, pairs)):
        x = np.pad(x, ((0, 0), (0, 0), *pairs), constant_values=filler)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    axes = tuple(range(2, x.ndim))
    if any(size < extent for size, extent in zip(x.shape[2:], extents, strict=True)):
        raise ValueError(f"kernel must not be larger than the padded input, got {extents} for {x.shape[2:]}")
    view = np.lib.stride_tricks.sliding_window_view(x, extents, axes)
    steps = (slice(None, None, s) for s in (*strides, *dilation))
    result: Array = view[(slice(None), slice(None), *steps)]
    return result


def conv_windows(
    x: Array, w: Array, b: Array | None, strides: Shape, pairs: Pairs, dilation: Shape, groups: int
) -> Array:
    """Cross-correlation in the arrays' own type: x (n, ci, *spatial), w (co, ci // groups, *k) -> y (n, co, *o)."""
    rank = x.ndim - 2
    seen = windows(x, w.shape[2:], strides, pairs, dilation, 0)
    outputs, ci, co = seen.shape[2 : 2 + rank], x.shape[1] // groups, w.shape[0] // groups
    columns = np.moveaxis(seen, 1, 1 + rank).reshape(x.shape[0], prod(outputs), groups, ci * prod(w.shape[2:]))
    kernels = w.reshape(groups, co, -1)
    parts = [columns[:, :, g] @ kernels[g].T for g in range(groups)]
    y: Array = np.concatenate(parts, -1).swapaxes(1, 2).reshape(x.shape[0], -1, *outputs)
    return y if b is None else y + b.reshape(-1, *(1,) * rank)
