"""What a layer is called on to make a graph: shapes without values, and who gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .layer import Layer

Shape = tuple[int, ...]


class Symbolic:
    """What node gives: values of shape (None, ...) and a dtype, None where the layers that read it decide."""

    def __init__(self, example: Shape, dtype: np.dtype[Any] | None, node: Node) -> None:
        self.example, self.dtype, self.node = example, dtype, node

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None, *self.example)

    @property
    def name(self) -> str:
        return self.node.layer.name

    def __repr__(self) -> str:
        return f"<Symbolic {self.name} {self.shape}>"


class Node:
    """One call of a layer, on one tensor or, where many, on a list of them."""

    def __init__(
        self, layer: Layer, inputs: tuple[Symbolic, ...], many: bool, example: Shape, dtype: np.dtype[Any] | None
    ) -> None:
        self.layer, self.inputs, self.many = layer, inputs, many
        self.output = Symbolic(example, dtype, self)


def tensors(x: Any) -> tuple[Symbolic, ...]:
    """The symbolic tensors of x, one or a list; () if there is none. Raises TypeError on a list of both kinds."""
    given = tuple(x) if isinstance(x, (list, tuple)) else (x,)
    found = tuple(each for each in given if isinstance(each, Symbolic))
    if found and len(found) != len(given):
        raise TypeError(f"layers take arrays or what Input and layers gave, not both, got {given!r}")
    return found


def example_shape(shape: Sequence[int]) -> Shape:
    """The shape of one example. Raises ValueError on sizes that aren't whole numbers >= 1."""
    shape = tuple(shape)
    if not all(isinstance(size, (int, np.integer)) and size >= 1 for size in shape):
        raise ValueError(f"shape must hold whole numbers >= 1, got {shape}")
    return shape
