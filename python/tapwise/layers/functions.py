"""Activations that no kernel has: in NumPy, each beside its derivative.

ELEMENTS: name -> (f, f'), both of x, element by element. ROWS: name -> (f of x, dx of dy and x) along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., 2017


def sigmoid(x: Array) -> Array:
    return np.asarray(exp_below(x) / (1 + np.exp(-np.abs(x))))


def softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


def inside(x: Array, bound: float) -> Array:
    return np.asarray(np.abs(x) < bound, x.dtype)


def outside(x: Array, bound: float) -> Array:
    return np.asarray(np.abs(x) > bound, x.dtype)


def exp_below(x: Array) -> Array:
    """exp(x) where x < 0, else 1."""
    return np.asarray(np.exp(np.minimum(x, 0)))


def selu_gradient(x: Array) -> Array:
    return SELU_SCALE * np.where(x > 0, x.dtype.type(1), SELU_ALPHA * exp_below(x))


def silu_gradient(x: Array) -> Array:
    s = sigmoid(x)
    return np.asarray(s * (1 + x * (1 - s)))


def mish_gradient(x: Array) -> Array:
    t = np.tanh(softplus(x))
    return np.asarray(t + x * (1 - t * t) * sigmoid(x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def log_softmax(x: Array) -> Array:
    x = x - x.max(-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


def sparsemax(x: Array) -> Array:
    """The point of the simplex nearest to x. Martins & Astudillo, 2016."""
    ordered = -np.sort(-x, -1)
    number = np.arange(1, x.shape[-1] + 1)
    sums = ordered.cumsum(-1) - 1
    count = (number * ordered > sums).sum(-1, keepdims=True)
    return np.asarray(np.maximum(x - np.take_along_axis(sums, count - 1, -1) / count.astype(x.dtype), 0))


def sparsemax_gradient(dy: Array, x: Array) -> Array:
    support = sparsemax(x) > 0
    mean = (dy * support).sum(-1, keepdims=True) / support.sum(-1, keepdims=True).astype(dy.dtype)
    return np.asarray((dy - mean) * support)


def glu(x: Array) -> Array:
    """The first half times the sigmoid of the second."""
    a, b = np.split(x, 2, -1)
    return np.asarray(a * sigmoid(b))


def glu_gradient(dy: Array, x: Array) -> Array:
    a, b = np.split(x, 2, -1)
    s = sigmoid(b)
    return np.concatenate([dy * s, dy * a * s * (1 - s)], -1)


Function = Callable[[Array], Array]
ELEMENTS: dict[str, tuple[Function, Function]] = {
    "celu": (lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)), exp_below),
    "exponential": (np.exp, np.exp),
    "hard_shrink": (lambda x: x * outside(x, 0.5), lambda x: outside(x, 0.5)),
    "hard_sigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: inside(x, 3) / 6),
    "hard_silu": (
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x: np.clip(x / 6 + 0.5, 0, 1) + x * inside(x, 3) / 6,
    ),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: inside(x, 1)),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "mish": (lambda x: x * np.tanh(softplus(x)), mish_gradient),
    "selu": (
        lambda x: SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0))),
        selu_gradient,
    ),
    "silu": (lambda x: x * sigmoid(x), silu_gradient),
    "soft_shrink": (lambda x: x - np.clip(x, -0.5, 0.5), lambda x: outside(x, 0.5)),
    "softplus": (softplus, sigmoid),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2),
    "sparse_plus": (
        lambda x: np.where(x < 1, (np.maximum(x, -1) + 1) ** 2 / 4, x),
        lambda x: np.clip((x + 1) / 2, 0, 1),
    ),
    "sparse_sigmoid": (lambda x: np.clip((x + 1) / 2, 0, 1), lambda x: inside(x, 1) / 2),
    "squareplus": (lambda x: (x + np.sqrt(x * x + 4)) / 2, lambda x: (1 + x / np.sqrt(x * x + 4)) / 2),
    "tanh_shrink": (lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2),
}
ELEMENTS |= {"hard_swish": ELEMENTS["hard_silu"], "swish": ELEMENTS["silu"]}
ROWS: dict[str, tuple[Function, Callable[[Array, Array], Array]]] = {
    "glu": (glu, glu_gradient),
    "log_softmax": (log_softmax, lambda dy, x: dy - softmax(x) * dy.sum(-1, keepdims=True)),
    "sparsemax": (sparsemax, sparsemax_gradient),
}
