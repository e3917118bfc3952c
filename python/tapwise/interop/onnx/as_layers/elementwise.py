"""Activations and arithmetic, in the order of axes that they find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import layers
from ....layers.symbolic import Symbolic
from ..builder import Builder, Tensor
from ..graph import Node
from ..own_layers import Arithmetic, Clip, Function, Shrink
from ..values import Array

ACTIVATIONS = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish",
    "HardSwish": "hard_silu", "Exp": "exponential",
}  # fmt: skip
FUNCTIONS = {
    "Abs": "abs", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Sin": "sin", "Cos": "cos",
    "Erf": "erf",
}  # fmt: skip
ARITHMETIC = {
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Pow": "power", "Sum": "add",
    "Max": "maximum", "Min": "minimum", "Mean": "add",
}  # fmt: skip
MERGED: dict[str, Any] = {
    "Add": layers.Add, "Sum": layers.Add, "Sub": layers.Subtract, "Mul": layers.Multiply, "Max": layers.Maximum,
    "Min": layers.Minimum, "Mean": layers.Average,
}  # fmt: skip


def on(b: Builder, layer: Any) -> Tensor:
    """The layer of the node's first input, in the order that this has."""
    x, last = b.tensor()
    return Tensor(b.call(layer, x), last)


def activation(b: Builder, node: Node) -> Tensor:
    return on(b, layers.Activation(ACTIVATIONS[node.operator], **b.how()))


def function(b: Builder, node: Node) -> Tensor:
    return on(b, Function(FUNCTIONS[node.operator], **b.how()))


def relu(b: Builder, node: Node) -> Tensor:
    return on(b, layers.ReLU(**b.how()))


def leaky_relu(b: Builder, node: Node) -> Tensor:
    return on(b, layers.LeakyReLU(node.get("alpha", 0.01), **b.how()))


def elu(b: Builder, node: Node) -> Tensor:
    return on(b, layers.ELU(node.get("alpha", 1.0), **b.how()))


def gelu(b: Builder, node: Node) -> Tensor:
    exact = node.get("approximate", "none") == "none"
    return on(b, layers.Activation("gelu", **b.how()) if exact else Function("gelu_tanh", **b.how()))


def swish(b: Builder, node: Node) -> Tensor:
    b.need(node.get("alpha", 1.0) == 1, f"with alpha {node.get('alpha')}")
    return on(b, layers.Activation("silu", **b.how()))


def selu(b: Builder, node: Node) -> Tensor:
    near = np.isclose([node.get("alpha", 1.67326), node.get("gamma", 1.0507)], [1.67326, 1.0507], rtol=1e-5)
    b.need(near.all(), "with an alpha or gamma of its own")
    return on(b, layers.Activation("selu", **b.how()))


def celu(b: Builder, node: Node) -> Tensor:
    b.need(node.get("alpha", 1.0) == 1, f"with alpha {node.get('alpha')}")
    return on(b, layers.Activation("celu", **b.how()))


def hard_sigmoid(b: Builder, node: Node) -> Tensor:
    alpha, beta = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    if abs(alpha * 6 - 1) < 1e-6 and beta == 0.5:
        return on(b, layers.Activation("hard_sigmoid", **b.how()))
    x, last = b.tensor()
    x = b.call(layers.Rescaling(alpha, beta, **b.part("scaled")), x)
    return Tensor(b.call(Clip(0.0, 1.0, **b.how()), x), last)


def negated(b: Builder, node: Node) -> Tensor:
    return on(b, Arithmetic("multiply", number=-1.0, **b.how()))


def clip(b: Builder, node: Node) -> Tensor:
    bounds = [node.get(name) if (a := b.optional(i)) is None else a for i, name in ((1, "min"), (2, "max"))]
    low, high = (None if bound is None else float(np.reshape(bound, ())) for bound in bounds)
    high = None if high is not None and high >= np.finfo(np.float32).max else high
    if low == 0 and (high is None or high > 0):
        return on(b, layers.ReLU(high, **b.how()))
    return on(b, Clip(low, high, **b.how()))


def shrink(b: Builder, node: Node) -> Tensor:
    return on(b, Shrink(node.get("lambd", 0.5), node.get("bias", 0.0), **b.how()))


def thresholded(b: Builder, node: Node) -> Tensor:
    alpha = node.get("alpha", 1.0)
    b.need(alpha >= 0, f"with alpha {alpha}")
    return on(b, layers.ReLU(threshold=alpha, **b.how()))


def prelu(b: Builder, node: Node) -> Tensor:
    slope, rank = b.constant(1), len(b.shape())
    if slope.ndim == 1 and node.version < 9 and rank > 2:
        slope = slope.reshape(-1, *(1,) * (rank - 2))
    x, last = b.tensor()
    alpha = laid(b, slope, rank, last)
    shared = tuple(i + 1 for i, size in enumerate(alpha.shape) if size == 1)
    return Tensor(b.call(layers.PReLU(shared_axes=shared, **b.how()), x, [alpha]), last)


def identity(b: Builder, node: Node) -> Tensor:
    return b.tensor()


def cast(b: Builder, node: Node) -> Tensor:
    b.need(node.get("to") == 1, "to another type than float32")
    return b.tensor()


def dropout(b: Builder, node: Node) -> Tensor:
    """Drops values again where the model is trained; gives no mask."""
    ratio = node.get("ratio", 0.5) if (a := b.optional(1)) is None else a
    return on(b, layers.Dropout(float(np.reshape(ratio, ())), **b.how()))


def laid(b: Builder, constant: Array, rank: int, last: bool) -> Array:
    """A constant as it broadcasts to examples of that rank (with the batch) and order of axes."""
    b.need(constant.ndim <= rank, f"with a constant of {constant.ndim} axes")
    constant = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    b.need(constant.shape[0] == 1, "with a constant for each example")
    return np.asarray((np.moveaxis(constant, 1, -1) if last else constant)[0])


def with_constant(b: Builder, node: Node, number: int) -> Tensor:
    """The node's other input and a constant, its input of that number."""
    operation, constant = ARITHMETIC[node.operator], b.constant(number)
    x, last = b.tensor(1 - number)
    if constant.size == 1:
        layer = Arithmetic(operation, number=float(constant.reshape(())), swapped=number == 0, **b.how())
        b.need(constant.ndim <= len(x.shape), f"with a constant of {constant.ndim} axes")
        return Tensor(b.call(layer, x), last)
    array = laid(b, constant, len(x.shape), last)
    layer = Arithmetic(operation, array.shape, swapped=number == 0, **b.how())
    return Tensor(b.call(layer, x, [array]), last)


def one_order(b: Builder, count: int) -> tuple[list[Symbolic], bool]:
    """The node's inputs in one order of axes: the last axis that of channels where one has it so."""
    ranks = {len(b.shape(i)) for i in range(count)}
    b.need(len(ranks) == 1, f"of inputs with {' and '.join(map(str, sorted(ranks)))} axes")
    last = any(b.tensor(i).last for i in range(count))
    return [b.last(i) if last else b.first(i) for i in range(count)], last


def arithmetic(b: Builder, node: Node) -> Tensor:
    count = len(node.inputs)
    constants = [i for i in range(count) if b.is_constant(i)]
    if constants:
        b.need(count == 2 and node.operator != "Mean", "of several inputs with a constant")
        return with_constant(b, node, constants[0])
    x, last = one_order(b, count)
    if count == 1:
        return Tensor(x[0], last)
    same = all(each.example == x[0].example for each in x)
    if node.operator in MERGED and (same or node.operator == "Mul"):
        return Tensor(b.call(MERGED[node.operator](**b.how()), x), last)
    b.need(count == 2 and node.operator != "Mean", "of several inputs that differ in shape")
    return Tensor(b.call(Arithmetic(ARITHMETIC[node.operator], **b.how()), x), last)


AS_LAYERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(ACTIVATIONS, activation), **dict.fromkeys(FUNCTIONS, function),
    **dict.fromkeys(ARITHMETIC, arithmetic), "Relu": relu, "LeakyRelu": leaky_relu, "Elu": elu, "Gelu": gelu,
    "Swish": swish, "Selu": selu, "Celu": celu, "HardSigmoid": hard_sigmoid, "Neg": negated, "Clip": clip,
    "PRelu": prelu, "Shrink": shrink, "ThresholdedRelu": thresholded, "Identity": identity, "Cast": cast,
    "Dropout": dropout,
}  # fmt: skip
