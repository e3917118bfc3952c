"""Elementwise activations and softmax: as layers, and as what Dense and the convolutions end in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import constraints, initializers, ops
from ..configured import function_name
from ..ops.check import ACTIVATIONS, is_bfloat16
from .functions import ELEMENTS, ROWS
from .layer import Array, Layer, Parameter, Shape, float32s, need_axes
from .place import Needs, Place

# gelu's gradient needs its input, so it is an operation of its own, after the one before; so are NumPy's functions.
FUSED = tuple(kind for kind in ACTIVATIONS if kind != "gelu")
NAMES = (*ACTIVATIONS, "softmax", *ELEMENTS, *ROWS)


def check_activation(activation: Any) -> str | None:
    """A name of NAMES, None for "linear" and None, or the name of one of tapwise.activations' functions.

    Raises ValueError on anything else.
    """
    activation = function_name(activation)
    if activation is None or activation == "linear":
        return None
    if callable(activation):
        raise ValueError(
            f"activation must be a name or a function of tapwise.activations, got {activation!r}: one of one's own is "
            "a layer with forward and backward"
        )
    if activation not in NAMES:
        raise ValueError(f"activation must be None, linear, {', '.join(NAMES)}, got {activation!r}")
    return str(activation)


def activate(x: Array, activation: str | None, out: Array | None = None) -> Array:
    """x of any shape -> y of the same, but for glu; softmax and its like over the last axis."""
    if activation is None:
        return x
    if activation in ACTIVATIONS:
        return ops.activation(x, activation, out=out)
    if activation == "softmax":
        return ops.softmax(x, out=out)
    if activation in ("silu", "swish") and not is_bfloat16(x.dtype):
        y = ops.activation(x, "sigmoid", out=out)
        return np.multiply(y, x, out=y)
    return in_float32(ELEMENTS[activation][0] if activation in ELEMENTS else ROWS[activation][0], out, x)


def activate_grad(dy: Array, y: Array, x: Array, activation: str | None, out: Array | None = None) -> Array:
    """dx of y = activate(x)."""
    if activation is None:
        return dy
    if activation in ACTIVATIONS:
        return ops.activation_grad(dy, y, activation, x=x, out=out)
    if activation == "softmax":
        return ops.softmax_grad(dy, y, out=out)
    if activation in ROWS:
        return in_float32(ROWS[activation][1], out, dy, x)
    if is_bfloat16(dy.dtype):
        return in_float32(lambda dy, x: dy * ELEMENTS[activation][1](x), out, dy, x)
    return np.asarray(np.multiply(dy, ELEMENTS[activation][1](x), out=out))


def in_float32(function: Callable[..., Array], out: Array | None, *arrays: Array) -> Array:
    """What NumPy makes of arrays, of bfloat16 in float32 and rounded."""
    y = function(*float32s(arrays))
    if is_bfloat16(arrays[0].dtype):
        return ops.cast(y, arrays[0].dtype, out=out)
    if out is None:
        return y
    out[...] = y
    return out


class Activation(Layer):
    """x -> y of the same shape, but for glu, which halves the last axis: linear or one of NAMES. gelu is exact."""

    in_bfloat16 = True

    def __init__(self, activation: str | None, **layer: Any) -> None:
        super().__init__(**layer)
        self.activation = check_activation(activation)

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        if self.activation is None:
            return Needs(view=True)
        reads = "y" if self.activation in FUSED else "xy" if self.activation == "softmax" else "x"
        return Needs(reads, in_place=self.activation in FUSED)

    def forward(self, x: Array, training: bool = False) -> Array:
        y = activate(x, self.activation, self.place.memory.get("y"))
        self.saved = x, y
        return y

    def backward(self, dy: Array) -> Array | None:
        x, y = self.saved
        return activate_grad(dy, y, x, self.activation, self.place.memory.get("dx"))

    def logits(self) -> Array | None:
        return self.saved[0] if self.activation == "softmax" else None

    def backward_logits(self, dlogits: Array) -> Array | None:
        return dlogits


class ReLU(Layer):
    """y = max_value where x >= max_value, x from threshold on, negative_slope * (x - threshold) below; NaN stays."""

    in_bfloat16 = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **layer: Any
    ) -> None:
        super().__init__(**layer)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold
        self.kind = "leaky_relu" if negative_slope else "relu"
        self.alpha = negative_slope or None
        plain = not negative_slope and not threshold
        same = "relu" if max_value is None else "relu6" if max_value == 6 else None
        self.activation = same if plain else None

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs | None:
        return Needs("y", in_place=True) if self.activation else None

    def forward(self, x: Array, training: bool = False) -> Array:
        if self.activation:
            self.saved = y = ops.activation(x, self.activation, out=self.place.memory.get("y"))
            return y
        self.saved = x
        y = ops.activation(self._shifted(x), self.kind, alpha=self.alpha)
        if self.threshold:
            y = np.where(x < self.threshold, y, x)
        return y if self.max_value is None else np.minimum(y, y.dtype.type(self.max_value))

    def backward(self, dy: Array) -> Array | None:
        """At threshold the slope is the one below it, at max_value 0."""
        x: Array = self.saved
        if self.activation:
            return ops.activation_grad(dy, x, self.activation, out=self.place.memory.get("dx"))
        dx = ops.activation_grad(dy, self._shifted(x), self.kind, alpha=self.alpha)  # reads the sign alone
        if self.max_value is not None:
            dx[x >= self.max_value] = 0
        return dx

    def _shifted(self, x: Array) -> Array:
        return x - x.dtype.type(self.threshold) if self.threshold else x


class LeakyReLU(ReLU):
    """y = x where x >= 0, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.3, **layer: Any) -> None:
        super().__init__(None, negative_slope, **layer)


class ELU(Layer):
    """y = x where x > 0, else alpha * (exp(x) - 1). Clevert et al., 2016."""

    in_bfloat16 = True

    def __init__(self, alpha: float = 1.0, **layer: Any) -> None:
        super().__init__(**layer)
        self.alpha = alpha

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs("y", in_place=True)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = y = ops.elu(x, self.alpha, out=self.place.memory.get("y"))
        return y

    def backward(self, dy: Array) -> Array | None:
        return ops.activation_grad(dy, self.saved, "elu", alpha=self.alpha, out=self.place.memory.get("dx"))


class PReLU(Layer):
    """y = x where x > 0, else alpha * x. alpha has the shape of an example, but size 1 on shared_axes. He, 2015."""

    alpha: Parameter

    def __init__(
        self,
        alpha_initializer: str | initializers.Initializer = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: constraints.Given = None,
        shared_axes: int | Sequence[int] | None = None,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.alpha_initializer, self.alpha_regularizer = alpha_initializer, alpha_regularizer
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = (shared_axes,) if isinstance(shared_axes, int) else tuple(shared_axes or ())

    def build(self, input_shape: Shape) -> None:
        need_axes("shared_axes", self.shared_axes, len(input_shape))
        shape = tuple(1 if i in self.shared_axes else size for i, size in enumerate(input_shape))[1:]
        self.alpha = self.add_weight(
            shape, self.alpha_initializer, regularizer=self.alpha_regularizer, constraint=self.alpha_constraint,
            name="alpha",
        )  # fmt: skip

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = x
        return np.where(x > 0, x, self.alpha.value * x)

    def backward(self, dy: Array) -> Array | None:
        x: Array = self.saved
        axes = (0, *(i for i in range(1, x.ndim) if self.alpha.shape[i - 1] == 1))
        below = dy * np.minimum(x, 0)
        self.alpha.gradient = below.sum(axes, keepdims=True)[0]
        return np.where(x > 0, dy, self.alpha.value * dy)


class Softmax(Layer):
    """y = exp(x) / sum(exp(x)) along axis."""

    in_bfloat16 = True

    def __init__(self, axis: int = -1, **layer: Any) -> None:
        super().__init__(**layer)
        self.axis = axis

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs("xy")

    def forward(self, x: Array, training: bool = False) -> Array:
        y = ops.softmax(x, axis=self.axis, out=self.place.memory.get("y"))
        self.saved = x, y
        return y

    def backward(self, dy: Array) -> Array | None:
        return ops.softmax_grad(dy, self.saved[1], axis=self.axis, out=self.place.memory.get("dx"))

    def logits(self) -> Array | None:
        x: Array = self.saved[0]
        return x if self.axis in (-1, x.ndim - 1) else None

    def backward_logits(self, dlogits: Array) -> Array | None:
        return dlogits
