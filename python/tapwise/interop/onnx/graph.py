"""A graph as plain data: nodes in an order in which each finds its inputs, constants as arrays, nothing of protobuf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .values import Array


@dataclass(eq=False)
class Node:
    """An operator's call; proto is what onnx.reference gets."""

    operator: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    label: str
    proto: Any
    captured: tuple[str, ...] = ()  # what its subgraphs read from around them
    evaluator: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    @property
    def reads(self) -> Iterator[str]:
        yield from (name for name in self.inputs if name)
        yield from self.captured


@dataclass(eq=False)
class Port:
    """An input or output of the model: None in its shape where any size goes, shape None where any rank does."""

    name: str
    dtype: Any
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        sizes = "any shape" if self.shape is None else "x".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} ({sizes}, {self.dtype})"

    def check(self, array: Any) -> None:
        """Raises TypeError or ValueError on an array that doesn't fit."""
        if self.dtype is None or not isinstance(array, np.ndarray):
            return
        if array.dtype != self.dtype and not (self.dtype == object and array.dtype.kind in "OUST"):
            raise TypeError(f"input {self.name} must be {self.dtype}, got {array.dtype}")
        if self.shape is None:
            return
        wrong = len(self.shape) != array.ndim or any(
            isinstance(want, int) and want != got for want, got in zip(self.shape, array.shape, strict=True)
        )
        if wrong:
            raise ValueError(f"input {self} must have that shape, got {array.shape}")


@dataclass(eq=False)
class Graph:
    nodes: list[Node]
    constants: dict[str, Array]
    inputs: list[Port]
    outputs: list[Port]
    readers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.nodes = ordered(self.nodes, {*self.constants, *(port.name for port in self.inputs)}, self.outputs)
        self.readers = counted(self.nodes, self.outputs)


def counted(nodes: Sequence[Node], outputs: Sequence[Port]) -> Counter[str]:
    """How many read each value."""
    readers = Counter(port.name for port in outputs)
    for node in nodes:
        readers.update(node.reads)
    return readers


def ordered(nodes: Sequence[Node], given: set[str], outputs: Sequence[Port]) -> list[Node]:
    """The nodes, each behind those that make what it reads.

    Raises ValueError naming a value that nobody makes, that two make, or that depends on itself.
    """
    makers: dict[str, Node] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in makers or name in given:
                raise ValueError(f"each value must be made once, got {name!r} twice, by node {node.label}")
            makers[name] = node
    for name in (*(name for node in nodes for name in node.reads), *(port.name for port in outputs)):
        if name not in makers and name not in given:
            raise ValueError(
                f"each value must be an input, an initializer or made by a node, got {name!r}, which isn't"
            )
    waiting = {node: sum(name in makers for name in node.reads) for node in nodes}
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.reads:
            readers.setdefault(name, []).append(node)
    ready = [node for node in reversed(nodes) if not waiting[node]]
    order: list[Node] = []
    while ready:
        node = ready.pop()
        order.append(node)
        for name in node.outputs:
            for reader in reversed(readers.get(name, ())):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
    if len(order) < len(nodes):
        stuck = next(node for node in nodes if waiting[node])
        raise ValueError(f"the graph must have no cycle, got one through node {stuck.label}")
    return keep_given_order(nodes, order)


def keep_given_order(nodes: Sequence[Node], order: list[Node]) -> list[Node]:
    """As in the file where that is an order: values then live as long as its author meant."""
    made: set[str] = {name for node in nodes for name in node.outputs}
    for node in nodes:
        if any(name in made for name in node.reads):
            return order
        made.difference_update(node.outputs)
    return list(nodes)


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as Python has them: text for bytes, tuples for lists."""
    return {name: plain_value(value) for name, value in attributes.items()}


def plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "__iter__") and not hasattr(value, "ListFields") and not isinstance(value, (str, np.ndarray)):
        return tuple(map(plain_value, value))
    return value
