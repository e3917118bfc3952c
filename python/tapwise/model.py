"""Sequential: layers in a row that train as one, by Keras' names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .layers.layer import Array, Input, Layer, Parameter, Shape, assign, shape_text, snake_case
from .summary import summary
from .trainer import Trainer, numbers


class Sequential(Trainer):
    """x -> layers[0] -> layers[1] -> ... -> y.

    Weights are made as layers are added behind an Input (or a layer with input_shape), else at the first call. A name
    that is taken gets a number, as in Keras, but counted within the model: conv2d, conv2d_1.
    """

    def __init__(self, layers: Iterable[Layer | Input] = (), *, name: str = "sequential") -> None:
        self.name = name
        self.layers: list[Layer] = []
        self.shapes: list[Shape] = []  # of x and behind each layer, with a batch axis of 0; empty before the build
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer | Input) -> None:
        """Append a layer. Raises ValueError if it doesn't fit behind the one before or its name is taken."""
        if isinstance(layer, Input):
            if self.layers or self.shapes:
                raise ValueError(f"Input must come first, got it behind {len(self.layers)} layers")
            self.shapes = [(0, *layer.shape)]
            return
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must be Layer objects, got {layer!r}")
        if self.layers and layer.dtype != self.dtype:
            raise ValueError(f"{layer.name}: dtype must be that of the model, {self.dtype}, got {layer.dtype}")
        self._name(layer)
        if not self.layers and not self.shapes and layer.input_shape is not None:
            self.shapes = [(0, *layer.input_shape)]
        if self.shapes:
            self.shapes.append(shape_behind(layer, self.shapes[-1]))
        self.layers.append(layer)

    def build(self, input_shape: Sequence[Any]) -> None:
        """Make the weights for x of input_shape, whose first element, the batch axis, means nothing."""
        if self.shapes:
            raise ValueError(f"{self.name} is built already, for x {shape_text(self.shapes[0][1:])}")
        shapes: list[Shape] = [(0, *Input(input_shape[1:]).shape)]
        unbuilt = [layer for layer in self.layers if not layer.built]
        try:
            for layer in self.layers:
                shapes.append(shape_behind(layer, shapes[-1]))
        except ValueError:
            for layer in unbuilt:
                layer.weights.clear()
                layer.built = False
            raise
        self.shapes = shapes

    def accept(self, x: Array) -> None:
        if not self.layers:
            raise ValueError(f"{self.name} must have at least one layer")
        if not self.shapes:
            self.build(x.shape)
        wanted = self.shapes[0][1:]
        if x.shape[1:] != wanted:
            hint = "; x[..., None] has the axis of channels" if (*x.shape[1:], 1) == wanted else ""
            raise ValueError(f"{self.name} must get x of shape {shape_text(wanted)}, got {x.shape}{hint}")

    def __call__(self, x: ArrayLike, training: bool = False) -> Array:
        """x (n, ...) -> y (n, ...) in one piece."""
        x = numbers(x, "x")
        self.accept(x)
        return self.forward(np.ascontiguousarray(x, self.dtype), training)

    def forward(self, x: Array, training: bool = False) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
            if not training and layer is not self.layers[-1]:
                layer.saved = None
        return x

    def backward(self, dy: Array, at_logits: bool = False) -> None:
        first = next((i for i, layer in enumerate(self.layers) if layer.trainable_weights), len(self.layers))
        gradient: Array | None = dy
        for layer in reversed(self.layers[first:]):
            if gradient is None:
                raise ValueError(f"{layer.name} got no gradient from the layer behind it")
            layer.input_gradient = layer is not self.layers[first]
            backward = layer.backward_logits if at_logits and layer is self.layers[-1] else layer.backward
            gradient = backward(gradient)

    def logits(self) -> Array | None:
        return self.layers[-1].logits()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.layers[0].dtype

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, *self._built()[0][1:])

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        return (None, *self.result_shape)

    @property
    def result_shape(self) -> Shape:
        return self._built()[-1][1:]

    @property
    def weights(self) -> list[Parameter]:
        return [w for layer in self.layers for w in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for layer in self.layers for w in layer.trainable_weights]

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer, in Keras' order and shapes."""
        return [w.value.copy() for w in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Take arrays in the order and shapes of get_weights; on ValueError nothing has changed."""
        self._built()
        assign(self.name, self.weights, weights)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name or index."""
        if (name is None) == (index is None):
            raise ValueError(f"either name or index must be given, got name={name!r}, index={index}")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index must be that of one of {len(self.layers)} layers, got {index}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"name must be one of {', '.join(layer.name for layer in self.layers)}, got {name!r}")

    def count_params(self) -> int:
        self._built()
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, *, print_fn: Callable[[str], object] = print) -> None:
        """Print the layers as Keras' table, each with its share of the parameters, and point at the largest."""
        print_fn(summary(self))

    def _built(self) -> list[Shape]:
        if not self.shapes:
            raise ValueError(f"{self.name} has no shapes yet: give Input first, or call the model once")
        return self.shapes

    def _name(self, layer: Layer) -> None:
        taken = {other.name for other in self.layers}
        if layer in self.layers or (layer.has_own_name and layer.name in taken):
            raise ValueError(f"each layer must have its own name, got {layer.name!r} twice")
        if layer.name in taken:
            base = snake_case(type(layer).__name__)
            layer.name = next(name for i in count(1) if (name := f"{base}_{i}") not in taken)


def shape_behind(layer: Layer, shape: Shape) -> Shape:
    """The output shape for an input shape, from an empty batch that goes through the layer."""
    return layer(np.empty((0, *shape[1:]), layer.dtype)).shape
