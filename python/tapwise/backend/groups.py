"""Normalization by groups from batch normalization's functions: what every backend can do.

A row, one group of one example, is a channel of a batch of one. gamma and beta are another normalization, by channels
of mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Pair = tuple[Callable[..., None], Callable[..., None]]


def by_batch_norm(
    statistics: Callable[..., None], batch_norm: Callable[..., None], batch_norm_grad: Callable[..., None]
) -> Pair:
    """Backend.group_norm and group_norm_grad by a backend's three functions."""

    def scaled(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, y: Any, epsilon: float) -> None:
        batch_norm(x, gamma, beta, mean, variance, None, y, epsilon, None, 0.0, False)

    def group_norm(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, y: Any, epsilon: float) -> None:
        (rows, to), (zero, one) = rows_of(mean, x, y), constants(mean.size, x)
        of_rows = mean.reshape(-1), variance.reshape(-1)
        statistics(rows, *of_rows, False)
        scaled(rows, one, zero, *of_rows, to, epsilon)
        scaled(y, gamma, beta, *constants(gamma.size, x), y, 0.0)

    def group_norm_grad(
        dy: Any, x: Any, gamma: Any, mean: Any, variance: Any, dx: Any, dgamma: Any, dbeta: Any, epsilon: float
    ) -> None:
        normal, g = (np.empty(x.shape, x.dtype, like=x) for _ in range(2))
        rows, normal_rows, g_rows, dx_rows = rows_of(mean, x, normal, g, dx)
        (zero, one), unit = constants(mean.size, x), constants(gamma.size, x)
        of_rows = mean.reshape(-1), variance.reshape(-1)
        scaled(rows, one, zero, *of_rows, normal_rows, epsilon)
        batch_norm_grad(dy, normal, gamma, *unit, None, None, g, None, dgamma, dbeta, 0.0, False, False)
        scaled(dy, gamma, unit[0], *unit, g, 0.0)
        unused = constants(mean.size, x)
        batch_norm_grad(g_rows, rows, one, *of_rows, None, None, dx_rows, None, *unused, epsilon, False, False)

    return group_norm, group_norm_grad


def rows_of(mean: Any, *arrays: Any) -> list[Any]:
    return [a.reshape(1, mean.size, a.size // mean.size) for a in arrays]


def constants(size: int, x: Any) -> tuple[Any, Any]:
    return np.full_like(x, 0, shape=(size,)), np.full_like(x, 1, shape=(size,))
