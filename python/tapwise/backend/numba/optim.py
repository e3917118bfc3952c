"""The optimizers' steps, in place and in one pass over the weights.

    SGD    v = momentum * v - learning_rate * dw, then w += v (nesterov: w += momentum * v - learning_rate * dw)
    Adam   m += (1 - beta_1) * (dw - m); v += (1 - beta_2) * (dw^2 - v); w -= a * m / (sqrt(v) + epsilon)
           with a = learning_rate * sqrt(1 - beta_2^step) / (1 - beta_1^step)

Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, end of section 2.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import Array, kernel, typed
from .threads import grain, parallel_for


def sgd_update(
    w: Array, dw: Array, velocity: Array | None, learning_rate: float, momentum: float, nesterov: bool
) -> None:
    """w and velocity in place; velocity is None without momentum."""
    real = w.dtype.type
    rate, keep = real(learning_rate), real(momentum)
    w, dw = w.reshape(-1), typed(dw).reshape(-1)
    moved = np.empty(0, w.dtype) if velocity is None else velocity.reshape(-1)
    parallel_for(
        w.size,
        grain(w.size, 2),
        lambda begin, end: _sgd(w[begin:end], dw[begin:end], moved[begin:end], rate, keep, nesterov),
    )


def adam_update(
    w: Array, dw: Array, m: Array, v: Array,
    learning_rate: float, beta_1: float, beta_2: float, epsilon: float, step: int,
) -> None:  # fmt: skip
    """w, m and v in place; step counts from 1."""
    real = w.dtype.type
    size = real(learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step))
    rest_1, rest_2, small = real(1 - beta_1), real(1 - beta_2), real(epsilon)
    w, dw, m, v = (a.reshape(-1) for a in (w, typed(dw), m, v))
    parallel_for(
        w.size,
        grain(w.size, 4),
        lambda begin, end: _adam(w[begin:end], dw[begin:end], m[begin:end], v[begin:end], size, rest_1, rest_2, small),
    )


@kernel
def _sgd(w: Array, dw: Array, velocity: Array, rate: float, momentum: float, nesterov: bool) -> None:
    if not velocity.size:
        for i in range(w.size):
            w[i] -= rate * dw[i]
    elif nesterov:
        for i in range(w.size):
            velocity[i] = momentum * velocity[i] - rate * dw[i]
            w[i] += momentum * velocity[i] - rate * dw[i]
    else:
        for i in range(w.size):
            velocity[i] = momentum * velocity[i] - rate * dw[i]
            w[i] += velocity[i]


@kernel
def _adam(w: Array, dw: Array, m: Array, v: Array, size: float, rest_1: float, rest_2: float, epsilon: float) -> None:
    for i in range(w.size):
        m[i] += (dw[i] - m[i]) * rest_1
        v[i] += (dw[i] * dw[i] - v[i]) * rest_2
        w[i] -= size * m[i] / (math.sqrt(v[i]) + epsilon)
