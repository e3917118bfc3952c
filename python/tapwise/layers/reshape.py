"""Layers that only order values anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops.geometry import is_channels_last
from .layer import Array, Layer, Shape
from .place import Needs, Place


class Flatten(Layer):
    """x (n, ...) -> y (n, values), channels innermost also with data_format="channels_first", as in Keras."""

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
