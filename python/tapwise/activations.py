"""Keras' activations as functions of arrays, and what activation= takes: Dense(8, activation=activations.relu).

Softmax and its like work along axis, the last one; x is float32 or any other float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .layers.activation import NAMES, ReLU, activate

Array = NDArray[Any]
Activation = Callable[..., Array]


def _named(name: str) -> Activation:
    def activation(x: ArrayLike) -> Array:
        return activate(_array(x), name)

    activation.__name__ = activation.__qualname__ = name
    activation.__doc__ = f'What activation="{name}" does.'
    return activation


def _array(x: ArrayLike) -> Array:
    """x itself if it is an array of floats, else as float32."""
    is_ready = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    return np.ascontiguousarray(x, None if is_ready else np.float32)


def _along(x: ArrayLike, axis: int, name: str) -> Array:
    moved = np.ascontiguousarray(np.moveaxis(_array(x), axis, -1))
    return np.moveaxis(activate(moved, name), -1, axis)


def linear(x: ArrayLike) -> Array:
    """x."""
    return np.asarray(x)


def relu(x: ArrayLike, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """What layers.ReLU does."""
    return ReLU(max_value, negative_slope, threshold, dtype=_array(x).dtype).forward(_array(x))


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> Array:
    """x, times negative_slope where it is negative."""
    return relu(x, negative_slope)


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    x = _array(x)
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def gelu(x: ArrayLike, approximate: bool = False) -> Array:
    """x * P(X <= x), X normal; exact."""
    if approximate:
        raise ValueError("approximate must be False: gelu is the exact one")
    return activate(_array(x), "gelu")


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along axis."""
    return _along(x, axis, "softmax")


def log_softmax(x: ArrayLike, axis: int = -1) -> Array:
    """The logarithm of softmax."""
    return _along(x, axis, "log_softmax")


def sparsemax(x: ArrayLike, axis: int = -1) -> Array:
    """The point of the simplex nearest to x."""
    return _along(x, axis, "sparsemax")


def glu(x: ArrayLike, axis: int = -1) -> Array:
    """The first half times the sigmoid of the second."""
    return _along(x, axis, "glu")


celu, exponential, hard_shrink, hard_sigmoid = map(_named, ("celu", "exponential", "hard_shrink", "hard_sigmoid"))
hard_silu, hard_swish, hard_tanh, log_sigmoid = map(_named, ("hard_silu", "hard_swish", "hard_tanh", "log_sigmoid"))
mish, relu6, selu, sigmoid, silu = map(_named, ("mish", "relu6", "selu", "sigmoid", "silu"))
soft_shrink, softplus, softsign, sparse_plus = map(_named, ("soft_shrink", "softplus", "softsign", "sparse_plus"))
sparse_sigmoid, squareplus, swish = map(_named, ("sparse_sigmoid", "squareplus", "swish"))
tanh, tanh_shrink = map(_named, ("tanh", "tanh_shrink"))


def get(identifier: str | Activation | None) -> Activation:
    """One of these functions by name, linear for None, or a function as it is. Raises ValueError on another name."""
    if callable(identifier):
        return identifier
    name = identifier or "linear"
    if name != "linear" and name not in NAMES:
        raise ValueError(f"activation must be one of linear, {', '.join(NAMES)}, got {identifier!r}")
    found: Activation = globals()[name]
    return found


def serialize(activation: Activation) -> str:
    """The name of one of these functions."""
    return str(activation.__name__)


deserialize = get
