"""The functions of torch.nn.functional that know no image: activations, linear, norms, losses; see functional."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .given import Array, floats


def relu(input: Any, inplace: bool = False) -> Array:
    """input where it is >= 0 or NaN, else 0; inplace writes to it."""
    return elementwise(input, "relu", None, inplace)


def relu6(input: Any, inplace: bool = False) -> Array:
    """relu, at most 6."""
    return elementwise(input, "relu6", None, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """input where it is >= 0, else negative_slope * input."""
    return elementwise(input, "leaky_relu", negative_slope, inplace)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Array:
    """input where it is > 0, else alpha * (exp(input) - 1)."""
    return elementwise(input, "elu", alpha, inplace)


def elementwise(x: Any, kind: str, alpha: float | None, inplace: bool) -> Array:
    array = floats(x, "input")
    if inplace and not np.may_share_memory(array, np.asarray(x)):
        raise ValueError(f"inplace must go with a C-contiguous input, got strides {np.asarray(x).strides}")
    return ops.activation(array, kind, alpha=alpha, out=array if inplace else None)


def sigmoid(input: Any) -> Array:
    """1 / (1 + exp(-input))."""
    return ops.sigmoid(floats(input, "input"))


def tanh(input: Any) -> Array:
    """The hyperbolic tangent."""
    return ops.tanh(floats(input, "input"))


def gelu(input: Any, approximate: str = "none") -> Array:
    """input (1 + erf(input / sqrt(2))) / 2; approximate may be "none" only."""
    if approximate != "none":
        raise ValueError(f'approximate must be "none", got {approximate!r}')
    return ops.gelu(floats(input, "input"))


def softmax(input: Any, dim: int) -> Array:
    """exp(input) / its sum along dim."""
    return ops.softmax(floats(input, "input"), axis=dim)


def log_softmax(input: Any, dim: int) -> Array:
    """log(softmax(input, dim))."""
    x = floats(input, "input")
    x = x - x.max(dim, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(dim, keepdims=True)))


def linear(input: Any, weight: Any, bias: Any = None) -> Array:
    """input (..., ci), weight (co, ci), bias (co,) -> (..., co)."""
    return ops.dense(floats(input, "input"), floats(weight, "weight").T, None if bias is None else floats(bias, "bias"))


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    """weight * (input - mean) / sqrt(var + eps) + bias by channel (n, c, ...).

    training takes the batch's mean and variance, and moves running_mean and running_var (c,), which may be None, in
    place: running = (1 - momentum) * running + momentum * the batch's, its variance the unbiased one.
    """
    x = floats(input, "input")
    scale, shift = (None if a is None else floats(a, n) for a, n in ((weight, "weight"), (bias, "bias")))
    options: dict[str, Any] = {"epsilon": eps, "data_format": "channels_first"}
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("running_mean and running_var must be arrays unless training, got None")
        means = floats(running_mean, "running_mean"), floats(running_var, "running_var")
        return np.asarray(ops.batch_norm(x, scale, shift, *means, **options))
    values = x.size // x.shape[1]
    if values < 2:
        raise ValueError(f"input must hold more than 1 value a channel in training, got shape {x.shape}")
    y, mean, variance = ops.batch_norm(x, scale, shift, training=True, **options)
    for running, new in ((running_mean, mean), (running_var, variance * (values / (values - 1)))):
        if running is not None:
            running += momentum * (new - running)
    return np.asarray(y)


def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """input (n, c) logits, target whole numbers (n,) or shares (n, c) -> the mean loss; "sum"; "none" gives (n,)."""
    logits, labels = floats(input, "input"), np.asarray(target)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    labels = floats(labels, "target") if labels.dtype.kind == "f" else class_numbers(labels, logits.shape[-1])
    losses = ops.softmax_cross_entropy(logits, labels)
    return losses if reduction == "none" else getattr(losses, reduction)()


def class_numbers(labels: Array, classes: int) -> Array:
    if labels.dtype.kind not in "iu":
        raise TypeError(f"target must hold whole numbers or shares, got {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"target must be >= 0 and < {classes}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int32)
