"""Batch normalization, dropout, and the steps of the optimizers."""

from typing import Any

import numpy as np

from ..backend import current
from .check import Array, DType, elementwise, number, shaped, source, written
from .geometry import integer, is_channels_last


def batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    mean: Any = None,
    variance: Any = None,
    *,
    epsilon: float = 1e-3,
    training: bool = False,
    data_format: str = "channels_last",
    out: Any = None,
) -> Any:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, for each channel.

    x (n, ..., c) or channels_first (n, c, ...); gamma, beta, mean, variance (c,); gamma None is 1, beta None is 0.
    training: mean and the biased variance are x's own and come back too: (y, mean, variance); else y.
    Raises TypeError on another dtype, ValueError on sizes that don't fit or nothing to take statistics of.
    """
    backend = current()
    x, channels_last = normalized(x, "x", data_format, not training)
    shape, dtype = (x.shape[-1 if channels_last else 1],), x.dtype
    gamma, beta = per_channel(gamma, "gamma", shape, dtype, 1), per_channel(beta, "beta", shape, dtype, 0)
    epsilon = number(epsilon, "epsilon", 0.0)
    if training:
        if mean is not None or variance is not None:
            raise ValueError("mean and variance must be None in training, which computes them, got arrays")
        mean, variance = np.empty(shape, dtype), np.empty(shape, dtype)
    else:
        mean, variance = shaped(mean, "mean", shape, dtype), shaped(variance, "variance", shape, dtype)
    if out is None:
        y = np.empty(x.shape, dtype)
    else:
        y = written(out, "out", x.shape, dtype, x=x, gamma=gamma, beta=beta, mean=mean, variance=variance)
    if training:
        backend.batch_norm_statistics(x, mean, variance, channels_last)
    backend.batch_norm(x, gamma, beta, mean, variance, y, epsilon, channels_last)
    return (y, mean, variance) if training else y


def batch_norm_grad(
    dy: Any,
    x: Any,
    gamma: Any,
    mean: Any,
    variance: Any,
    *,
    epsilon: float = 1e-3,
    data_format: str = "channels_last",
    out: Any = None,
) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta of batch_norm in training; mean and variance are the ones it returned. out takes dx."""
    backend = current()
    x, channels_last = normalized(x, "x", data_format, False)
    shape, dtype = (x.shape[-1 if channels_last else 1],), x.dtype
    dy = shaped(dy, "dy", x.shape, dtype)
    gamma = per_channel(gamma, "gamma", shape, dtype, 1)
    mean, variance = shaped(mean, "mean", shape, dtype), shaped(variance, "variance", shape, dtype)
    epsilon = number(epsilon, "epsilon", 0.0)
    if out is None:
        dx = np.empty(x.shape, dtype)
    else:
        dx = written(out, "out", x.shape, dtype, dy=dy, x=x, gamma=gamma, mean=mean, variance=variance)
    dgamma, dbeta = np.empty(shape, dtype), np.empty(shape, dtype)
    backend.batch_norm_grad(dy, x, gamma, mean, variance, dx, dgamma, dbeta, epsilon, channels_last)
    return dx, dgamma, dbeta


def normalized(x: Any, name: str, data_format: str, empty: bool) -> tuple[Array, bool]:
    x = source(x, name, current().dtypes)
    channels_last = is_channels_last(data_format)
    if x.ndim < 2 or (not empty and not x.size):
        raise ValueError(f"{name} must have at least 2 dimensions{'' if empty else ' of size >= 1'}, got {x.shape}")
    return x, channels_last


def per_channel(a: Any, name: str, shape: tuple[int, ...], dtype: DType, default: int) -> Array:
    return np.full(shape, default, dtype) if a is None else shaped(a, name, shape, dtype)


def dropout(x: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """A share `rate` of the elements becomes 0, the others are divided by 1 - rate. Any shape; out may be x.

    rate in [0, 1), seed in [0, 2^64). The mask depends on seed and the element's number only: the same on every
    backend and for any number of threads.
    """
    backend = current()
    x = source(x, "x", backend.dtypes)
    rate, seed = number(rate, "rate", 0.0, 1.0), integer(seed, "seed", 0, 2**64)
    y = elementwise(out, x)
    backend.dropout(x, y, rate, seed)
    return y


def dropout_grad(dy: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """The mask is linear: its gradient is itself, with the same rate and seed."""
    return dropout(dy, rate, seed, out=out)


def sgd_update(
    w: Any, dw: Any, velocity: Any = None, *, learning_rate: float, momentum: float = 0.0, nesterov: bool = False
) -> None:
    """In place, any shape: v = momentum v - learning_rate dw, then w += v.

    nesterov: w += momentum v - learning_rate dw. velocity None, for momentum 0: w -= learning_rate dw.
    """
    backend = current()
    w, dw = parameter(w, dw)
    momentum, learning_rate = number(momentum, "momentum", 0.0), number(learning_rate, "learning_rate", 0.0)
    if (velocity is None) != (momentum == 0):
        raise ValueError(f"velocity must be given if momentum > 0 and only then, got momentum={momentum:g}")
    if velocity is not None:
        velocity = written(velocity, "velocity", w.shape, w.dtype, w=w, dw=dw)
    backend.sgd_update(w, dw, velocity, learning_rate, momentum, bool(nesterov))


def adam_update(
    w: Any,
    dw: Any,
    m: Any,
    v: Any,
    *,
    learning_rate: float,
    step: int,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> None:
    """In place, any shape: m += (1 - beta_1)(dw - m); v += (1 - beta_2)(dw^2 - v); w -= a m / (sqrt(v) + epsilon).

    a = learning_rate sqrt(1 - beta_2^step) / (1 - beta_1^step); step counts from 1.
    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, in the order of section 2's last paragraph.
    """
    backend = current()
    w, dw = parameter(w, dw)
    m = written(m, "m", w.shape, w.dtype, w=w, dw=dw)
    v = written(v, "v", w.shape, w.dtype, w=w, dw=dw, m=m)
    backend.adam_update(
        w,
        dw,
        m,
        v,
        number(learning_rate, "learning_rate", 0.0),
        number(beta_1, "beta_1", 0.0, 1.0),
        number(beta_2, "beta_2", 0.0, 1.0),
        number(epsilon, "epsilon", 0.0),
        integer(step, "step", 1),
    )


def parameter(w: Any, dw: Any) -> tuple[Array, Array]:
    """w to be updated in place, and its gradient."""
    w = source(w, "w", current().dtypes)
    dw = shaped(dw, "dw", w.shape, w.dtype)
    return written(w, "w", w.shape, w.dtype, dw=dw), dw
