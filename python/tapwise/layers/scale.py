"""Layers that bring values to a known range: by given numbers, or by statistics of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .layer import Array, Layer, Parameter, Shape
from .place import Needs, Place

SMALL = 1e-7  # what a standard deviation is at least, as in Keras


class Rescaling(Layer):
    """y = x * scale + offset: scale=1/127.5, offset=-1 takes bytes to [-1, 1]."""

    def __init__(self, scale: float, offset: float = 0.0, **layer: Any) -> None:
        super().__init__(**layer)
        self.scale, self.offset = scale, offset

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(in_place=True)

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array = np.multiply(x, x.dtype.type(self.scale), out=self.place.memory.get("y"))
        y += x.dtype.type(self.offset)
        return y

    def backward(self, dy: Array) -> Array | None:
        dx: Array = np.multiply(dy, dy.dtype.type(self.scale), out=self.place.memory.get("dx"))
        return dx


class Normalization(Layer):
    """y = (x - mean) / sqrt(variance) along axis, an axis or several (None: one number for all), or with invert x back.

    mean and variance are given, or adapt takes them of data; then they are weights, with the count of what was seen,
    as in Keras.
    """

    mean: Array
    variance: Array

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        if (mean is None) != (variance is None):
            raise ValueError("mean and variance must be given both or neither")
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.given = None if mean is None or variance is None else (np.asarray(mean), np.asarray(variance))
        self.invert = invert
        self.kept: list[Parameter] = []

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        axes = [axis % rank for axis in self.axis]
        if 0 in axes or not all(-rank <= axis < rank for axis in self.axis):
            raise ValueError(f"axis must be of 1 to {rank - 1} or count from the end, got {self.axis}")
        self.shape = tuple(input_shape[i] if i in axes else 1 for i in range(rank))
        self.others = tuple(i for i in range(rank) if i not in axes)
        if self.given is None:
            sizes = tuple(input_shape[i] for i in sorted(axes))
            for name, first in (("mean", "zeros"), ("variance", "ones")):
                self.kept.append(self.add_weight(sizes, first, trainable=False, name=name))
            self.add_weight((), "zeros", trainable=False, name="count")

    def adapt(self, data: ArrayLike) -> None:
        """Take mean and variance of data (n, ...), which replace those of earlier data."""
        data = np.asarray(data)
        if self.given is not None:
            raise ValueError(f"{self.name}: mean and variance were given, so adapt has nothing to find")
        if data.ndim < 1 or not len(data):
            raise ValueError(f"{self.name}: data must hold at least one example, got shape {data.shape}")
        if not self.built:
            self.build(data.shape)
            self.built = True
        if data.ndim != len(self.shape) or any(a not in (1, b) for a, b in zip(self.shape, data.shape, strict=True)):
            raise ValueError(f"{self.name}: data must fit mean and variance of {self.shape}, got shape {data.shape}")
        found = data.mean(self.others, dtype=np.float64), data.var(self.others, dtype=np.float64)
        for weight, value in zip(self.kept, found, strict=True):
            weight.value[...] = value
        self.weights[2].value[...] = data.size // max(1, self.kept[0].value.size)

    def statistics(self, dtype: Any) -> tuple[Array, Array]:
        """mean and the standard deviation, which broadcast to x."""
        mean, variance = self.given or [weight.value for weight in self.kept]
        deviation = np.maximum(np.sqrt(np.asarray(variance, dtype)), dtype.type(SMALL))
        return self._as_x(np.asarray(mean, dtype)), self._as_x(deviation)

    def _as_x(self, a: Array) -> Array:
        """Given ones may have any shape that broadcasts, as in Keras."""
        return a.reshape(self.shape) if a.size == np.prod(self.shape) else np.broadcast_to(a, self.shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        mean, deviation = self.statistics(x.dtype)
        y: Array = mean + x * deviation if self.invert else (x - mean) / deviation
        return y

    def backward(self, dy: Array) -> Array | None:
        deviation = self.statistics(dy.dtype)[1]
        return np.asarray(dy * deviation if self.invert else dy / deviation)
