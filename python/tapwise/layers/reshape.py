"""Layers that only order values anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..geometry import integer, is_channels_last
from .layer import Array, Layer, Shape, need_axes, shape_text
from .place import Needs, Place


class Flatten(Layer):
    """x (n, ...) -> y (n, values), channels innermost also with data_format="channels_first", as in Keras."""

    in_bfloat16 = True

    def __init__(self, data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(**layer)
        self.channels_last = is_channels_last(data_format)

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs | None:
        return Needs(view=True) if self.channels_last or len(shapes[0]) < 3 else None

    def forward(self, x: Array, training: bool = False) -> Array:
        if not self.channels_last and x.ndim > 2:
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        self.saved = x.shape
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, dy: Array) -> Array | None:
        dx = dy.reshape(self.saved)
        if not self.channels_last and dx.ndim > 2:
            dx = np.ascontiguousarray(np.moveaxis(dx, -1, 1))
        return dx


class Reshape(Layer):
    """x (n, ...) -> y (n, *target_shape); one -1 in it takes what is left."""

    in_bfloat16 = True

    def __init__(self, target_shape: Sequence[int], **layer: Any) -> None:
        super().__init__(**layer)
        self.target_shape = tuple(int(size) for size in target_shape)
        if self.target_shape.count(-1) > 1 or any(size < 1 and size != -1 for size in self.target_shape):
            raise ValueError(f"target_shape must hold sizes >= 1 and at most one -1, got {self.target_shape}")

    def build(self, input_shape: Shape) -> None:
        self.target(input_shape)

    def target(self, x_shape: Shape) -> Shape:
        values, known = math.prod(x_shape[1:]), math.prod(size for size in self.target_shape if size != -1)
        if values != known and (-1 not in self.target_shape or values % known):
            raise ValueError(f"target_shape must hold the {values} values of x, got {shape_text(self.target_shape)}")
        return (x_shape[0], *(values // known if size == -1 else size for size in self.target_shape))

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(view=True)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        return x.reshape(self.target(x.shape))

    def backward(self, dy: Array) -> Array | None:
        return dy.reshape(self.saved)


class Permute(Layer):
    """y's axis i is x's axis dims[i - 1]; axes count from 1, behind the batch axis."""

    in_bfloat16 = True

    def __init__(self, dims: Sequence[int], **layer: Any) -> None:
        super().__init__(**layer)
        self.dims = tuple(dims)
        need_axes("dims", self.dims, len(self.dims) + 1)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(f"x must have {len(self.dims)} axes behind the batch axis for dims {self.dims}")

    def forward(self, x: Array, training: bool = False) -> Array:
        return np.ascontiguousarray(x.transpose(0, *self.dims))

    def backward(self, dy: Array) -> Array | None:
        return np.ascontiguousarray(dy.transpose(np.argsort((0, *self.dims))))


class RepeatVector(Layer):
    """x (batch, c) -> y (batch, n, c), each row n times."""

    def __init__(self, n: int, **layer: Any) -> None:
        super().__init__(**layer)
        self.n = integer(n, "n", 1)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2:
            raise ValueError("x must have 2 dimensions, the batch axis and the values")

    def forward(self, x: Array, training: bool = False) -> Array:
        return np.repeat(x[:, None], self.n, 1)

    def backward(self, dy: Array) -> Array | None:
        return np.asarray(dy.sum(1))


class Identity(Layer):
    """y = x."""

    in_bfloat16 = True

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(view=True)

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, dy: Array) -> Array | None:
        return dy
