"""Activations and arithmetic, element by element; what they can they join to the operation before them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from math import erf, sqrt
from typing import Any

import numpy as np

from .... import ops
from ..fusion import ByChannel, Sum, per_channel, waiting
from ..graph import Node
from ..run import Run
from ..values import Array, Value

Function = Callable[..., Any]
FLOAT32 = np.dtype(np.float32)
NUMBERS = "fiu"


def unary(run: Run, x: Value, function: Function) -> Value:
    """function(x), in x's layout and type."""
    return Value(run.made(lambda a: np.asarray(function(a)).astype(a.dtype, copy=False), x.memory), x.last)


def binary(run: Run, values: tuple[Value, ...], function: Function) -> Value:
    """function(*arrays) with NumPy's broadcasting, which is ONNX'."""
    memories, last = run.one_layout(values)
    shape = np.broadcast_shapes(*(memory.shape for memory in memories))
    run.check_size(shape, memories[0].dtype)
    return Value(run.made(function, *memories), last)


def activate(run: Run, x: Value, kind: str, alpha: float | None, fallback: Function) -> Value:
    """The kernels' activation, joined to the operation before it where that takes one; fallback for other types."""
    if x.dtype != FLOAT32:
        return unary(run, x, fallback)
    if x.pending is not None and x.pending.activated(kind, alpha):
        return x

    def step(a: Array, y: Array) -> None:
        ops.activation(a, kind, alpha=alpha, out=y)

    memory = run.forced(x.memory)
    return Value(run.call(step, (memory,), memory.shape, memory.dtype, kernels=True), x.last)


def relu(run: Run, node: Node, x: Value) -> Value:
    return activate(run, x, "relu", None, lambda a: np.where(a < 0, a.dtype.type(0), a))


def leaky_relu(run: Run, node: Node, x: Value) -> Value:
    alpha = node.get("alpha", 0.01)

    def plain(a: Array) -> Array:
        return np.where(a < 0, a * a.dtype.type(alpha), a)

    return unary(run, x, plain) if alpha < 0 else activate(run, x, "leaky_relu", alpha, plain)


def elu(run: Run, node: Node, x: Value) -> Value:
    alpha = node.get("alpha", 1.0)
    return activate(run, x, "elu", alpha, lambda a: np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a))


def logistic(a: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-a)))


def sigmoid(run: Run, node: Node, x: Value) -> Value:
    return activate(run, x, "sigmoid", None, logistic)


def tanh(run: Run, node: Node, x: Value) -> Value:
    return activate(run, x, "tanh", None, np.tanh)


def wide_erf(a: Array) -> Array:
    return np.array([erf(each) for each in a.ravel().tolist()], np.float64).reshape(a.shape)


def gelu(run: Run, node: Node, x: Value) -> Value:
    if node.get("approximate", "none") == "none":
        return activate(run, x, "gelu", None, lambda a: a * (1 + wide_erf(a / sqrt(2))) / 2)
    return unary(run, x, lambda a: a / 2 * (1 + np.tanh(0.7978845608028654 * (a + 0.044715 * a * a * a))))


def clip(run: Run, node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    run.need(x.dtype.kind in NUMBERS, f"of {x.dtype}")
    least, most = node.get("min"), node.get("max")
    if low is not None or high is not None:
        least = None if low is None else run.known(low).reshape(())
        most = None if high is None else run.known(high).reshape(())
    if least == 0 and most == 6 and x.dtype == FLOAT32:
        return activate(run, x, "relu6", None, partial(np.clip, a_min=0, a_max=6))
    if least == 0 and (most is None or most >= np.finfo(np.float32).max) and x.dtype == FLOAT32:
        return relu(run, node, x)
    bounds = [None if each is None else np.asarray(each, x.dtype) for each in (least, most)]

    def clipped(a: Array) -> Array:
        a = a if bounds[0] is None else np.maximum(a, bounds[0])
        return a if bounds[1] is None else np.minimum(a, bounds[1])

    return unary(run, x, clipped)


def prelu(run: Run, node: Node, x: Value, slope: Value) -> Value:
    run.need(x.dtype.kind in NUMBERS, f"of {x.dtype}")
    if node.version < 9 and slope.rank == 1 and x.rank > 2:  # one for each channel
        slope = Value(run.first(slope).view((*slope.shape, *(1,) * (x.rank - 2))))
    return binary(run, (x, slope), lambda a, s: np.where(a < 0, a * s, a).astype(a.dtype, copy=False))


def summed(run: Run, node: Node, a: Value, b: Value) -> Value:
    """a + b: a bias, a residual, or a sum of its own."""
    if joined := with_constant(run, a, b, None):
        return joined
    if a.dtype == b.dtype == FLOAT32 and a.rank > 1 and a.shape == b.shape and (joined := residual(run, a, b)):
        return joined
    return binary(run, (a, b), np.add)


def residual(run: Run, a: Value, b: Value) -> Value | None:
    """a + b of one shape, in the operation that makes the later one where it takes that."""
    if b.pending is None or not b.last:
        a, b = b, a
    if a.pending is not None and not b.pending:
        a, b = b, a
    last = b.last or (a.last and not b.constant)
    other = run.last(a) if last else run.first(a)
    if b.pending is not None and b.last == last and b.memory is not other and b.pending.added(other):
        return b
    mine = run.last(b) if last else run.first(b)
    if a.constant and b.constant:
        return None
    return waiting(Sum(mine, other), mine.shape, last)


def scale(run: Run, x: Value, constant: Value, operation: str | None) -> bool:
    """Whether x (*, -, /) constant is now part of what makes x; operation None is a sum."""
    if x.pending is None or x.constant or not constant.constant:
        return False
    by = per_channel(constant, x)
    if by is None:
        return False
    one, zero = np.ones_like(by), np.zeros_like(by)
    with np.errstate(divide="ignore"):
        gain, shift = {None: (one, by), "*": (by, zero), "-": (one, -by), "/": (one / by, zero)}[operation]
    return bool(np.isfinite(gain).all()) and x.pending.scaled(gain, shift)


def by_channel(run: Run, x: Value, constant: Value, operation: str | None) -> Value | None:
    """x (*, - or a sum) constant, one number for each place on the last axis in memory: waits for more of the kind."""
    if x.rank < 3 or x.rank > 5 or x.constant or not constant.constant or 0 in x.shape:
        return None
    by = per_channel(constant, x)
    if by is None or not (x.last or constant.memory.array.size > 1):
        return None
    zero, one = np.zeros_like(by), np.ones_like(by)
    gain, shift, mean = {None: (one, by, zero), "*": (by, zero, zero), "-": (one, zero, by)}[operation]
    memory = run.forced(x.memory)
    return waiting(ByChannel(memory, gain, shift, mean, one, 0.0), memory.shape, x.last)


def with_constant(run: Run, a: Value, b: Value, operation: str | None) -> Value | None:
    """a (*, - or a sum) b, where one of them is a constant that joins what makes the other."""
    if not a.dtype == b.dtype == FLOAT32:
        return None
    pairs = ((a, b),) if operation == "-" else ((a, b), (b, a))
    for x, other in pairs:
        if scale(run, x, other, operation):
            return x
    for x, other in pairs:
        if made := by_channel(run, x, other, operation):
            return made
    return None


def multiplied(run: Run, node: Node, a: Value, b: Value) -> Value:
    return with_constant(run, a, b, "*") or binary(run, (a, b), np.multiply)


def subtracted(run: Run, node: Node, a: Value, b: Value) -> Value:
    return with_constant(run, a, b, "-") or binary(run, (a, b), np.subtract)


def divided(run: Run, node: Node, a: Value, b: Value) -> Value:
    if a.dtype == b.dtype == FLOAT32 and scale(run, a, b, "/"):
        return a
    if a.dtype.kind in "iu":
        return binary(run, (a, b), truncated)
    run.need(a.dtype.kind == "f", f"of {a.dtype}")
    return binary(run, (a, b), np.divide)


def truncated(a: Array, b: Array) -> Array:
    """Integers divided towards zero, as in C."""
    quotient = a // b
    behind = (quotient < 0) & (quotient * b != a)
    return np.asarray(quotient + behind, a.dtype)


def remainder(run: Run, node: Node, a: Value, b: Value) -> Value:
    """Mod: the divisor's sign, or with fmod the dividend's."""
    run.need(a.dtype.kind in NUMBERS, f"of {a.dtype}")
    return binary(run, (a, b), np.fmod if node.get("fmod", 0) else np.mod)


def power(run: Run, node: Node, a: Value, b: Value) -> Value:
    run.need(a.dtype.kind in NUMBERS and b.dtype.kind in NUMBERS, f"of {a.dtype}")
    return binary(run, (a, b), lambda x, y: np.power(x, y).astype(x.dtype))


def many(function: Function) -> Function:
    """An operator that joins any number of values two by two."""

    def operator(run: Run, node: Node, *values: Value) -> Value:
        run.need(all(value.dtype.kind in NUMBERS for value in values), f"of {values[0].dtype}")
        if len(values) == 1:
            return values[0]
        return reduce(lambda a, b: binary(run, (a, b), function), values)

    return operator


def sum_of(run: Run, node: Node, *values: Value) -> Value:
    return reduce(lambda a, b: summed(run, node, a, b), values)


def mean_of(run: Run, node: Node, *values: Value) -> Value:
    total = many(np.add)(run, node, *values)
    return unary(run, total, lambda a: a / len(values))


def simple(function: Function, kinds: str = "f") -> Function:
    """An operator that NumPy has by itself."""

    def operator(run: Run, node: Node, *values: Value) -> Value:
        run.need(all(value.dtype.kind in kinds for value in values), f"of {values[0].dtype}")
        return unary(run, values[0], function) if len(values) == 1 else binary(run, values, function)

    return operator


def with_alpha(function: Function, **defaults: float) -> Function:
    """An activation with numbers among its attributes."""

    def operator(run: Run, node: Node, x: Value) -> Value:
        run.need(x.dtype.kind == "f", f"of {x.dtype}")
        numbers = {name: node.get(name, value) for name, value in defaults.items()}
        return unary(run, x, lambda a: function(a, **numbers))

    return operator


def selu(x: Array, alpha: float, gamma: float) -> Array:
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def celu(x: Array, alpha: float) -> Array:
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.clip(alpha * x + beta, 0, 1)


def thresholded(x: Array, alpha: float) -> Array:
    return np.asarray(np.where(x > alpha, x, 0))


def shrink(x: Array, lambd: float, bias: float) -> Array:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


def softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


def compared(function: Function) -> Function:
    def operator(run: Run, node: Node, a: Value, b: Value) -> Value:
        run.need(a.dtype.kind in "fiub", f"of {a.dtype}")
        return binary(run, (a, b), function)

    return operator


def tested(function: Function) -> Function:
    def operator(run: Run, node: Node, x: Value) -> Value:
        run.need(x.dtype.kind in "fb", f"of {x.dtype}")
        return Value(run.made(function, x.memory), x.last)

    return operator


def where(run: Run, node: Node, condition: Value, a: Value, b: Value) -> Value:
    run.need(a.dtype.kind in "fiub", f"of {a.dtype}")
    return binary(run, (condition, a, b), np.where)


def infinite(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    up, down = node.get("detect_positive", 1), node.get("detect_negative", 1)
    return Value(run.made(lambda a: np.isinf(a) & ((a > 0) & bool(up) | (a < 0) & bool(down)), x.memory), x.last)


def same(run: Run, node: Node, x: Value) -> Value:
    return x


OPERATORS: dict[str, Function] = {
    "Relu": relu, "LeakyRelu": leaky_relu, "Elu": elu, "Sigmoid": sigmoid, "Tanh": tanh, "Gelu": gelu, "Clip": clip,
    "PRelu": prelu, "Add": summed, "Sub": subtracted, "Mul": multiplied, "Div": divided, "Pow": power, "Mod": remainder,
    "Sum": sum_of, "Max": many(np.maximum), "Min": many(np.minimum), "Mean": mean_of,
    "Abs": simple(np.abs, NUMBERS), "Neg": simple(np.negative, "fi"), "Sign": simple(np.sign, NUMBERS),
    "Exp": simple(np.exp), "Log": simple(np.log), "Sqrt": simple(np.sqrt), "Reciprocal": simple(np.reciprocal),
    "Floor": simple(np.floor), "Ceil": simple(np.ceil), "Round": simple(np.rint), "Erf": simple(wide_erf),
    "Sin": simple(np.sin), "Cos": simple(np.cos), "Tan": simple(np.tan), "Asin": simple(np.arcsin),
    "Acos": simple(np.arccos), "Atan": simple(np.arctan), "Sinh": simple(np.sinh), "Cosh": simple(np.cosh),
    "Asinh": simple(np.arcsinh), "Acosh": simple(np.arccosh), "Atanh": simple(np.arctanh),
    "Softplus": simple(softplus), "Softsign": simple(lambda x: x / (1 + np.abs(x))),
    "Mish": simple(lambda x: x * np.tanh(softplus(x))),
    "HardSwish": simple(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Swish": with_alpha(lambda x, alpha: x * logistic(alpha * x), alpha=1.0),
    "HardSigmoid": with_alpha(hard_sigmoid, alpha=0.2, beta=0.5), "Celu": with_alpha(celu, alpha=1.0),
    "Selu": with_alpha(selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "ThresholdedRelu": with_alpha(thresholded, alpha=1.0), "Shrink": with_alpha(shrink, lambd=0.5, bias=0.0),
    "Equal": compared(np.equal), "Less": compared(np.less), "LessOrEqual": compared(np.less_equal),
    "Greater": compared(np.greater), "GreaterOrEqual": compared(np.greater_equal),
    "And": compared(np.logical_and), "Or": compared(np.logical_or), "Xor": compared(np.logical_xor),
    "Not": tested(np.logical_not), "IsNaN": tested(np.isnan), "IsInf": infinite, "Where": where, "Identity": same,
}  # fmt: skip
