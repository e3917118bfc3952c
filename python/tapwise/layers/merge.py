"""Layers of several inputs, all of one shape but for Concatenate: merge([a, b]) as in Keras."""

from __future__ import annotations

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

    def folded(self, operation: Any, x: list[Array], out: Array | None) -> Array:
        """operation(operation(x[0], x[1]), x[2]) and so on."""
        if len(x) == 1:
            return np.positive(x[0], out=out)
        y = operation(x[0], x[1], out=out)
        for each in x[2:]:
            operation(y, each, out=y)
        return y  # type: ignore[no-any-return]


class Add(Merge):
    """y = the sum of the inputs."""

    in_bfloat16 = True

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(in_place=True)

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = len(x)
        return self.folded(ops.add, x, self.place.memory.get("y"))

    def backward(self, dy: Array) -> list[Array]:
        return [dy] * int(self.saved)


class Subtract(Merge):
    """y = a - b."""

    def check(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2:
            raise ValueError(f"the inputs must be two, got {len(shapes)}")
        super().check(shapes)

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(in_place=True, own=(False, True))

    def forward(self, x: list[Array], training: bool = False) -> Array:
        return self.folded(np.subtract, x, self.place.memory.get("y"))

    def backward(self, dy: Array) -> list[Array]:
        return [dy, np.negative(dy, out=self.place.memory.get("dx1"))]


class Multiply(Merge):
    """y = the product of the inputs; an axis of size 1 is stretched to that of the others."""

    def check(self, shapes: list[Shape]) -> None:
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            super().check(shapes)
        if len({len(shape) for shape in shapes}) > 1:
            super().check(shapes)

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs("x", own=(True,) * len(shapes))

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = x
        y = self.place.memory.get("y")
        y = np.empty(np.broadcast_shapes(*(each.shape for each in x)), x[0].dtype) if y is None else y
        return self.folded(np.multiply, x, y)

    def backward(self, dy: Array) -> list[Array]:
        return [self._grad(dy, i, self.place.memory.get(f"dx{i}")) for i in range(len(self.saved))]

    def _grad(self, dy: Array, i: int, out: Array | None) -> Array:
        x = self.saved
        others = [dy, *x[:i], *x[i + 1 :]]
        stretched = tuple(axis for axis, size in enumerate(x[i].shape) if size != dy.shape[axis])
        if not stretched:
            return self.folded(np.multiply, others, out)
        dx: Array = self.folded(np.multiply, others, None).sum(stretched, keepdims=True, out=out)
        return dx


class Average(Merge):
    """y = the mean of the inputs."""

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs(in_place=True, dz=True)

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = len(x)
        y = self.folded(ops.add, x, self.place.memory.get("y"))
        y *= y.dtype.type(1 / len(x))
        return y

    def backward(self, dy: Array) -> list[Array]:
        dx: Array = np.multiply(dy, dy.dtype.type(1 / self.saved), out=self.place.memory.get("dz"))
        return [dx] * int(self.saved)


class Extreme(Merge):
    """y = one of the inputs, the first of equals, which alone gets the gradient; NaN wins."""

    pick: Any

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        kept = (("taken", (len(shapes) + 2, *y_shape), np.bool_),)
        return Needs(kept=kept if training else (), own=(True,) * len(shapes))

    def forward(self, x: list[Array], training: bool = False) -> Array:
        """taken[i] is whether input i is taken; two more for the union of those before, and for what isn't NaN."""
        memory = self.place.memory
        y = self.folded(self.pick, x, memory.get("y"))
        if not training and memory:
            return y
        taken = memory.get("taken")
        self.saved = taken = np.empty((len(x) + 2, *y.shape), np.bool_) if taken is None else taken
        *each, some, number = taken
        some[...] = False
        for value, here in zip(x, each, strict=True):
            np.not_equal(value, y, out=here)
            here &= np.equal(value, value, out=number)
            here |= some
            np.logical_not(here, out=here)
            some |= here
        return y

    def backward(self, dy: Array) -> list[Array]:
        found = []
        for i, here in enumerate(self.saved[:-2]):
            out = self.place.memory.get(f"dx{i}")
            dx = np.zeros_like(dy) if out is None else out
            if out is not None:
                dx[...] = 0
            np.copyto(dx, dy, where=here)
            found.append(dx)
        return found


class Maximum(Extreme):
    """y = the largest of the inputs."""

    pick = staticmethod(np.maximum)


class Minimum(Extreme):
    """y = the smallest of the inputs."""

    pick = staticmethod(np.minimum)


class Concatenate(Merge):
    """y = the inputs behind one another along axis, whose sizes may differ."""

    in_bfloat16 = True

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
        return Needs(own=(True,) * len(shapes))

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = np.cumsum([each.shape[self.axis] for each in x])[:-1]
        return np.concatenate(x, self.axis, out=self.place.memory.get("y"))

    def backward(self, dy: Array) -> list[Array]:
        parts = np.split(dy, self.saved, self.axis)
        found = []
        for i, part in enumerate(parts):
            out = self.place.memory.get(f"dx{i}")
            found.append(np.positive(part, out=out, order="C"))
        return found
