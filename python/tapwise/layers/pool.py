"""Pooling layers: low-resolution versions of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..geometry import frozen, per_axis
from .layer import Array, Layer, Shape, need_rank
from .place import Needs, Place


class Pooling(Layer):
    """x (n, *spatial, c) -> y (n, *o, c), one value a window; strides default to pool_size."""

    rank: ClassVar[int]
    in_bfloat16 = True

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

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        indices = (("indices", y_shape, np.int32),)
        return Needs("y" if place.activation else "", indices, dz=place.activation is not None)

    def forward(self, x: Array, training: bool = False) -> Array:
        memory, geometry = self.place.memory, self.geometry
        if self.place.padding is not None:
            geometry = {**geometry, "padding": self.place.padding}
        y: Array
        if training or not memory:  # outside of a plan backward may follow any forward
            out, taken = memory.get("y"), memory.get("indices")
            y, indices = ops.max_pool(x, **geometry, return_indices=True, out=out, indices_out=taken)
        else:
            y, indices = ops.max_pool(x, **geometry, out=memory["y"]), None
        self.saved = indices, x.shape, y
        return y

    def backward(self, dy: Array) -> Array | None:
        """The largest of what a ReLU gave has the ReLU's mask: the smaller map is masked, and summed for a bias."""
        indices, x_shape, y = self.saved
        place, memory = self.place, self.place.memory
        if place.before:
            data_format = self.geometry["data_format"]
            dy, place.before.db = ops.activation_grad_bias(
                dy, y, place.activation, data_format=data_format, out=memory.get("dz")
            )
        return ops.max_pool_grad(dy, indices, x_shape, data_format=self.geometry["data_format"], out=memory.get("dx"))


class AveragePooling(Pooling):
    """y is the mean of each window; padding doesn't count."""

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        return ops.average_pool(x, **self.geometry, out=self.place.memory.get("y"))

    def backward(self, dy: Array) -> Array | None:
        return ops.average_pool_grad(dy, self.saved, **self.geometry, out=self.place.memory.get("dx"))


class GlobalPooling(Layer):
    """x (n, *spatial, c) -> y (n, c), one value a map; with keepdims (n, 1, ..., c)."""

    rank: ClassVar[int]
    in_bfloat16 = True

    def __init__(self, data_format: str = "channels_last", keepdims: bool = False, **layer: Any) -> None:
        super().__init__(**layer)
        self.data_format, self.keepdims = data_format, keepdims

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)


class GlobalAveragePooling(GlobalPooling):
    """y is the mean of each map."""

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        out = self.place.memory.get("y")
        return ops.global_average_pool(x, keepdims=self.keepdims, data_format=self.data_format, out=out)

    def backward(self, dy: Array) -> Array | None:
        out = self.place.memory.get("dx")
        return ops.global_average_pool_grad(dy, self.saved, data_format=self.data_format, out=out)


class GlobalMaxPooling(GlobalPooling):
    """y is the largest of each map; NaN wins."""

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array
        y, indices = ops.global_max_pool(
            x, keepdims=self.keepdims, data_format=self.data_format, return_indices=True, out=self.place.memory.get("y")
        )
        self.saved = indices, x.shape
        return y

    def backward(self, dy: Array) -> Array | None:
        indices, x_shape = self.saved
        dy = dy.reshape(indices.shape)
        return ops.max_pool_grad(dy, indices, x_shape, data_format=self.data_format, out=self.place.memory.get("dx"))


class AdaptivePooling(Layer):
    """x (n, *spatial, c) -> y (n, *output_size, c); window j of an axis floor(j * in / o) to ceil((j + 1) * in / o)."""

    rank: ClassVar[int]
    in_bfloat16 = True

    def __init__(self, output_size: int | Sequence[int], data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(**layer)
        self.output_size, self.data_format = per_axis(frozen(output_size), "output_size", self.rank), data_format

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()


class AdaptiveAveragePooling(AdaptivePooling):
    """y is the mean of each window."""

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved, out = x.shape, self.place.memory.get("y")
        return ops.adaptive_average_pool(x, self.output_size, data_format=self.data_format, out=out)

    def backward(self, dy: Array) -> Array | None:
        out = self.place.memory.get("dx")
        return ops.adaptive_average_pool_grad(dy, self.saved, data_format=self.data_format, out=out)


class AdaptiveMaxPooling(AdaptivePooling):
    """y is the largest of each window; NaN wins."""

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array
        y, indices = ops.adaptive_max_pool(
            x, self.output_size, data_format=self.data_format, return_indices=True, out=self.place.memory.get("y")
        )
        self.saved = indices, x.shape
        return y

    def backward(self, dy: Array) -> Array | None:
        out = self.place.memory.get("dx")
        return ops.max_pool_grad(dy, *self.saved, data_format=self.data_format, out=out)


class MaxPooling1D(MaxPooling):
    """x (n, iw, c) -> y (n, ow, c), the largest of each window."""

    rank = 1


class MaxPooling2D(MaxPooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the largest of each window."""

    rank = 2


class MaxPooling3D(MaxPooling):
    """x (n, id, ih, iw, c) -> y (n, od, oh, ow, c), the largest of each window."""

    rank = 3


class AveragePooling1D(AveragePooling):
    """x (n, iw, c) -> y (n, ow, c), the mean of each window."""

    rank = 1


class AveragePooling2D(AveragePooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the mean of each window."""

    rank = 2


class AveragePooling3D(AveragePooling):
    """x (n, id, ih, iw, c) -> y (n, od, oh, ow, c), the mean of each window."""

    rank = 3


class GlobalAveragePooling1D(GlobalAveragePooling):
    """x (n, iw, c) -> y (n, c), the mean of each map."""

    rank = 1


class GlobalAveragePooling2D(GlobalAveragePooling):
    """x (n, ih, iw, c) -> y (n, c), the mean of each map."""

    rank = 2


class GlobalAveragePooling3D(GlobalAveragePooling):
    """x (n, id, ih, iw, c) -> y (n, c), the mean of each map."""

    rank = 3


class GlobalMaxPooling1D(GlobalMaxPooling):
    """x (n, iw, c) -> y (n, c), the largest of each map."""

    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """x (n, ih, iw, c) -> y (n, c), the largest of each map."""

    rank = 2


class GlobalMaxPooling3D(GlobalMaxPooling):
    """x (n, id, ih, iw, c) -> y (n, c), the largest of each map."""

    rank = 3


class AdaptiveAveragePooling1D(AdaptiveAveragePooling):
    """x (n, iw, c) -> y (n, ow, c), the mean of each window."""

    rank = 1


class AdaptiveAveragePooling2D(AdaptiveAveragePooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the mean of each window."""

    rank = 2


class AdaptiveAveragePooling3D(AdaptiveAveragePooling):
    """x (n, id, ih, iw, c) -> y (n, od, oh, ow, c), the mean of each window."""

    rank = 3


class AdaptiveMaxPooling1D(AdaptiveMaxPooling):
    """x (n, iw, c) -> y (n, ow, c), the largest of each window."""

    rank = 1


class AdaptiveMaxPooling2D(AdaptiveMaxPooling):
    """x (n, ih, iw, c) -> y (n, oh, ow, c), the largest of each window."""

    rank = 2


class AdaptiveMaxPooling3D(AdaptiveMaxPooling):
    """x (n, id, ih, iw, c) -> y (n, od, oh, ow, c), the largest of each window."""

    rank = 3
