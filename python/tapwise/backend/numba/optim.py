"""The optimizers' steps, in place and in one pass over each parameter; interface.Update has the rules.

Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, end of section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..interface import Update
from .compiled import Array, kernel, typed
from .threads import grain, parallel_for

CHUNK = 1 << 17  # squares that are summed together


def optimizer_update(
    u: Update, w: list[Array], dw: list[Array], m: list[Array], v: list[Array], average: list[Array],
    scales: list[float],
) -> None:  # fmt: skip
    """w, m, v and average in place; m, v and average are empty where the rule has none."""
    none = np.empty(0, w[0].dtype) if w else np.empty(0)
    for i, weights in enumerate(w):
        real = weights.dtype.type
        arrays = [
            a.reshape(-1)
            for a in (weights, typed(dw[i]), m[i] if m else none, v[i] if v else none, average[i] if average else none)
        ]
        rule = {"sgd": _sgd, "adam": _adam, "rmsprop": _rmsprop}[u.rule]
        numbers = [real(n) for n in (scales[i], u.clip, u.keep, u.rate, u.momentum, u.rate_1, u.rate_2, u.epsilon)]
        _run(rule, arrays, numbers, u.nesterov, real(u.average_rate))


def _run(rule: Callable[..., None], arrays: list[Array], numbers: list[Any], nesterov: bool, average_rate: Any) -> None:
    w, average = arrays[0], arrays[4]

    def body(begin: int, end: int) -> None:
        rule(*(a[begin:end] for a in arrays[:4]), *numbers, nesterov)
        if average.size:
            _average(w[begin:end], average[begin:end], average_rate)

    parallel_for(w.size, grain(w.size, 4), body)


def square_sums(arrays: list[Array]) -> list[float]:
    """The sum of squares of each array, in float64."""
    found = []
    for a in arrays:
        flat = typed(a).reshape(-1)
        sums = np.zeros(-(-flat.size // CHUNK))
        _each_chunk(flat, sums)
        found.append(float(sums.sum()))
    return found


def moving_average(average: Array, value: Array, momentum: float) -> None:
    """By NumPy: one value a channel."""
    average *= average.dtype.type(momentum)
    average += value * value.dtype.type(1 - momentum)


def _each_chunk(a: Array, sums: Array) -> None:
    def body(begin: int, end: int) -> None:
        for chunk in range(begin, end):
            sums[chunk] = _squares(a[chunk * CHUNK : (chunk + 1) * CHUNK])

    parallel_for(sums.size, 1, body)


@kernel
def _squares(a: Array) -> float:
    total = 0.0
    for i in range(a.size):
        total += np.float64(a[i]) * np.float64(a[i])
    return total


@kernel
def _average(w: Array, average: Array, rate: float) -> None:
    for i in range(w.size):
        average[i] += (w[i] - average[i]) * rate


@kernel
def _clipped(g: float, clip: float) -> float:
    return clip if g > clip else -clip if g < -clip else g


@kernel
def _sgd(
    w: Array, dw: Array, m: Array, v: Array, scale: float, clip: float, keep: float, rate: float, momentum: float,
    rate_1: float, rate_2: float, epsilon: float, nesterov: bool,
) -> None:  # fmt: skip
    for i in range(w.size):
        down = rate * _clipped(dw[i] * scale, clip)
        if m.size:
            m[i] = momentum * m[i] - down
            down = down - momentum * m[i] if nesterov else -m[i]
        w[i] = w[i] * keep - down


@kernel
def _adam(
    w: Array, dw: Array, m: Array, v: Array, scale: float, clip: float, keep: float, rate: float, momentum: float,
    rate_1: float, rate_2: float, epsilon: float, nesterov: bool,
) -> None:  # fmt: skip
    for i in range(w.size):
        g = _clipped(dw[i] * scale, clip)
        m[i] += (g - m[i]) * rate_1
        v[i] += (g * g - v[i]) * rate_2
        w[i] = w[i] * keep - rate * m[i] / (math.sqrt(v[i]) + epsilon)


@kernel
def _rmsprop(
    w: Array, dw: Array, m: Array, v: Array, scale: float, clip: float, keep: float, rate: float, momentum: float,
    rate_1: float, rate_2: float, epsilon: float, nesterov: bool,
) -> None:  # fmt: skip
    for i in range(w.size):
        g = _clipped(dw[i] * scale, clip)
        v[i] += (g * g - v[i]) * rate_2
        up = rate * g / math.sqrt(v[i] + epsilon)
        if m.size:
            up += momentum * m[i]
            m[i] = up
        w[i] = w[i] * keep - up
