"""Scores of a prediction with their gradients: with respect to the inputs, or to what layers inside the model give.

The model is cut at those tensors. What makes them is one planned prediction, with all that is fused in it; what reads
them runs layer by layer, in inference: moving statistics, no dropout. So the gradients end at the cut, and those of
weights are never made. A softmax or sigmoid at the model's end is looked through: scores are what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops
from .arrays import listed
from .layers.activation import Activation, Softmax
from .layers.affine import Affine
from .layers.layer import Array, InputLayer, Layer, float32s
from .layers.symbolic import Node, Symbolic

if TYPE_CHECKING:
    from .model import Model

ENDS = ("softmax", "sigmoid")
LISTED = 40  # layers that an error names
SPLITS = 4  # that a model keeps, each with the memory of its prediction


def ending(layer: Layer) -> str | None:
    """The softmax or sigmoid that a layer ends in."""
    if isinstance(layer, Softmax):
        return "softmax"
    kind = layer.activation if isinstance(layer, (Affine, Activation)) else None
    return kind if kind in ENDS else None


class Split:
    """A model cut at tensors; at None, before its last layer, where no gradients are wanted."""

    def __init__(self, model: Model, at: Sequence[Symbolic] | None, output: Symbolic) -> None:
        last = output.node.layer
        self.ending = ending(last)
        drops = self.ending is not None and not isinstance(last, Affine)
        self.score = output.node.inputs[0] if drops else output
        self.at = list(self.score.node.inputs if at is None else at)
        needed = behind(model, self.score)
        self.reached = set(self.at)  # the cut and what depends on it
        self.head: list[Node] = []
        for node in needed:
            if any(tensor in self.reached for tensor in node.inputs):
                self.head.append(node)
                self.reached.add(node.output)
        made = {node.output for node in self.head}
        read = dict.fromkeys(tensor for node in self.head for tensor in node.inputs)
        for tensor in self.at:
            if tensor not in read:
                raise ValueError(f"at must name layers before the scores, which {output.name} gives, got {tensor.name}")
        self.cut = [tensor for tensor in read if tensor not in made]
        self.inputs = model.inputs
        self.trunk, self.trunk_inputs = self._trunk(model, [t for t in self.cut if t not in model.inputs])

    def _trunk(self, model: Model, outputs: list[Symbolic]) -> tuple[Model | None, list[int]]:
        """What predicts the cut's tensors, if not all are inputs, and which of the inputs it reads."""
        from .model import Model as Plain

        if not outputs:
            return None, []
        read = {tensor for end in outputs for node in behind(model, end) for tensor in node.inputs}
        inputs = [number for number, tensor in enumerate(model.inputs) if tensor in read]
        return Plain([model.inputs[number] for number in inputs], outputs, name=model.name), inputs

    def forward(self, arrays: list[Array]) -> Tape:
        tensors = dict(zip(self.inputs, arrays, strict=True))
        if self.trunk is not None:
            given = [arrays[number] for number in self.trunk_inputs]
            with self.trunk.prepared():
                found = self.trunk.run(given)
                tensors |= {t: y.copy() for t, y in zip(self.trunk.outputs, found, strict=True)}
        saved = []
        for node in self.head:
            read = [tensors[tensor] for tensor in node.inputs]
            with scoring(node.layer, node.output is self.score):
                tensors[node.output] = node.layer.forward(read if node.many else read[0])
            saved.append(node.layer.saved)
            node.layer.saved = None
        return Tape(self, float32s([tensors[self.score]])[0], float32s([tensors[t] for t in self.at]), saved)


class Tape:
    """One forward. scores (n, classes), before the softmax; values: what each layer asked for gave."""

    def __init__(self, split: Split, scores: Array, values: list[Array], saved: list[Any]) -> None:
        self.split, self.scores, self.values, self._saved = split, scores, values, saved

    @property
    def probabilities(self) -> Array | None:
        """What the softmax or sigmoid at the end makes of the scores; None without one."""
        if self.split.ending is None:
            return None
        softmax = self.split.ending == "softmax"
        return ops.softmax(self.scores) if softmax else ops.activation(self.scores, "sigmoid")

    def gradients(self, dy: Array, *, guided: bool = False) -> list[Array]:
        """Those of sum(dy * scores), dy of the scores' shape, one for each of values; as often as wanted.

        guided: what flows back through a ReLU is positive (Springenberg et al., 2015).
        """
        split = self.split
        if np.shape(dy) != self.scores.shape:
            raise ValueError(f"dy must have the shape of the scores, {self.scores.shape}, got {np.shape(dy)}")
        pending: dict[Symbolic, Array] = {split.score: np.ascontiguousarray(dy, self.scores.dtype)}
        found: dict[Symbolic, Array] = {}
        for node, saved in zip(reversed(split.head), reversed(self._saved), strict=True):
            dz = pending.pop(node.output, None)
            if dz is None:
                continue
            found[node.output] = dz
            if dz.dtype != node.output.dtype and node.output.dtype is not None:
                dz = ops.cast(dz, node.output.dtype)
            if guided and getattr(node.layer, "activation", None) in ("relu", "relu6"):
                dz = np.maximum(dz, 0)
            with scoring(node.layer, node.output is split.score):
                node.layer.saved = saved
                parts = listed(node.layer.backward(dz))
                node.layer.saved = None
            for tensor, part in zip(node.inputs, parts, strict=True):
                if tensor in split.reached:
                    if part is None:
                        raise ValueError(f"{node.layer.name} gives no gradient of its input")
                    pending[tensor] = pending[tensor] + part if tensor in pending else part
        found |= pending
        return float32s([found[tensor] for tensor in split.at])


@contextmanager
def scoring(layer: Layer, last: bool) -> Iterator[None]:
    """The layer gives the gradient of its input and none of its weights; as the last one it ends before a softmax."""
    trainable, asked = layer.trainable, layer.input_gradient
    affine = layer if last and isinstance(layer, Affine) and layer.activation in ENDS else None
    kind = None if affine is None else affine.activation
    layer.trainable, layer.input_gradient = False, True
    if affine:
        affine.activation = None
    try:
        yield
    finally:
        layer.trainable, layer.input_gradient = trainable, asked
        if affine:
            affine.activation = kind


def behind(model: Model, output: Symbolic) -> list[Node]:
    """The nodes of a model that an output depends on, in their order."""
    wanted = {output}
    found = []
    for node in reversed(model.nodes):
        if node.output in wanted:
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


def tensor_of(model: Model, name: str | Symbolic) -> Symbolic:
    """What the model's layer of that name gives, where it was called last."""
    if isinstance(name, Symbolic):
        return name
    for node in reversed(model.nodes):
        if node.layer.name == name:
            return node.output
    for tensor in model.inputs:
        if tensor.name == name:
            return tensor
    names = [layer.name for layer in model.layers if not isinstance(layer, InputLayer)]
    if len(names) > LISTED:
        like = get_close_matches(name, names, 5, 0)
        raise ValueError(f"layer must be one of the model's {len(names)}, as {', '.join(like)}, got {name!r}")
    raise ValueError(f"layer must be one of {', '.join(names)}, got {name!r}")


def split_of(model: Model, at: Sequence[str | Symbolic] | None, output: int) -> Split:
    """The model cut there; the last few are kept with their plans."""
    if not 0 <= output < len(model.outputs):
        raise ValueError(f"output must be that of one of {len(model.outputs)} outputs, got {output}")
    tensors = None if at is None else [tensor_of(model, each) for each in at] or model.inputs
    key = model.outputs[output], *(tensors or ())
    splits = model._splits
    if key in splits:
        splits[key] = splits.pop(key)
    else:
        if len(splits) >= SPLITS:
            del splits[next(iter(splits))]
        splits[key] = Split(model, tensors, model.outputs[output])
    return splits[key]
