"""What a model computes: calls of layers in an order in which each finds its inputs, joined where one pass does two.

Joined are: an activation to the convolution, Dense or normalization before it; the sum of two tensors to what made the
later one; zeros around maps to the convolution behind them, or to the max pooling of what a ReLU gave; in training a
ReLU's mask to the max pooling behind it, which has fewer values to mask; for prediction a batch normalization to the
weights of the convolution or Dense before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .geometry import per_axis
from .layers import conv, dense, dropout, noise, pad, pool, scale, separable
from .layers.activation import Activation, ReLU
from .layers.affine import Affine
from .layers.layer import Cast, InputLayer, Layer, Shape, shape_text
from .layers.merge import Add
from .layers.norm import BatchNormalization
from .layers.place import EAGER, Place
from .layers.pool import MaxPooling
from .layers.symbolic import Node, Symbolic

PADS: frozenset[type[Layer]] = frozenset({pad.ZeroPadding1D, pad.ZeroPadding2D, pad.ZeroPadding3D})
AFFINE: frozenset[type[Layer]] = frozenset(  # a subclass may do more than its geometry and weights say
    {
        conv.Conv1D, conv.Conv2D, conv.Conv3D, conv.DepthwiseConv1D, conv.DepthwiseConv2D, separable.SeparableConv1D,
        separable.SeparableConv2D, dense.Dense,
    }
)  # fmt: skip
PADDED = AFFINE - {dense.Dense} | {pool.MaxPooling1D, pool.MaxPooling2D, pool.MaxPooling3D}
IDLE: frozenset[type[Layer]] = frozenset(  # where a model predicts
    {
        dropout.Dropout, noise.SpatialDropout1D, noise.SpatialDropout2D, noise.SpatialDropout3D, noise.GaussianNoise,
        noise.GaussianDropout, noise.AlphaDropout,
    }
)  # fmt: skip


def ordered(inputs: Sequence[Symbolic], outputs: Sequence[Symbolic]) -> list[Node]:
    """The nodes from inputs to outputs, each behind those that it reads.

    Raises ValueError naming an input that the outputs don't depend on, or one that is missing.
    """
    done: dict[Node, None] = {}
    ends = {tensor.node for tensor in inputs}
    met: set[Node] = set()
    waiting = [(tensor.node, False) for tensor in reversed(outputs)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            done[node] = None
        elif node in ends:
            met.add(node)
        elif isinstance(node.layer, InputLayer):
            given = ", ".join(tensor.name for tensor in inputs)
            raise ValueError(
                f"outputs must depend on the inputs alone, {given}, got {outputs[0].name}, which reads "
                f"{node.layer.name} too"
            )
        elif node not in done:
            waiting.append((node, True))
            waiting.extend((tensor.node, False) for tensor in reversed(node.inputs))
    for tensor in inputs:
        if tensor.node not in met:
            raise ValueError(
                f"inputs must lead to the outputs, got {tensor.name} of shape {shape_text(tensor.example)}, "
                f"which {' and '.join(t.name for t in outputs)} doesn't read"
            )
    return list(done)


def in_keras_order(nodes: Sequence[Node], inputs: Sequence[Symbolic], outputs: Sequence[Symbolic]) -> dict[Layer, int]:
    """The layers with their places in Keras' order, that of weights in its files.

    First come those with the longest way to an output, and of equals those that a walk from the outputs meets first.
    """
    inside = {*nodes, *(tensor.node for tensor in inputs)}
    met: dict[Node, int] = {}
    waiting = [tensor.node for tensor in reversed(outputs)]
    while waiting:
        node = waiting.pop()
        if node in inside and node not in met:
            met[node] = len(met)
            waiting.extend(tensor.node for tensor in reversed(node.inputs))
    first: dict[Layer, int] = {}
    for node, number in met.items():
        first.setdefault(node.layer, number)
    way: dict[Node, int] = {}
    longest: dict[Layer, int] = {}
    for node in [*reversed(nodes), *(tensor.node for tensor in inputs)]:
        longest[node.layer] = way[node] = max(way.get(node, 0), longest.get(node.layer, 0))
        behind = way[node] + (not isinstance(node.layer, Cast))
        for tensor in node.inputs:
            way[tensor.node] = max(way.get(tensor.node, 0), behind)
    row = sorted(longest, key=lambda layer: (-longest[layer], first[layer]))
    return {layer: place for place, layer in enumerate(row)}


class Call:
    """A layer's call with what is joined to it; `output` is that of the last node joined."""

    def __init__(self, node: Node) -> None:
        self.layer, self.inputs, self.many, self.output = node.layer, node.inputs, node.many, node.output
        self.layers: list[Layer] = [node.layer]  # itself and what is joined
        self.residual: Symbolic | None = None
        self.folds: list[BatchNormalization | scale.Rescaling] = []  # into the weights, for prediction
        self.place = Place()
        self.taken = False  # by the call behind it
        self.saved: Any = None
        self.y: Any = None  # for its layer's activity_regularizer

    def take(self, before: Call) -> None:
        """Do what a call that only pads does."""
        assert isinstance(before.layer, pad.ZeroPadding)
        self.layers.insert(0, before.layer)
        self.inputs, self.place.padding, before.taken = before.inputs, before.layer.border, True

    def join(self, node: Node) -> None:
        self.layers.append(node.layer)
        self.output = node.output

    @property
    def activation(self) -> str | None:
        """What the call ends in."""
        return self.place.activation or getattr(self.layer, "activation", None)

    @property
    def is_linear(self) -> bool:
        return not (self.activation or self.residual)

    @property
    def reads(self) -> tuple[Symbolic, ...]:
        return self.inputs if self.residual is None else (*self.inputs, self.residual)

    def fold(self) -> None:
        """Put what is joined into the weights: gain * conv(x, w) + shift = conv(x, gain * w) + shift."""
        layer = self.layer
        assert isinstance(layer, Affine)
        kernel = layer.kernel.value
        gain = np.ones_like(kernel, shape=1)
        shift = np.zeros_like(kernel, shape=1) if layer.bias is None else layer.bias.value
        for each in self.folds:
            if isinstance(each, scale.Rescaling):
                factor, offset = layer.dtype.type(each.scale), layer.dtype.type(each.offset)
            else:
                variance = each.moving_variance.value
                factor = 1 / np.sqrt(variance + variance.dtype.type(each.epsilon))
                factor = factor if each.gamma is None else factor * each.gamma.value
                shift = shift - each.moving_mean.value
                offset = variance.dtype.type(0) if each.beta is None else each.beta.value
            gain, shift = gain * factor, shift * factor + offset
        filters = layer.filters if isinstance(layer, conv.Conv) else layer.kernel.shape[-1]
        self.place.weights = layer.scaled(np.broadcast_to(gain, filters)), np.broadcast_to(shift, filters).copy()

    def pack(self, x_shape: Shape) -> None:
        """Lay the weights out as the kernel for this shape reads them."""
        layer, place = self.layer, self.place
        if type(layer) in AFFINE and layer.compute_dtype == np.float32:
            assert isinstance(layer, Affine)
            bias = None if layer.bias is None else layer.bias.value
            w, b = place.weights or (layer.as_weights(layer.kernel.value), bias)
            layer.place = place
            place.weights = layer.packed(w, x_shape), b
            layer.place = EAGER


def calls(nodes: list[Node], outputs: Sequence[Symbolic], training: bool) -> list[Call]:
    """The nodes' calls, in order, after joining."""
    readers: dict[Symbolic, int] = dict.fromkeys(outputs, 1)
    for node in nodes:
        for tensor in node.inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    made: list[Call] = []
    by: dict[Symbolic, Call] = {}  # who makes a tensor that nobody else reads
    order: dict[Symbolic, int] = {}
    ends: dict[Symbolic, str | None] = {}  # the activation that a tensor comes from
    for node in nodes:
        makers = [by[tensor] for tensor in node.inputs if tensor in by]
        call = next((maker for maker in makers if joined(maker, node, order, training)), None)
        if call is None:
            call = Call(node)
            made.append(call)
            if makers and pads(call, makers[0], ends):
                call.take(makers[0])
                makers = [by[tensor] for tensor in call.inputs if tensor in by]
            if training and makers and masks(call, makers[0]):
                makers[0].place.masked, call.place.activation = True, "relu"
                call.place.before = makers[0].place
        order[node.output] = made.index(call)
        ends[node.output] = call.activation
        if readers.get(node.output) == 1 and node.output not in outputs and not node.layer.activity_regularizer:
            by[node.output] = call
    return [call for call in made if not call.taken]


def joined(call: Call, node: Node, order: dict[Symbolic, int], training: bool) -> bool:
    """Whether the node, a reader of what call makes and the only one, is now part of the call."""
    layer = node.layer
    if layer.activity_regularizer:  # it costs what the layer alone gives
        return False
    if kind := elementwise(layer):
        if call.place.activation or not call.layer.ends_in(kind):
            return False
        call.place.activation = kind
    elif isinstance(layer, Add):
        others = [tensor for tensor in node.inputs if tensor is not call.output]
        if len(node.inputs) != 2 or len(others) != 1 or not (call.is_linear and call.layer.adds_residual):
            return False
        if order.get(others[0], -1) >= order[call.output]:
            return False
        call.residual, call.place.adds = others[0], True
    elif type(layer) in IDLE and not training:
        pass
    elif isinstance(layer, (BatchNormalization, scale.Rescaling)):
        rank = len(call.output.example) + 1
        filters = rank - 1 if getattr(call.layer, "channels_last", True) else 1
        if training or not (call.is_linear and isinstance(call.layer, Affine)):
            return False
        if isinstance(layer, BatchNormalization) and layer.axis % rank != filters:
            return False
        call.folds.append(layer)
    else:
        return False
    call.join(node)
    return True


def elementwise(layer: Layer) -> str | None:
    return layer.activation if isinstance(layer, (Activation, ReLU)) else None


def masks(call: Call, maker: Call) -> bool:
    """Whether call is a max pooling that can apply the gradient of the ReLU which maker ends in."""
    ends = maker.activation == "relu" and isinstance(maker.layer, (Affine, BatchNormalization))
    return isinstance(call.layer, MaxPooling) and ends


def pads(call: Call, before: Call, ends: dict[Symbolic, str | None]) -> bool:
    """Whether call can have the zeros that the call before it puts around maps.

    What a ReLU gave isn't below them, so that a max pooling may leave them out.
    """
    layer, zeros = call.layer, before.layer
    if type(layer) not in PADDED or type(zeros) not in PADS or len(before.layers) > 1:
        return False
    assert isinstance(layer, (conv.Conv, MaxPooling))
    assert isinstance(zeros, pad.ZeroPadding)
    if layer.geometry["padding"] not in ("valid", 0) or layer.geometry["data_format"] != zeros.data_format:
        return False
    if isinstance(layer, conv.Conv):
        return True
    size = per_axis(layer.geometry["size"], "pool_size", layer.rank)
    inside = all(max(pair) < taps for pair, taps in zip(zeros.border, size, strict=True))
    return inside and ends.get(before.inputs[0]) in ("relu", "relu6", "sigmoid")
