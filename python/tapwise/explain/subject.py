"""What is explained: images that fit the model, classes that it has, and the layer whose maps are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..layers.conv import Conv
from ..layers.layer import InputLayer, Layer, shape_text
from ..layers.reshape import Permute
from ..layers.symbolic import Node, Symbolic
from ..model import Model
from ..tape import Tape, tensor_of
from .draw import Array
from .explanation import Explanation

Classes: TypeAlias = "int | Sequence[int] | Array | None"


def images_of(model: Model, images: Array) -> Array:
    """images (n, ...) or one of them as (n, ...) of the model's type. Raises ValueError if they don't fit it."""
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a tapwise.Model, which interop.onnx.load_layers makes of a file, got {type(model).__name__}"
        )
    if len(model.input_names) != 1:
        raise ValueError(f"model must have one input, got {', '.join(model.input_names)}")
    images = np.asarray(images)
    if images.dtype.kind not in "biuf":
        raise TypeError(f"images must be numbers, got {images.dtype}")
    if not model.inputs:
        model.accept([images])
    example = model.inputs[0].example
    if images.shape == example:
        images = images[None]
    if images.shape[1:] != example or not len(images):
        raise ValueError(f"images must be of shape {shape_text(example)} or one of {example}, got {images.shape}")
    return np.ascontiguousarray(images, model.dtype)


def need_scores(model: Model) -> int:
    """The number of classes."""
    shapes = model.result_shapes
    if len(shapes) != 1 or len(shapes[0]) != 1:
        text = ", ".join(map(shape_text, shapes))
        raise ValueError(f"model must give one score a class, (n, classes), got {text}")
    return shapes[0][0]


def chosen(scores: Array, classes: Classes, top: int) -> Array:
    """Class numbers (n, k): the top ones of each image, the same for all, or the rows of a table."""
    items, count = scores.shape
    if classes is None:
        if not 1 <= top <= count:
            raise ValueError(f"top must be of 1 to {count}, the number of classes, got {top}")
        return np.argsort(-scores, axis=1, kind="stable")[:, :top]
    wanted = np.asarray(classes)
    if wanted.dtype.kind not in "iu" or wanted.ndim > 2 or not wanted.size:
        raise ValueError(f"classes must be whole numbers, one or several, or a row for each image, got {classes!r}")
    if wanted.ndim == 2 and len(wanted) != items:
        raise ValueError(f"classes must have a row for each of {items} images, got {len(wanted)}")
    outside = wanted[(wanted < 0) | (wanted >= count)]
    if outside.size:
        raise ValueError(f"classes must be of 0 to {count - 1}, got {outside.flat[0]}")
    return wanted if wanted.ndim == 2 else np.broadcast_to(wanted.reshape(1, -1), (items, wanted.size))


def one_hot(classes: Array, count: int) -> Array:
    """(n,) -> (n, count) float32."""
    found = np.zeros((len(classes), count), np.float32)
    found[np.arange(len(classes)), classes] = 1
    return found


def channel_axes(model: Model) -> dict[Symbolic, int | None]:
    """The axis of channels in one example of each tensor; None where there is none.

    It is that of the convolution before it in the model, or of the first one; a Permute in between moves it. Without
    any convolution it is the last axis of (h, w, c) and none of (h, w) or (n,).
    """
    convs = [number for number, node in enumerate(model.nodes) if isinstance(node.layer, Conv)]
    first = convs[0] if convs else len(model.nodes)
    layer = model.nodes[first].layer if convs else None
    axes: dict[Symbolic, int | None] = {tensor: axis_behind(tensor, layer) for tensor in model.inputs}
    for number, node in enumerate(model.nodes):
        layer = node.layer if isinstance(node.layer, Conv) else layer
        axis = axes[node.inputs[0]]
        if isinstance(node.layer, Permute) and number > first and axis is not None:
            axes[node.output] = node.layer.dims.index(axis + 1)
        else:
            axes[node.output] = axis_behind(node.output, layer)
    for node in reversed(model.nodes[:first]) if convs else ():
        axis = axes[node.output]
        if isinstance(node.layer, Permute) and axis is not None:
            axes[node.inputs[0]] = node.layer.dims[axis] - 1
        elif len(node.inputs[0].example) == len(node.output.example):
            axes[node.inputs[0]] = axis
    return axes


def axis_behind(tensor: Symbolic, layer: Layer | None) -> int | None:
    rank = len(tensor.example)
    if not isinstance(layer, Conv):
        return rank - 1 if rank > 2 else None
    if rank < 2 or rank == layer.rank:
        return None
    return rank - 1 if layer.channels_last else 0


def channel_axis(model: Model, tensor: Symbolic) -> int | None:
    return channel_axes(model)[tensor]


def spatial(example: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    return example if axis is None else (*example[:axis], *example[axis + 1 :])


def last_maps(model: Model) -> Symbolic:
    """The maps behind the last convolution that has any larger than one value.

    With what follows and keeps their size: normalization, activation, the sum with what went around, the
    concatenation with other branches.
    """
    sizes = {tensor: spatial(tensor.example, axis) for tensor, axis in channel_axes(model).items()}
    found = [n for n in model.nodes if isinstance(n.layer, Conv) and any(size > 1 for size in sizes[n.output])]
    if not found:
        names = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in named(model))
        raise ValueError(f"model must have a convolutional layer with maps larger than one value, got {names}")
    tensor = found[-1].output
    while True:
        readers: list[Node] = [node for node in model.nodes if tensor in node.inputs]
        if len(readers) != 1 or len(readers[0].output.example) != len(tensor.example):
            return tensor
        ends = isinstance(readers[0].layer, Permute) or readers[0].output in model.outputs
        if ends or sizes[readers[0].output] != sizes[tensor]:
            return tensor
        tensor = readers[0].output


def maps_of(model: Model, layer: str | None) -> Symbolic:
    """The output of the layer of that name, or last_maps. Raises ValueError where that isn't maps."""
    if layer is None:
        return last_maps(model)
    tensor = tensor_of(model, layer)
    if len(tensor.example) < 2:
        raise ValueError(f"layer must give maps, (n, ..., c), got {layer} with {shape_text(tensor.example)}")
    return tensor


def named(model: Model) -> list[Layer]:
    return [layer for layer in model.layers if not isinstance(layer, InputLayer)]


class Answer:
    """Makes the explanations of a batch: what they share is known from its tape."""

    def __init__(self, model: Model, images: Array, tape: Tape, method: str, layer: str | None, signed: bool) -> None:
        self.images, self.tape, self.method, self.layer, self.signed = images, tape, method, layer, signed
        self.axis = channel_axis(model, model.inputs[0])
        self.size = spatial(images.shape[1:], self.axis)
        self.probabilities = tape.probabilities

    def make(self, number: int, class_index: int, raw: Array, full: Array) -> Explanation:
        """Of image `number`: raw (*spatial of the layer), full (*spatial)."""
        c, p = int(class_index), self.probabilities
        return Explanation(
            np.ascontiguousarray(full, np.float32), c, float(self.tape.scores[number, c]), self.method, self.layer,
            self.images[number], self.axis, np.ascontiguousarray(raw, np.float32), self.signed,
            None if p is None else float(p[number, c]),
        )  # fmt: skip
