"""Pooling layers: low-resolution versions of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import ops
from ..ops.geometry import frozen
from .layer import Array, Layer, Shape, need_rank


class Pooling(Layer):
    """x (n, *spatial, c) -> y (n, *o, c), one value a window; strides default to pool_size."""

    rank: ClassVar[int]

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str | int | Sequence[Any] = "valid",
        data_format: str = "channels_last",
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.geometry: dict[str, Any] = {
            "size": frozen(pool_size),
            "strides": frozen(strides),
            "padding": frozen(padding),
            "data_format": data_format,
        }

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)


class MaxPooling(Pooling):
    """y is the largest of each window; NaN wins."""

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array
        y, indices = ops.max_pool(x, **self.geometry, return_indices=True)
        self.saved = indices, x.shape
        return y

    def backward(self, dy: Array) -> Array | None:
        indices, x_shape = self.saved
        return ops.max_pool_grad(dy, indices, x_shape, data_format=self.geometry["data_format"])


class AveragePooling(Pooling):
    """y is the mean of each window; padding doesn't count."""

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        return ops.average_pool(x, **self.geometry)

    def backward(self, dy: Array) -> Array | None:
        return ops.average_pool_grad(dy, self.saved, **self.geometry)


class MaxPooling1D(MaxPooling):
    """x (n, iw, c) -> y (n, ow, c), the largest of each window."""

    rank = 1


class MaxPooling2D(MaxPooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the largest of each window."""

    rank = 2


class AveragePooling1D(AveragePooling):
    """x (n, iw, c) -> y (n, ow, c), the mean of each window."""

    rank = 1


class AveragePooling2D(AveragePooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the mean of each window."""

    rank = 2


class GlobalAveragePooling(Layer):
    """x (n, *spatial, c) -> y (n, c), the mean of each map; with keepdims (n, 1, ..., c)."""

    rank: ClassVar[int]

    def __init__(self, data_format: str = "channels_last", keepdims: bool = False, **layer: Any) -> None:
        super().__init__(**layer)
        self.data_format, self.keepdims = data_format, keepdims

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        return ops.global_average_pool(x, keepdims=self.keepdims, data_format=self.data_format)

    def backward(self, dy: Array) -> Array | None:
        return ops.global_average_pool_grad(dy, self.saved, data_format=self.data_format)


class GlobalAveragePooling1D(GlobalAveragePooling):
    """x (n, iw, c) -> y (n, c), the mean of each map."""

    rank = 1


class GlobalAveragePooling2D(GlobalAveragePooling):
    """x (n, ih, iw, c) -> y (n, c), the mean of each map."""

    rank = 2
