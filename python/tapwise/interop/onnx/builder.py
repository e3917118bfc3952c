"""A graph of layers as it grows, node by node: tensors by ONNX' names, each with the order of axes that it has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ... import layers
from ...layers.symbolic import Symbolic
from .graph import Node
from .values import Array, Shape, first_axes, last_axes


class NotALayer(Exception):
    """No layer of ours stands for this node; the text says why."""


class Seen(NamedTuple):
    """A value of a run: its shape with the batch, and itself where no input's values went into it."""

    shape: Shape
    array: Array | None


class Tensor(NamedTuple):
    """What a layer gives; with last it has ONNX' axis 1 as its last."""

    symbolic: Symbolic
    last: bool = False


class Builder:
    """Operators ask it for their inputs and give it their layers. `seen` is a run on `batch` examples."""

    def __init__(self, seen: dict[str, Seen], batch: int, dtype: DTypeLike) -> None:
        self.seen, self.batch, self.dtype = seen, batch, dtype
        self.tensors: dict[str, Tensor] = {}
        self.refused: set[str] = set()  # values for which there is no layer
        self.turned: dict[tuple[Symbolic, bool], Symbolic] = {}
        self.node: Node

    def need(self, condition: Any, reason: str) -> None:
        if not condition:
            raise NotALayer(reason)

    def given(self, number: int) -> str | None:
        """The name of the node's input of that number; None where it is left out."""
        inputs = self.node.inputs
        return inputs[number] if number < len(inputs) and inputs[number] else None

    def is_constant(self, number: int) -> bool:
        name = self.given(number)
        return name is not None and self.seen[name].array is not None

    def constant(self, number: int) -> Array:
        """An input that depends on no values of the model's inputs."""
        found = None if (name := self.given(number)) is None else self.seen[name].array
        if found is None:
            raise NotALayer(f"whose input {number}, {name!r}, isn't constant")
        return found

    def optional(self, number: int) -> Array | None:
        return None if self.given(number) is None else self.constant(number)

    def shape(self, number: int = 0) -> Shape:
        """In ONNX' order of axes, with the batch."""
        name = self.given(number)
        assert name is not None
        return self.seen[name].shape

    @property
    def y_shape(self) -> Shape:
        return self.seen[self.node.outputs[0]].shape

    def tensor(self, number: int = 0) -> Tensor:
        name = self.given(number)
        if name is None or name not in self.tensors:
            raise NotALayer(f"of a constant, {name!r}")
        return self.tensors[name]

    def first(self, number: int = 0) -> Symbolic:
        """The input in ONNX' order of axes."""
        return self.plain(self.tensor(number))

    def plain(self, tensor: Tensor) -> Symbolic:
        return self.turn(tensor, first_axes(len(tensor.symbolic.shape))) if tensor.last else tensor.symbolic

    def last(self, number: int = 0) -> Symbolic:
        """The input with axis 1 last."""
        tensor = self.tensor(number)
        rank = len(tensor.symbolic.shape)
        return tensor.symbolic if tensor.last or rank < 3 else self.turn(tensor, last_axes(rank))

    def turn(self, tensor: Tensor, axes: Shape) -> Symbolic:
        """Maps by a Permute, which tells where their channels are; single values as a view."""
        key = tensor.symbolic, not tensor.last
        if key not in self.turned:
            x, how = tensor.symbolic, self.how(f"{tensor.symbolic.name}_{'first' if tensor.last else 'last'}")
            single = prod(x.example[:-1] if tensor.last else x.example[1:]) == 1
            self.turned[key] = self.permuted(x, axes, how) if single else layers.Permute(axes[1:], **how)(x)
        return self.turned[key]

    def permuted(self, x: Symbolic, axes: Shape, how: dict[str, Any]) -> Symbolic:
        """x in another order of axes, the batch first; where no value moves it is a view."""
        long = [axis for axis in axes[1:] if x.shape[axis] != 1]
        if long == sorted(long):
            return layers.Reshape([x.example[axis - 1] for axis in axes[1:]], **how)(x)  # type: ignore[no-any-return]
        return layers.Permute(axes[1:], **how)(x)  # type: ignore[no-any-return]

    def reshaped(self, x: Symbolic, shape: Shape, how: dict[str, Any]) -> Symbolic:
        """x (n, ...) as (n, *shape)."""
        if x.example == shape:
            return x
        if prod(x.example) != prod(shape):
            raise NotALayer(f"that moves values between examples, {x.shape} to (n, {', '.join(map(str, shape))})")
        made = layers.Flatten(**how) if len(shape) == 1 else layers.Reshape(shape, **how)
        return made(x)  # type: ignore[no-any-return]

    def how(self, name: str | None = None) -> dict[str, Any]:
        """Arguments of every layer; the last layer of a node has the name of what the node makes."""
        return {"name": self.node.outputs[0] if name is None else name, "dtype": self.dtype}

    def part(self, suffix: Any) -> dict[str, Any]:
        """how of a layer before the node's last."""
        return self.how(f"{self.node.outputs[0]}_{suffix}")

    def call(self, layer: Any, x: Any, weights: Sequence[Array | None] = ()) -> Symbolic:
        """What the layer gives for x, its weights set to those that aren't None."""
        y: Symbolic = layer(x)
        given = [np.asarray(array) for array in weights if array is not None]
        if given:
            layer.set_weights(given)
        return y
