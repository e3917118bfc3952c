"""What flows through an ONNX graph here: memory, the layout it has, and operations that wait to be joined.

ONNX counts axes as (n, c, *spatial). The kernels are fastest on (n, *spatial, c), so a value may lie in memory with its
axis 1 last; it is turned only where somebody needs the other order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .run import Run

Array = NDArray[Any]
Shape = tuple[int, ...]


class NotOurs(Exception):
    """This node is one for onnx.reference; the text says why."""


class Memory:
    """An array, or a buffer of a plan that will be one; base: whose memory it is seen in another shape."""

    __slots__ = ("array", "base", "constant", "dtype", "pending", "shape")

    def __init__(self, array: Any, constant: bool = False, base: Memory | None = None) -> None:
        self.array, self.constant, self.base = array, constant, base
        self.shape: Shape = getattr(array, "shape", ())
        self.dtype: Any = getattr(array, "dtype", None)
        self.pending: Pending | None = None

    @classmethod
    def waiting(cls, pending: Pending, shape: Shape, dtype: Any) -> Memory:
        memory = cls(None)
        memory.pending, memory.shape, memory.dtype = pending, shape, np.dtype(dtype)
        return memory

    def view(self, shape: Shape) -> Memory:
        """The same bytes in another shape."""
        return Memory(self.array.reshape(shape), self.constant, self.base or self)


class Pending:
    """An operation that has not run: what follows may become part of it, as long as nobody else reads its result."""

    node: Any = None  # whose operation it is

    def launch(self, run: Run) -> Memory:
        raise NotImplementedError

    def scaled(self, gain: Array, shift: Array) -> bool:
        """Whether gain * y + shift, both (channels,), is part of it now."""
        return False

    def added(self, other: Memory) -> bool:
        """Whether y + other is part of it now."""
        return False

    def activated(self, kind: str, alpha: float | None) -> bool:
        """Whether activation(y) is part of it now."""
        return False


class Value:
    """An ONNX value: memory in the order of its axes, or with `last` in the order (0, 2, 3, ..., 1)."""

    __slots__ = ("last", "memory", "readers", "turned")

    def __init__(self, memory: Memory, last: bool = False) -> None:
        self.memory, self.last = memory, last
        self.readers = 1  # nodes that read it, and the outputs
        self.turned: Memory | None = None  # the same values in the other order

    @property
    def shape(self) -> Shape:
        shape = self.memory.shape
        return (shape[0], shape[-1], *shape[1:-1]) if self.last else shape

    @property
    def rank(self) -> int:
        return len(self.memory.shape)

    @property
    def dtype(self) -> Any:
        return self.memory.dtype

    @property
    def constant(self) -> bool:
        return self.memory.constant

    @property
    def pending(self) -> Pending | None:
        """What may still be joined to it."""
        return self.memory.pending if self.readers == 1 else None


def last_axes(rank: int) -> Shape:
    """(n, c, *spatial) -> (n, *spatial, c)."""
    return (0, *range(2, rank), 1)


def first_axes(rank: int) -> Shape:
    """(n, *spatial, c) -> (n, c, *spatial)."""
    return (0, rank - 1, *range(1, rank - 1))


def positive(axis: int, rank: int) -> int:
    """axis counted from the front. Raises ValueError on one that isn't there."""
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis must be >= {-rank} and < {rank}, got {axis}")
    return axis % rank if rank else 0
