"""Batch normalization with what is joined to it, and the gradients that are sums by channel."""

from typing import Any

import numpy as np

from ..backend import Backend
from ..geometry import integer, is_channels_last
from .check import (
    Array,
    DType,
    activation_alpha,
    apart,
    elementwise,
    number,
    serving,
    shaped,
    source,
    values,
    wide,
    written,
)
from .memory import empty


def batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    mean: Any = None,
    variance: Any = None,
    *,
    epsilon: float = 1e-3,
    training: bool = False,
    activation: str | None = None,
    alpha: float | None = None,
    residual: Any = None,
    data_format: str = "channels_last",
    out: Any = None,
    out_mean: Any = None,
    out_variance: Any = None,
) -> Any:
    """activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta + residual), for each channel, in one pass.

    x and residual (n, ..., c) or channels_first (n, c, ...); gamma, beta, mean, variance (c,); gamma None is 1, beta
    None is 0. training: mean and the biased variance are x's own and come back too, (y, mean, variance), in out_mean
    and out_variance if given; else y. Beside bfloat16 all that is (c,) is float32. out may be x or residual.
    Raises TypeError on another dtype, ValueError on sizes that don't fit or nothing to take statistics of.
    """
    given = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance, "residual": residual, "out": out}
    backend = serving(x, "x", **given, out_mean=out_mean, out_variance=out_variance)
    x, channels_last = normalized(x, "x", data_format, backend, not training)
    shape, dtype = (x.shape[-1 if channels_last else 1],), wide(x.dtype)
    gamma, beta = per_channel(gamma, "gamma", shape, dtype, 1, x), per_channel(beta, "beta", shape, dtype, 0, x)
    epsilon = number(epsilon, "epsilon", 0.0)
    kind, slope = activation_alpha(activation, alpha)
    if residual is not None:
        residual = shaped(residual, "residual", x.shape, x.dtype)
    if training:
        if mean is not None or variance is not None:
            raise ValueError("mean and variance must be None in training, which computes them, got arrays")
        given = {"x": x, "gamma": gamma, "beta": beta, "residual": residual}
        mean = result(out_mean, "out_mean", shape, dtype, x, **given)
        variance = result(out_variance, "out_variance", shape, dtype, x, **given, out_mean=mean)
    else:
        mean, variance = shaped(mean, "mean", shape, dtype), shaped(variance, "variance", shape, dtype)
        if out_mean is not None or out_variance is not None:
            raise ValueError("out_mean and out_variance must be None unless training, got arrays")
    y = elementwise(out, x, residual, gamma=gamma, beta=beta, mean=mean, variance=variance)
    if training:
        backend.batch_norm_statistics(x, mean, variance, channels_last)
    backend.batch_norm(x, gamma, beta, mean, variance, residual, y, epsilon, kind, slope, channels_last)
    return (y, mean, variance) if training else y


def batch_norm_grad(
    dy: Any,
    x: Any,
    gamma: Any,
    mean: Any,
    variance: Any,
    *,
    epsilon: float = 1e-3,
    activation: str | None = None,
    y: Any = None,
    beta: Any = None,
    data_format: str = "channels_last",
    out: Any = None,
    out_residual: Any = None,
    out_gamma: Any = None,
    out_beta: Any = None,
) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta of batch_norm in training; mean and variance are the ones it returned.

    activation: None, or "relu" with batch_norm's result y; then dz = dy where y > 0, else 0. Where y was made without a
    residual it may be None: it is found again from x and beta (None is 0), without reading it. out takes dx and may be
    dy. out_residual takes dz, the gradient of the residual, and may be dy; out_gamma and out_beta take dgamma, dbeta.
    """
    given = {"gamma": gamma, "mean": mean, "variance": variance, "y": y, "beta": beta, "out": out}
    outputs = {"out_residual": out_residual, "out_gamma": out_gamma, "out_beta": out_beta}
    backend = serving(dy, "dy", x=x, **given, **outputs)
    x, channels_last = normalized(x, "x", data_format, backend, False)
    shape, dtype = (x.shape[-1 if channels_last else 1],), wide(x.dtype)
    dy = shaped(dy, "dy", x.shape, x.dtype)
    gamma = per_channel(gamma, "gamma", shape, dtype, 1, x)
    mean, variance = shaped(mean, "mean", shape, dtype), shaped(variance, "variance", shape, dtype)
    epsilon = number(epsilon, "epsilon", 0.0)
    masked = activation not in (None, "linear")
    if activation not in (None, "linear", "relu"):
        raise ValueError(f"activation must be None, linear or relu, got {activation!r}")
    if y is not None:
        y = shaped(y, "y", x.shape, x.dtype)
    elif masked:
        beta = per_channel(beta, "beta", shape, dtype, 0, x)
    given = {"x": x, "y": y, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    dx = elementwise(out, dy, **given)
    dz = None
    if out_residual is not None:
        if y is None or not masked:
            raise ValueError("out_residual must be None without activation and y: the gradient is dy, got an array")
        dz = apart(elementwise(out_residual, dy, name="out_residual", **given), "out_residual", out=dx)
    taken = {**given, "dy": dy, "out": dx, "out_residual": dz}
    dgamma = result(out_gamma, "out_gamma", shape, dtype, x, **taken)
    dbeta = result(out_beta, "out_beta", shape, dtype, x, **taken, out_gamma=dgamma)
    backend.batch_norm_grad(
        dy, x, gamma, mean, variance, y, beta, dx, dz, dgamma, dbeta, epsilon, masked, channels_last
    )
    return dx, dgamma, dbeta


def group_norm(
    x: Any, gamma: Any, beta: Any, groups: int = 1, *, epsilon: float = 1e-3, out: Any = None
) -> tuple[Array, Array, Array]:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, and mean and the biased variance.

    x (n, c, ...): mean and variance (n, groups) are those of all positions of c / groups neighbouring channels of one
    example; gamma and beta (c,), None is 1 and 0. Of rows (n, c) with one group it is layer normalization. out may be
    x. Raises TypeError on another dtype than the backend's, ValueError on sizes that don't fit or an empty x.
    Ba, Kiros & Hinton, "Layer Normalization", 2016; Wu & He, "Group Normalization", 2018.
    """
    backend = serving(x, "x", gamma=gamma, beta=beta, out=out)
    x = source(x, "x", backend.dtypes)
    shape, dtype = channels_of(x), x.dtype
    gamma, beta = per_channel(gamma, "gamma", shape, dtype, 1, x), per_channel(beta, "beta", shape, dtype, 0, x)
    groups = integer(groups, "groups", 1)
    if shape[0] % groups:
        raise ValueError(f"groups must divide the {shape[0]} channels, got {groups}")
    epsilon = number(epsilon, "epsilon", 0.0)
    y = elementwise(out, x, gamma=gamma, beta=beta)
    mean, variance = empty((x.shape[0], groups), dtype, x), empty((x.shape[0], groups), dtype, x)
    backend.group_norm(x, gamma, beta, mean, variance, y, epsilon)
    return y, mean, variance


def group_norm_grad(
    dy: Any, x: Any, gamma: Any, mean: Any, variance: Any, *, epsilon: float = 1e-3, out: Any = None
) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta of group_norm; mean and variance (n, groups) are the ones it returned. out may be dy."""
    backend = serving(x, "x", dy=dy, gamma=gamma, mean=mean, variance=variance, out=out)
    x = source(x, "x", backend.dtypes)
    shape, dtype = channels_of(x), x.dtype
    dy, gamma = shaped(dy, "dy", x.shape, dtype), per_channel(gamma, "gamma", shape, dtype, 1, x)
    mean = source(mean, "mean", (dtype,))
    if mean.ndim != 2 or len(mean) != len(x) or not mean.size or shape[0] % mean.shape[1]:
        raise ValueError(f"mean must have shape ({len(x)}, groups) with groups of the {shape[0]}, got {mean.shape}")
    variance, epsilon = shaped(variance, "variance", mean.shape, dtype), number(epsilon, "epsilon", 0.0)
    dx = elementwise(out, dy, x=x, gamma=gamma, mean=mean, variance=variance)
    dgamma, dbeta = empty(shape, dtype, x), empty(shape, dtype, x)
    backend.group_norm_grad(dy, x, gamma, mean, variance, dx, dgamma, dbeta, epsilon)
    return dx, dgamma, dbeta


def activation_grad_bias(
    dy: Any,
    y: Any,
    kind: str | None,
    *,
    x: Any = None,
    alpha: float | None = None,
    data_format: str = "channels_last",
    out: Any = None,
    out_bias: Any = None,
) -> tuple[Array, Array]:
    """dz and db of y = activation(... + b) in one pass: dz = activation_grad(dy, y, kind), db (c,) its sum by channel.

    dy, y, x (n, ..., c) or channels_first (n, c, ...); "gelu" needs the input x, and y may be None. out takes dz and
    may be dy; out_bias takes db. Without an activation dz is dy itself.
    """
    backend = serving(dy, "dy", y=y, x=x, out=out, out_bias=out_bias)
    dy, channels_last = normalized(dy, "dy", data_format, backend, True)
    kind, slope = activation_alpha(kind, alpha)
    shape = (dy.shape[-1 if channels_last else 1],)
    if kind is None:
        db = result(out_bias, "out_bias", shape, wide(dy.dtype), dy, dy=dy)
        backend.conv_grad_bias(dy, db, channels_last)
        return dy, db
    x = None if x is None else shaped(x, "x", dy.shape, dy.dtype)
    if kind == "gelu":
        y = x = shaped(x, "x", dy.shape, dy.dtype)
    else:
        y, x = shaped(y, "y", dy.shape, dy.dtype), None
    dz = elementwise(out, dy, y=y, x=x)
    db = result(out_bias, "out_bias", shape, wide(dy.dtype), dy, dy=dy, y=y, x=x, out=dz)
    backend.activation_grad_bias(dy, y, x, dz, db, kind, slope, channels_last)
    return dz, db


def result(out: Any, name: str, shape: tuple[int, ...], dtype: DType, like: Array, /, **inputs: Any) -> Array:
    return empty(shape, dtype, like) if out is None else written(out, name, shape, dtype, **inputs)


def normalized(x: Any, name: str, data_format: str, backend: Backend, may_be_empty: bool) -> tuple[Array, bool]:
    x = values(x, name, backend)
    channels_last = is_channels_last(data_format)
    if x.ndim < 2 or (not may_be_empty and not x.size):
        raise ValueError(
            f"{name} must have at least 2 dimensions{'' if may_be_empty else ' of size >= 1'}, got {x.shape}"
        )
    return x, channels_last


def channels_of(x: Array) -> tuple[int]:
    if x.ndim < 2 or not x.size:
        raise ValueError(f"x must have at least 2 dimensions of size >= 1, got {x.shape}")
    return (x.shape[1],)


def per_channel(a: Any, name: str, shape: tuple[int, ...], dtype: DType, default: int, like: Array) -> Array:
    return np.full_like(like, default, dtype, shape=shape) if a is None else shaped(a, name, shape, dtype)
