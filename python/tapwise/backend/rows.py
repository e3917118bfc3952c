"""The reference's normalization by groups of channels of each example."""

from __future__ import annotations

import numpy as np

from .interface import Array
from .silent import silent
from .taps import last


@silent()
def group_norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array, epsilon: float) -> None:
    rows = x.reshape(*mean.shape, -1)
    mean[...], variance[...] = rows.mean(axis=-1), rows.var(axis=-1)
    normal = (rows - mean[..., None]) / np.sqrt(variance[..., None] + x.dtype.type(epsilon))
    last(y, False)[...] = last(normal.reshape(x.shape), False) * gamma + beta


@silent()
def group_norm_grad(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, dx: Array, dgamma: Array, dbeta: Array,
    epsilon: float,
) -> None:  # fmt: skip
    """As batch_norm_grad, where gamma belongs to the values of a row."""
    deviation = np.sqrt(variance + x.dtype.type(epsilon))[..., None]
    normal = (x.reshape(*mean.shape, -1) - mean[..., None]) / deviation
    axes = (0, *range(2, x.ndim))
    dgamma[...], dbeta[...] = (dy * normal.reshape(x.shape)).sum(axis=axes), dy.sum(axis=axes)
    g = (dy * gamma.reshape(-1, *(1,) * (x.ndim - 2))).reshape(normal.shape)
    along = g.mean(axis=-1, keepdims=True) + normal * (g * normal).mean(axis=-1, keepdims=True)
    dx[...] = ((g - along) / deviation).reshape(x.shape)
