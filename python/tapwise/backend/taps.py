"""A convolution as the sum over its taps, for the specification: views of the arrays, and what each tap joins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..geometry import ConvGeometry
from .interface import Array


def last(x: Array, channels_last: bool) -> Array:
    return x if channels_last else np.moveaxis(x, 1, -1)


def sizes(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    return shape[1:-1] if channels_last else shape[2:]


def images(x: Array, g: ConvGeometry) -> Array:
    """x, y, dx, dy as (groups, n, *spatial, channels / groups)."""
    x = last(x, g.channels_last)
    return np.moveaxis(x.reshape(*x.shape[:-1], g.groups, x.shape[-1] // g.groups), -2, 0)


def weights(w: Array, g: ConvGeometry) -> Array:
    """w, dw as (*k, groups, 1, ..., ci / groups, co / groups): w[tap] is a matrix that images can be multiplied by."""
    w = w if g.channels_last else np.moveaxis(w, (1, 0), (-2, -1))
    w = np.moveaxis(w.reshape(*w.shape[:-1], g.groups, w.shape[-1] // g.groups), -2, -3)
    return np.expand_dims(w, tuple(range(g.rank + 1, 2 * g.rank + 1)))


def taps(g: ConvGeometry) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Each tap k with the x and y that it joins: on each axis y[o] and x[o * stride + k * dilation - before]."""
    kernel = g.w_shape[:-2] if g.channels_last else g.w_shape[2:]
    axes = [
        (size, outputs, stride, dilation, before)
        for size, outputs, stride, dilation, (before, _) in zip(
            sizes(g.x_shape, g.channels_last), sizes(g.y_shape, g.channels_last),
            g.strides, g.dilation, g.padding, strict=True,
        )
    ]  # fmt: skip
    for tap in np.ndindex(*kernel):
        xs, ys = [slice(None), slice(None)], [slice(None), slice(None)]
        for k, (size, outputs, stride, dilation, before) in zip(tap, axes, strict=True):
            offset = k * dilation - before
            first = max(0, -(offset // stride))
            count = max(0, min(outputs, (size - 1 - offset) // stride + 1) - first)
            start = first * stride + offset
            xs.append(slice(start, start + count * stride, stride))
            ys.append(slice(first, first + count))
        yield tap, tuple(xs), tuple(ys)
