"""Layers of several inputs, all of one shape but for Concatenate: merge([a, b]) as in Keras."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from .. import ops
from .layer import Array, Layer, Shape, shape_text
from .place import Needs, Place


class Merge(Layer):
    """[x (n, ...), ...] -> y (n, ...), element by element."""

    def build(self, input_shape: list[Shape]) -> None:
        if not isinstance(input_shape, list) or not input_shape:
            raise ValueError("the inputs must be a list of at least one")
        self.check([shape[1:] for shape in input_shape])

    def check(self, shapes: list[Shape]) -> None:
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"the inputs must have one shape, got {' and '.join(map(shape_text, shapes))}")

    def backward(self, dy: Array) -> list[Array]:
        raise NotImplementedError


class Add(Merge):
    """y = the sum of the inputs."""

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = len(x)
        out = self.place.memory.get("y")
        if len(x) == 1:
            return x[0].copy()
        y = ops.add(x[0], x[1], out=out)
        for each in x[2:]:
            ops.add(y, each, out=y)
        return y

    def backward(self, dy: Array) -> list[Array]:
        return [dy] * int(self.saved)


class Subtract(Merge):
    """y = a - b."""

    def check(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2:
            raise ValueError(f"the inputs must be two, got {len(shapes)}")
        super().check(shapes)

    def forward(self, x: list[Array], training: bool = False) -> Array:
        y: Array = x[0] - x[1]
        return y

    def backward(self, dy: Array) -> list[Array]:
        return [dy, -dy]


class Multiply(Merge):
    """y = the product of the inputs."""

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = x
        return reduce(np.multiply, x)

    def backward(self, dy: Array) -> list[Array]:
        x = self.saved
        return [reduce(np.multiply, [*x[:i], *x[i + 1 :]], dy) for i in range(len(x))]


class Average(Merge):
    """y = the mean of the inputs."""

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = len(x)
        y: Array = reduce(np.add, x) * x[0].dtype.type(1 / len(x))
        return y

    def backward(self, dy: Array) -> list[Array]:
        dx = dy * dy.dtype.type(1 / self.saved)
        return [dx] * int(self.saved)


class Extreme(Merge):
    """y = one of the inputs, the first of equals, which alone gets the gradient; NaN wins."""

    pick: Any

    def forward(self, x: list[Array], training: bool = False) -> Array:
        y = reduce(self.pick, x)
        taken = np.zeros(y.shape, bool)
        self.saved = []
        for each in x:
            chosen = ((each == y) | np.isnan(each)) & ~taken
            self.saved.append(chosen)
            taken |= chosen
        return y

    def backward(self, dy: Array) -> list[Array]:
        return [np.where(chosen, dy, dy.dtype.type(0)) for chosen in self.saved]


class Maximum(Extreme):
    """y = the largest of the inputs."""

    pick = np.maximum


class Minimum(Extreme):
    """y = the smallest of the inputs."""

    pick = np.minimum


class Concatenate(Merge):
    """y = the inputs behind one another along axis, whose sizes may differ."""

    def __init__(self, axis: int = -1, **layer: Any) -> None:
        super().__init__(**layer)
        self.axis = axis

    def check(self, shapes: list[Shape]) -> None:
        rank = len(shapes[0]) + 1
        if self.axis == 0 or not -rank < self.axis < rank:
            raise ValueError(f"axis must be one of 1 to {rank - 1} or count from the end, got {self.axis}")
        at = self.axis - 1 if self.axis > 0 else self.axis + rank - 1
        rest = [(*shape[:at], *shape[at + 1 :]) if len(shape) == rank - 1 else None for shape in shapes]
        if any(each != rest[0] for each in rest):
            given = " and ".join(map(shape_text, shapes))
            raise ValueError(f"the inputs must have one shape but for axis {self.axis}, got {given}")

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = np.cumsum([each.shape[self.axis] for each in x])[:-1]
        return np.concatenate(x, self.axis, out=self.place.memory.get("y"))

    def backward(self, dy: Array) -> list[Array]:
        parts = np.split(dy, self.saved, self.axis)
        return [np.ascontiguousarray(part) for part in parts]
