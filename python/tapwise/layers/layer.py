"""What every layer is: parameters, forward and backward."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import initializers

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


class Parameter:
    """An array of a layer and, after backward, the loss's gradient; one that isn't trainable has none."""

    def __init__(self, value: Array, name: str, trainable: bool = True) -> None:
        self.value, self.name, self.trainable = value, name, trainable
        self.gradient: Array | None = None

    @property
    def shape(self) -> Shape:
        return self.value.shape

    def __repr__(self) -> str:
        return f"<Parameter {self.name} {self.shape} {self.value.dtype}>"


class Input:
    """The shape of one example, without the batch axis: first in a Sequential, whose weights are then made at once."""

    def __init__(self, shape: Sequence[int], *, name: str | None = None) -> None:
        self.shape = tuple(shape)
        self.name = name
        if not all(isinstance(size, (int, np.integer)) and size >= 1 for size in self.shape):
            raise ValueError(f"shape must hold whole numbers >= 1, got {self.shape}")


class Layer:
    """x (n, ...) -> y (n, ...). A subclass keeps its arguments; build makes weights, forward and backward compute.

    build(x.shape) runs once, before the first forward; the size of the batch axis in it means nothing.
    backward(dy) belongs to the last forward: it sets the gradients of the weights and returns dx, or None where
    input_gradient is False, which a model sets on the first layer that it trains. What backward needs is kept in
    `saved`; a model that only predicts drops it.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: DTypeLike = "float32",
        trainable: bool = True,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        self.has_own_name = name is not None
        self.name = name or snake_case(type(self).__name__)
        self.dtype = np.dtype(dtype)
        self.trainable = trainable
        self.input_shape = None if input_shape is None else Input(input_shape).shape
        self.weights: list[Parameter] = []
        self.built = False
        self.input_gradient = True
        self.saved: Any = None

    def __call__(self, x: Array, training: bool = False) -> Array:
        """forward, after build at the first call. Raises ValueError with the layer's name if x doesn't fit it."""
        try:
            if not self.built:
                self.build(x.shape)
                self.built = True
            return self.forward(x, training)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}; its input is {shape_text(x.shape[1:])}") from error

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of this shape."""

    def forward(self, x: Array, training: bool = False) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def logits(self) -> Array | None:
        """What the softmax at the layer's end read in the last forward; None if it doesn't end in one."""
        return None

    def backward_logits(self, dlogits: Array) -> Array | None:
        """backward from the logits on, for a loss that takes them."""
        raise NotImplementedError(f"{type(self).__name__} has no logits")

    def add_weight(
        self,
        shape: Sequence[int],
        initializer: str | initializers.Initializer = "glorot_uniform",
        *,
        trainable: bool = True,
        name: str = "weight",
    ) -> Parameter:
        """A new parameter, last in `weights`."""
        self.weights.append(Parameter(initializers.get(initializer)(shape, self.dtype), name, trainable))
        return self.weights[-1]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if w.trainable and self.trainable]

    def count_params(self) -> int:
        return sum(math.prod(w.shape) for w in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies, in Keras' order."""
        return [w.value.copy() for w in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Take arrays in the order and shapes of get_weights; on ValueError nothing has changed."""
        assign(self.name, self.weights, weights)


def assign(owner: str, parameters: list[Parameter], arrays: Sequence[ArrayLike]) -> None:
    """All arrays into all parameters, or none and ValueError if their number or a shape differs."""
    if len(parameters) != len(arrays):
        raise ValueError(f"{owner} must get {len(parameters)} arrays, got {len(arrays)}")
    values = [np.asarray(a) for a in arrays]
    for number, (parameter, value) in enumerate(zip(parameters, values, strict=True)):
        if parameter.shape != value.shape:
            raise ValueError(
                f"{owner}: array {number} is {parameter.name} and must have shape {parameter.shape}, got {value.shape}"
            )
    for parameter, value in zip(parameters, values, strict=True):
        parameter.value[...] = value


def need_rank(input_shape: Shape, rank: int) -> None:
    if len(input_shape) != rank + 2:
        raise ValueError(f"x must have {rank + 2} dimensions: the batch axis, {rank} of space and the channels")


def snake_case(name: str) -> str:
    """Keras' name of a layer from its class: MaxPooling2D -> max_pooling2d, ReLU -> re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def shape_text(shape: Shape) -> str:
    """The shape of one example with its batch axis: (28, 28, 1) -> "(n, 28, 28, 1)"."""
    return f"({', '.join(['n', *map(str, shape)])}{'' if shape else ','})"
