"""Maps of another size: each axis is multiplied by a matrix of weights, and the gradient by its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..geometry import frozen, integer, is_channels_last, per_axis
from .layer import Array, Layer, Shape, need_rank

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@lru_cache(maxsize=256)
def weights(size: int, wanted: int, interpolation: str) -> Array:
    """(wanted, size): pixel i of the result lies at (i + 1/2) * size / wanted - 1/2, as in PyTorch.

    Behind the edge is the last pixel. nearest: pixel floor((i + 1/2) * size / wanted); bicubic has a = -3/4.
    """
    matrix = np.zeros((wanted, size))
    rows = np.arange(wanted)
    if interpolation == "nearest":
        matrix[rows, (2 * rows + 1) * size // (2 * wanted)] = 1
        return matrix
    at = (rows + 0.5) * size / wanted - 0.5
    if interpolation == "bilinear":
        at = np.clip(at, 0, size - 1)
    first = np.floor(at).astype(int)
    t = at - first
    if interpolation == "bilinear":
        taps = {0: 1 - t, 1: t}
    else:
        taps = {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
    for offset, weight in taps.items():
        np.add.at(matrix, (rows, np.clip(first + offset, 0, size - 1)), weight)
    return matrix


def near(t: Array, a: float = -0.75) -> Array:
    """Keys' cubic kernel within 1. Keys, 1981."""
    return np.asarray(((a + 2) * t - (a + 3)) * t * t + 1)


def far(t: Array, a: float = -0.75) -> Array:
    """From 1 to 2."""
    return np.asarray(((t - 5) * t + 8) * t * a - 4 * a)


def along(x: Array, axis: int, matrix: Array) -> Array:
    """y[..., i, ...] = sum over j of matrix[i, j] * x[..., j, ...]."""
    moved = np.moveaxis(x, axis, -2) if axis < x.ndim - 1 else x[..., None]
    y = np.matmul(matrix.astype(x.dtype), moved)
    return np.moveaxis(y, -2, axis) if axis < x.ndim - 1 else y[..., 0]


def resized(x: Array, sizes: Sequence[int], interpolation: str, first: int) -> Array:
    """x with axes first, first + 1, ... of these sizes."""
    for axis, wanted in enumerate(sizes, first):
        if x.shape[axis] != wanted:
            x = along(x, axis, weights(x.shape[axis], wanted, interpolation))
    return np.ascontiguousarray(x)


def resized_grad(dy: Array, sizes: Sequence[int], interpolation: str, first: int) -> Array:
    """The gradient of resized with respect to x, whose axes had these sizes."""
    for axis, size in enumerate(sizes, first):
        if dy.shape[axis] != size:
            dy = along(dy, axis, weights(size, dy.shape[axis], interpolation).T)
    return np.ascontiguousarray(dy)


def check_interpolation(interpolation: str) -> str:
    if interpolation.lower() not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    return interpolation.lower()


class UpSampling(Layer):
    """x (n, *spatial, c) -> y, each spatial axis size times as long: values repeated, or between their neighbours."""

    rank: ClassVar[int]

    def __init__(self, size: int | Sequence[int], data_format: str, interpolation: str, **layer: Any) -> None:
        super().__init__(**layer)
        self.size = per_axis(frozen(size), "size", self.rank)
        self.first = 1 if is_channels_last(data_format) else 2
        self.interpolation = check_interpolation(interpolation)

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = sizes = x.shape[self.first : self.first + self.rank]
        if self.interpolation != "nearest":
            wanted = [a * b for a, b in zip(sizes, self.size, strict=True)]
            return resized(x, wanted, self.interpolation, self.first)
        for axis, times in enumerate(self.size, self.first):
            x = np.repeat(x, times, axis)
        return x

    def backward(self, dy: Array) -> Array | None:
        if self.interpolation != "nearest":
            return resized_grad(dy, self.saved, self.interpolation, self.first)
        for axis, times in enumerate(self.size, self.first):
            dy = dy.reshape(*dy.shape[:axis], -1, times, *dy.shape[axis + 1 :]).sum(axis + 1)
        return dy


class UpSampling1D(UpSampling):
    """x (n, iw, c) -> y (n, iw * size, c), every row repeated."""

    rank = 1

    def __init__(self, size: int | Sequence[int] = 2, **layer: Any) -> None:
        super().__init__(size, "channels_last", "nearest", **layer)


class UpSampling2D(UpSampling):
    """x (n, ih, iw, c) -> y (n, ih * size, iw * size, c); interpolation is one of INTERPOLATIONS."""

    rank = 2

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        data_format: str = "channels_last",
        interpolation: str = "nearest",
        **layer: Any,
    ) -> None:
        super().__init__(size, data_format, interpolation, **layer)


class UpSampling3D(UpSampling):
    """x (n, id, ih, iw, c) -> y, every value repeated along the three axes."""

    rank = 3

    def __init__(self, size: int | Sequence[int] = (2, 2, 2), data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(size, data_format, "nearest", **layer)


class Resizing(Layer):
    """x (n, ih, iw, c) -> y (n, height, width, c).

    crop_to_aspect_ratio cuts the middle of that ratio out first; pad_to_aspect_ratio puts fill_value around x instead.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        data_format: str = "channels_last",
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.wanted = integer(height, "height", 1), integer(width, "width", 1)
        self.interpolation = check_interpolation(interpolation)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("one of crop_to_aspect_ratio and pad_to_aspect_ratio may be True, got both")
        if fill_mode != "constant":
            raise ValueError(f'fill_mode must be "constant", got {fill_mode!r}')
        self.crops, self.pads, self.fill_value = crop_to_aspect_ratio, pad_to_aspect_ratio, fill_value
        self.first = 1 if is_channels_last(data_format) else 2

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, 2)

    def _inside(self, sizes: Shape) -> tuple[Shape, Shape]:
        """The sizes of x's ratio-true part or surrounding, and where its corner lies."""
        (ih, iw), (height, width) = sizes, self.wanted
        fitting = int(iw * height / width), int(ih * width / height)
        if self.crops:
            taken = tuple(max(min(size, fit), 1) for size, fit in zip(sizes, fitting, strict=True))
        else:
            taken = tuple(max(size, fit) for size, fit in zip(sizes, fitting, strict=True))
        corner = tuple(abs(size - part) // 2 for size, part in zip(sizes, taken, strict=True))
        return taken, corner

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        if self.crops or self.pads:
            sizes = x.shape[self.first : self.first + 2]
            taken, corner = self._inside(sizes)
            if self.crops:
                x = x[self._window(corner, taken)]
            else:
                around = np.full(self._shape(x.shape, taken), self.fill_value, x.dtype)
                around[self._window(corner, sizes)] = x
                x = around
        return resized(x, self.wanted, self.interpolation, self.first)

    def backward(self, dy: Array) -> Array | None:
        x_shape: Shape = self.saved
        sizes = x_shape[self.first : self.first + 2]
        if not (self.crops or self.pads):
            return resized_grad(dy, sizes, self.interpolation, self.first)
        taken, corner = self._inside(sizes)
        part = resized_grad(dy, taken, self.interpolation, self.first)
        if self.pads:
            return np.ascontiguousarray(part[self._window(corner, sizes)])
        dx = np.zeros(x_shape, dy.dtype)
        dx[self._window(corner, taken)] = part
        return dx

    def _window(self, corner: Shape, sizes: Shape) -> tuple[slice, ...]:
        both = zip(corner, sizes, strict=True)
        return (*(slice(None),) * self.first, *(slice(at, at + size) for at, size in both))

    def _shape(self, x_shape: Shape, sizes: Shape) -> Shape:
        return (*x_shape[: self.first], *sizes, *x_shape[self.first + 2 :])


class CenterCrop(Resizing):
    """x (n, ih, iw, c) -> y (n, height, width, c), its middle; a smaller x is cut to the ratio and enlarged first."""

    def __init__(self, height: int, width: int, data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(height, width, crop_to_aspect_ratio=True, data_format=data_format, **layer)

    def _inside(self, sizes: Shape) -> tuple[Shape, Shape]:
        """Where x is large enough its part has the size that is wanted."""
        if any(size < least for size, least in zip(sizes, self.wanted, strict=True)):
            return super()._inside(sizes)
        return self.wanted, tuple((size - part) // 2 for size, part in zip(sizes, self.wanted, strict=True))
