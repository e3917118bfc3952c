"""Layers for what ONNX says and Keras has none for: arithmetic with broadcasting, reductions, picking along an axis.

Each is NumPy's function beside its derivative. LAYERS has them by name, for load_model's custom_objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...layers import Layer
from .operators.elementwise import wide_erf
from .values import Array, Shape

Partial = Callable[[Array, Array, Array], Array]  # dy, a, b -> the gradient of one of them, before it is summed
GELU = 0.7978845608028654  # sqrt(2 / pi)

ARITHMETIC: dict[str, tuple[Callable[[Array, Array], Array], Partial, Partial]] = {
    "add": (np.add, lambda dy, a, b: dy, lambda dy, a, b: dy),
    "subtract": (np.subtract, lambda dy, a, b: dy, lambda dy, a, b: -dy),
    "multiply": (np.multiply, lambda dy, a, b: dy * b, lambda dy, a, b: dy * a),
    "divide": (np.divide, lambda dy, a, b: dy / b, lambda dy, a, b: -dy * a / (b * b)),
    "power": (
        np.power,
        lambda dy, a, b: dy * b * np.power(a, b - 1),
        lambda dy, a, b: dy * np.power(a, b) * np.log(np.where(a > 0, a, 1)),
    ),
    "maximum": (np.maximum, lambda dy, a, b: dy * (a >= b), lambda dy, a, b: dy * (a < b)),
    "minimum": (np.minimum, lambda dy, a, b: dy * (a <= b), lambda dy, a, b: dy * (a > b)),
}


def summed_to(gradient: Array, shape: Shape) -> Array:
    """What broadcasting stretched, added up: of this shape again."""
    more = gradient.ndim - len(shape)
    axes = tuple(i for i, size in enumerate(gradient.shape) if i < more or shape[i - more] != size)
    return np.ascontiguousarray(gradient.sum(axes).reshape(shape) if axes else gradient)


class Arithmetic(Layer):
    """[a, b] -> a op b, stretched as NumPy does; of one input with a constant: a weight of `shape`, or `number`.

    swapped: the constant is a. A weight that is added or multiplied by is trained.
    """

    def __init__(
        self,
        operation: str,
        shape: Sequence[int] | None = None,
        number: float | None = None,
        swapped: bool = False,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.operation, self.number, self.swapped = operation, number, swapped
        self.function, *self.partials = ARITHMETIC[operation]
        if shape is not None:
            self.add_weight(shape, "zeros", trainable=operation in ("add", "multiply"), name="constant")

    def forward(self, x: Any, training: bool = False) -> Array:
        if not isinstance(x, list):
            other = self.weights[0].value if self.weights else x.dtype.type(self.number)
            x = [other, x] if self.swapped else [x, other]
        self.saved = a, b = x
        return np.asarray(self.function(a, b))

    def backward(self, dy: Array) -> Any:
        a, b = self.saved
        found = [
            summed_to(partial(dy, a, b), each.shape) if isinstance(each, np.ndarray) else None
            for partial, each in zip(self.partials, (a, b), strict=True)
        ]
        if not self.weights and self.number is None:
            return found
        dx, other = found[::-1] if self.swapped else found
        if self.weights and self.weights[0].trainable:
            self.weights[0].gradient = other
        return dx


FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "abs": (np.abs, np.sign),
    "log": (np.log, lambda x: 1 / x),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "reciprocal": (np.reciprocal, lambda x: -1 / (x * x)),
    "sin": (np.sin, np.cos),
    "erf": (wide_erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "gelu_tanh": (
        lambda x: x / 2 * (1 + np.tanh(GELU * (x + 0.044715 * x**3))),
        lambda x: (
            0.5 * (1 + (t := np.tanh(GELU * (x + 0.044715 * x**3))))
            + 0.5 * x * (1 - t * t) * GELU * (1 + 0.134145 * x * x)
        ),
    ),
}


class Function(Layer):
    """x -> y of the same shape, one of FUNCTIONS."""

    def __init__(self, function: str, **layer: Any) -> None:
        super().__init__(**layer)
        self.function, self.derivative = FUNCTIONS[function]

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x
        return np.asarray(self.function(x), x.dtype)

    def backward(self, dy: Array) -> Array | None:
        return np.asarray(dy * self.derivative(self.saved), dy.dtype)


class Clip(Layer):
    """y = x, but low below low and high above high; None: no bound."""

    def __init__(self, low: float | None = None, high: float | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.low, self.high = -np.inf if low is None else low, np.inf if high is None else high

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x
        return np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))

    def backward(self, dy: Array) -> Array | None:
        x = self.saved
        return np.asarray(dy * ((x >= self.low) & (x <= self.high)))


class Shrink(Layer):
    """y = x + bias below -lambd, x - bias above lambd, 0 between."""

    def __init__(self, lambd: float = 0.5, bias: float = 0.0, **layer: Any) -> None:
        super().__init__(**layer)
        self.lambd, self.bias = lambd, bias

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = outside = np.abs(x) > self.lambd
        return np.asarray(np.where(outside, x - x.dtype.type(self.bias) * np.sign(x), x.dtype.type(0)))

    def backward(self, dy: Array) -> Array | None:
        return np.asarray(dy * self.saved)


Reduction = tuple[Callable[..., Array], Callable[[Array, Array], Any]]  # f(x, axes), and dy's factor from x and y


def log_sum_exp(x: Array, axes: Any, keepdims: bool) -> Array:
    top = x.max(axes, keepdims=True, initial=-np.finfo(x.dtype).max)
    return np.asarray(np.log(np.exp(x - top).sum(axes, keepdims=keepdims)) + top)


REDUCTIONS: dict[str, Reduction] = {
    "mean": (np.mean, lambda x, y: y.dtype.type(y.size / x.size if x.size else 1)),
    "sum": (np.sum, lambda x, y: y.dtype.type(1)),
    "max": (lambda x, axes, keepdims: x.max(axes, keepdims=keepdims), lambda x, y: x == y),
    "min": (lambda x, axes, keepdims: x.min(axes, keepdims=keepdims), lambda x, y: x == y),
    "l1": (lambda x, axes, keepdims: np.abs(x).sum(axes, keepdims=keepdims), lambda x, y: np.sign(x)),
    "l2": (
        lambda x, axes, keepdims: np.sqrt(np.square(x).sum(axes, keepdims=keepdims)),
        lambda x, y: np.divide(x, y, out=np.zeros_like(x), where=y != 0),
    ),
    "square": (lambda x, axes, keepdims: np.square(x).sum(axes, keepdims=keepdims), lambda x, y: 2 * x),
    "log_sum": (lambda x, axes, keepdims: np.log(x.sum(axes, keepdims=keepdims)), lambda x, y: np.exp(-y)),
    "log_sum_exp": (log_sum_exp, lambda x, y: np.exp(x - y)),
}


class Reduce(Layer):
    """x (n, ...) -> one value for all along axes, which count from 1 on and stay as size 1.

    Where several are the largest, or the smallest, they share the gradient.
    """

    def __init__(self, operation: str, axes: Sequence[int], **layer: Any) -> None:
        super().__init__(**layer)
        self.operation, self.axes = operation, tuple(axes)
        self.function, self.factor = REDUCTIONS[operation]

    def forward(self, x: Array, training: bool = False) -> Array:
        y = np.asarray(self.function(x, self.axes, keepdims=True), x.dtype)
        self.saved = x, y
        return y

    def backward(self, dy: Array) -> Array | None:
        x, y = self.saved
        factor = np.broadcast_to(self.factor(x, y), x.shape)
        if self.operation in ("max", "min"):
            dy = dy / factor.sum(self.axes, keepdims=True)
        return np.asarray(dy * factor, x.dtype)


class Along(Layer):
    """Output j of an axis is input at[j], or with weights the sum over k of weights[j][k] times input at[j][k]."""

    def __init__(self, axis: int, at: Sequence[Any], weights_of: Sequence[Any] | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.axis, self.at = axis, np.asarray(at, np.int64)
        self.weights_of = None if weights_of is None else np.asarray(weights_of, np.float64)

    def build(self, input_shape: Shape) -> None:
        self.matrix = None
        if self.weights_of is not None:
            matrix = np.zeros((len(self.at), input_shape[self.axis]))
            np.add.at(matrix, (np.arange(len(self.at))[:, None], self.at), self.weights_of)
            self.matrix = matrix.astype(self.dtype)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x.shape
        return np.take(x, self.at, self.axis) if self.matrix is None else multiplied(self.matrix, x, self.axis)

    def backward(self, dy: Array) -> Array | None:
        if self.matrix is not None:
            return multiplied(self.matrix.T, dy, self.axis)
        dx = np.zeros(self.saved, dy.dtype)
        into, part = np.moveaxis(dx, self.axis, 0), np.moveaxis(dy, self.axis, 0)
        if len(set(self.at.tolist())) == len(self.at):
            into[self.at] = part
        else:
            np.add.at(into, self.at, part)
        return dx


def multiplied(matrix: Array, x: Array, axis: int) -> Array:
    """matrix (o, i) by x's axis of size i."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis))


class Padding(Layer):
    """x with `value` around it; pairs: (before, after) of each axis behind the batch's."""

    def __init__(self, pairs: Sequence[Sequence[int]], value: float = 0.0, **layer: Any) -> None:
        super().__init__(**layer)
        self.pairs, self.value = tuple((int(before), int(after)) for before, after in pairs), value

    def forward(self, x: Array, training: bool = False) -> Array:
        return np.pad(x, ((0, 0), *self.pairs), constant_values=self.value)

    def backward(self, dy: Array) -> Array | None:
        inside = tuple(slice(b, n - a) for (b, a), n in zip(self.pairs, dy.shape[1:], strict=True))
        return np.ascontiguousarray(dy[(slice(None), *inside)])


class MatrixProduct(Layer):
    """[a (n, ..., i, k), b (n, ..., k, j)] -> a @ b."""

    def forward(self, x: list[Array], training: bool = False) -> Array:
        self.saved = x
        return np.matmul(*x)

    def backward(self, dy: Array) -> list[Array]:
        a, b = self.saved
        da, db = np.matmul(dy, b.swapaxes(-1, -2)), np.matmul(a.swapaxes(-1, -2), dy)
        return [summed_to(da, a.shape), summed_to(db, b.shape)]


class LocalResponse(Layer):
    """x (n, ..., c) / s^beta, s = bias + alpha / size * the sum of the squares of `size` channels around."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, **layer: Any) -> None:
        super().__init__(**layer)
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def around(self, values: Array, before: int, after: int) -> Array:
        """The sum of so many channels before and behind each, and its own."""
        sums = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(before + 1, after)]).cumsum(-1, dtype=np.float64)
        return np.asarray(sums[..., self.size :] - sums[..., : -self.size], values.dtype)

    def forward(self, x: Array, training: bool = False) -> Array:
        before = (self.size - 1) // 2
        s = self.bias + self.alpha / self.size * self.around(np.square(x), before, self.size - 1 - before)
        self.saved = x, s
        return np.asarray(x * s**-self.beta, x.dtype)

    def backward(self, dy: Array) -> Array | None:
        x, s = self.saved
        after = (self.size - 1) // 2
        share = self.around(dy * x * s ** (-self.beta - 1), self.size - 1 - after, after)
        return np.asarray(dy * s**-self.beta - 2 * self.alpha * self.beta / self.size * x * share, x.dtype)


LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (Arithmetic, Function, Clip, Shrink, Reduce, Along, Padding, MatrixProduct, LocalResponse)
}
