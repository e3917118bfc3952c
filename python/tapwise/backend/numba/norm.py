"""Sums over all but the channels, and batch normalization: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    a, x (rows, channels)          -> sums (parts, 2, channels)   channels last: a part is a share of the rows
    a, x (n * channels, inner)     -> sums (1, 2, channels)       channels first: a channel is one chunk's

of a - a0 and of (a - a0) * (x - x0), in float64 and in a fixed order. Statistics take two passes: the mean, then the
squares around it. Memory-bound.

Ioffe & Szegedy, "Batch Normalization", 2015.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..groups import by_batch_norm
from .activation import activation, activation_grad
from .compiled import Array, kernel, silent, typed
from .threads import grain, parallel_for

LANES = 16  # partial sums of a row: a single one would wait for each addition


@silent
def conv_grad_bias(dy: Array, db: Array, channels_last: bool) -> None:
    """db (channels,), the sum of dy over everything else."""
    zero = np.zeros(db.size)
    total = _sums(dy, dy, zero, zero, channels_last)[0]
    with np.errstate(all="ignore"):
        db[...] = total


@silent
def batch_norm_statistics(x: Array, mean: Array, variance: Array, channels_last: bool) -> None:
    """mean and biased variance (channels,) of x."""
    zero, count = np.zeros(mean.size), x.size // mean.size
    centre = _sums(x, x, zero, zero, channels_last)[0] / count
    mean[...] = centre
    variance[...] = _sums(x, x, centre, centre, channels_last)[1] / count


@silent
def batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, residual: Array | None, y: Array,
    epsilon: float, kind: str | None, alpha: float, channels_last: bool,
) -> None:  # fmt: skip
    """y = activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta + residual), per channel."""
    scale = gamma / np.sqrt(variance + x.dtype.type(epsilon))
    at, to = _matrix(x, channels_last), _matrix(y, channels_last)
    by = np.empty((0, 0), x.dtype) if residual is None else _matrix(residual, channels_last)
    mean, beta = typed(mean), typed(beta)
    parallel_for(
        at.shape[0],
        grain(at.shape[0], at.shape[1]),
        lambda begin, end: _normalize(at, mean, scale, beta, by, to, channels_last, begin, end),
    )
    if kind is not None:
        activation(y, y, kind, alpha)


@silent
def batch_norm_grad(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, y: Array | None, beta: Array | None, dx: Array,
    dz: Array | None, dgamma: Array, dbeta: Array, epsilon: float, masked: bool, channels_last: bool,
) -> None:  # fmt: skip
    """mean and variance are the batch's own: dx loses its components along 1 and along x - mean."""
    if masked and y is None and beta is not None:
        y = np.empty_like(x)
        batch_norm(x, gamma, beta, mean, variance, None, y, epsilon, None, 0.0, channels_last)
    if masked and y is not None:
        masked_dy = dx if dz is None else dz
        activation_grad(dy, y, None, masked_dy, "relu", 0.0)
        dy = masked_dy
    count, inverse = x.size // mean.size, 1 / np.sqrt(variance + np.float64(epsilon))
    total, product = _sums(dy, x, np.zeros(mean.size), mean.astype(np.float64), channels_last)
    dbeta[...] = total
    dgamma[...] = product * inverse
    scale, shift, slope = (
        a.astype(x.dtype) for a in (gamma * inverse, total / count, product * inverse * inverse / count)
    )
    dy, x, dx = (_matrix(a, channels_last) for a in (dy, x, dx))
    mean = typed(mean)
    parallel_for(
        x.shape[0],
        grain(x.shape[0], x.shape[1]),
        lambda begin, end: _normalize_grad(dy, x, mean, scale, shift, slope, dx, channels_last, begin, end),
    )


group_norm, group_norm_grad = by_batch_norm(batch_norm_statistics, batch_norm, batch_norm_grad)


def activation_grad_bias(
    dy: Array, y: Array, x: Array | None, dz: Array, db: Array, kind: str, alpha: float, channels_last: bool
) -> None:
    """dz = dy f'(x), and its sum over all but the channels."""
    activation_grad(dy, y, x, dz, kind, alpha)
    conv_grad_bias(dz, db, channels_last)


def _matrix(x: Array, channels_last: bool) -> Array:
    """x as (rows, channels), or channels first as (n * channels, inner)."""
    return typed(x).reshape((-1, x.shape[-1]) if channels_last else (prod(x.shape[:2]), prod(x.shape[2:])))


def _sums(a: Array, x: Array, a0: Array, x0: Array, channels_last: bool) -> Array:
    """The sums of a - a0 and of (a - a0) * (x - x0), per channel: (2, channels), float64."""
    a, x = _matrix(a, channels_last), _matrix(x, channels_last)
    parts = max(1, min(64, x.size >> 16)) if channels_last else 1
    sums = np.zeros((parts, 2, a0.size))
    if channels_last:
        parallel_for(parts, 1, lambda begin, end: _sum_rows(a, x, a0, x0, sums, begin, end))
    else:
        step = grain(a0.size, x.size // a0.size)
        parallel_for(a0.size, step, lambda begin, end: _sum_planes(a, x, a0, x0, sums[0], begin, end))
    total: Array = np.add.reduce(sums, axis=0)
    return total


@kernel
def _sum_rows(a: Array, x: Array, a0: Array, x0: Array, sums: Array, begin: int, end: int) -> None:
    rows, parts = x.shape[0], sums.shape[0]
    for part in range(begin, end):
        first, second = sums[part, 0], sums[part, 1]
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            a_row, x_row = a[row], x[row]
            for c in range(a0.size):
                factor = a_row[c] - a0[c]
                first[c] += factor
                second[c] += factor * (x_row[c] - x0[c])


@kernel
def _sum_planes(a: Array, x: Array, a0: Array, x0: Array, sums: Array, begin: int, end: int) -> None:
    channels, inner = a0.size, x.shape[1]
    whole = inner - inner % LANES
    for c in range(begin, end):
        first, second = np.zeros(LANES), np.zeros(LANES)
        for plane in range(c, x.shape[0], channels):
            for start in range(0, whole, LANES):
                a_part, x_part = a[plane, start:], x[plane, start:]
                for j in range(LANES):
                    factor = a_part[j] - a0[c]
                    first[j] += factor
                    second[j] += factor * (x_part[j] - x0[c])
            a_part, x_part = a[plane, whole:], x[plane, whole:]
            for j in range(inner - whole):
                factor = a_part[j] - a0[c]
                first[j] += factor
                second[j] += factor * (x_part[j] - x0[c])
        for j in range(LANES):
            sums[0, c] += first[j]
            sums[1, c] += second[j]


@kernel
def _normalize(
    x: Array, mean: Array, scale: Array, beta: Array, residual: Array, y: Array, channels_last: bool, begin: int,
    end: int,
) -> None:  # fmt: skip
    for row in range(begin, end):
        to, at = y[row], x[row]
        if residual.size:
            by = residual[row]
            for j in range(at.size):
                c = j if channels_last else row % mean.size
                to[j] = (at[j] - mean[c]) * scale[c] + beta[c] + by[j]
        else:
            for j in range(at.size):
                c = j if channels_last else row % mean.size
                to[j] = (at[j] - mean[c]) * scale[c] + beta[c]


@kernel
def _normalize_grad(
    dy: Array, x: Array, mean: Array, scale: Array, shift: Array, slope: Array, dx: Array,
    channels_last: bool, begin: int, end: int,
) -> None:  # fmt: skip
    """dx = scale * (dy - shift - (x - mean) * slope)."""
    for row in range(begin, end):
        to, by, at = dx[row], dy[row], x[row]
        if channels_last:
            for c in range(mean.size):
                to[c] = scale[c] * (by[c] - shift[c] - (at[c] - mean[c]) * slope[c])
        else:
            c = row % mean.size
            for j in range(at.size):
                to[j] = scale[c] * (by[j] - shift[c] - (at[j] - mean[c]) * slope[c])
