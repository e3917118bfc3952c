"""One pass over a graph: each node computes its values at once, and leaves the steps that a plan repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...ops.memory import empty
from .graph import Node
from .values import Array, Memory, NotOurs, Shape, Value, first_axes, last_axes

Function = Callable[..., Any]


class Step(NamedTuple):
    """function(*reads, *writes); kernels: it asks the backend and does nothing else."""

    function: Function
    reads: tuple[Memory, ...]
    writes: tuple[Memory, ...]
    kernels: bool
    label: str

    def __str__(self) -> str:
        ends = (" ".join("x".join(map(str, memory.shape)) for memory in each) for each in (self.reads, self.writes))
        return f"{self.label}: {' -> '.join(ends)}{'' if self.kernels else ' (NumPy)'}"


class Run:
    """Values while a graph is computed. `fixed` tells whether all shapes follow from those of the inputs."""

    def __init__(self, packed: dict[Any, Any], most_bytes: int) -> None:
        self.steps: list[Step] = []
        self.fixed = True
        self.packed = packed  # weights laid out for a shape, by node: outlives the run
        self.most_bytes = most_bytes
        self.node: Node | None = None

    @property
    def label(self) -> str:
        return self.node.label if self.node else "outputs"

    def check_size(self, shape: Sequence[int], dtype: Any) -> None:
        """Refuse a result that a hostile graph blows up. Raises ValueError."""
        size = prod(map(int, shape)) * np.dtype(dtype).itemsize
        if size > self.most_bytes:
            raise ValueError(f"a value must have at most {self.most_bytes} bytes, got {size} for shape {tuple(shape)}")

    def call(
        self, function: Function, reads: Sequence[Memory], shape: Shape, dtype: Any, *, kernels: bool = False
    ) -> Memory:
        """function(*arrays, out) writes out, of this shape."""
        return self.calls(function, reads, [(shape, dtype)], kernels=kernels)[0]

    def calls(
        self,
        function: Function,
        reads: Sequence[Memory],
        results: Sequence[tuple[Shape, Any]],
        *,
        kernels: bool = False,
    ) -> list[Memory]:
        """call with several results."""
        for shape, dtype in results:
            self.check_size(shape, dtype)
        reads = tuple(self.forced(memory) for memory in reads)
        made = [empty(shape, np.dtype(dtype)) for shape, dtype in results]
        function(*(memory.array for memory in reads), *made)
        constant = all(memory.constant for memory in reads)
        writes = [Memory(array, constant) for array in made]
        if not constant:
            self.steps.append(Step(function, reads, tuple(writes), kernels, self.label))
        return writes

    def made(self, function: Function, *reads: Memory) -> Memory:
        """What function(*arrays) returns, whose shape follows from theirs."""
        memories = tuple(self.forced(memory) for memory in reads)
        array = np.asarray(function(*(memory.array for memory in memories)))
        array = array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")
        result = Memory(array, all(memory.constant for memory in memories))

        def again(*arrays: Array) -> None:
            np.copyto(arrays[-1], function(*arrays[:-1]))

        if not result.constant:
            self.steps.append(Step(again, memories, (result,), False, self.label))
        return result

    def free(self, objects: Sequence[Any], constant: bool) -> list[Value]:
        """Values that aren't bound to a shape: a plan can't repeat them unless they are constant."""
        self.fixed &= constant
        return [Value(Memory(each, constant)) for each in objects]

    def constant(self, array: Any) -> Value:
        return Value(Memory(array, True))

    def forced(self, memory: Memory) -> Memory:
        """memory, computed."""
        pending = memory.pending
        if pending is not None:
            memory.pending = None
            at, self.node = self.node, pending.node or self.node
            found = pending.launch(self)
            self.node = at
            memory.array, memory.base, memory.constant = found.array, found.base or found, found.constant
        return memory

    def known(self, value: Value) -> Array:
        """What a value holds, where a shape or the like depends on it."""
        memory = self.first(value)
        if not memory.constant:
            self.fixed = False
        return np.asarray(memory.array)

    def first(self, value: Value) -> Memory:
        """The memory in the order of ONNX' axes."""
        return self._turned(value, first_axes) if value.last else self.forced(value.memory)

    def last(self, value: Value) -> Memory:
        """The memory with axis 1 last."""
        return self.forced(value.memory) if value.last or value.rank < 3 else self._turned(value, last_axes)

    def _turned(self, value: Value, axes: Callable[[int], Shape]) -> Memory:
        if value.turned is None:
            value.turned = self.transposed(self.forced(value.memory), axes(value.rank))
        return value.turned

    def transposed(self, memory: Memory, axes: Shape) -> Memory:
        """Another order of axes; free where no element moves."""
        memory = self.forced(memory)
        shape = tuple(memory.shape[axis] for axis in axes)
        long = [axis for axis in axes if memory.shape[axis] != 1]
        if long == sorted(long):
            return memory.view(shape)
        return self.call(lambda x, y: np.copyto(y, x.transpose(axes)), (memory,), shape, memory.dtype)

    def one_layout(self, values: Sequence[Value]) -> tuple[list[Memory], bool]:
        """The memories in one order, with axes added in front, so that NumPy's broadcasting is ONNX'."""
        rank = max(value.rank for value in values)
        last = any(value.last and value.rank == rank for value in values) and rank > 2
        if not last:
            return [self.first(value) for value in values], False
        return [self._broadcast(value, rank) for value in values], True

    def _broadcast(self, value: Value, rank: int) -> Memory:
        if value.last and value.rank == rank:
            return self.forced(value.memory)
        memory = self.first(value)
        shape = (1,) * (rank - value.rank) + memory.shape
        if memory.shape != shape:
            memory = memory.view(shape)
        else:
            return self.last(value)
        return self.transposed(memory, last_axes(rank))

    def need(self, condition: bool, reason: str) -> None:
        """Leave the node to onnx.reference unless condition holds."""
        if not condition:
            raise NotOurs(reason)
