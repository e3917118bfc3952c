"""The fast layers of from-scratch course code, by the names and arguments that Stanford's CS231n assignments use.

    from tapwise.interop.cs231n import *

instead of the course's fast_layers and layer_utils. Images are (n, c, h, w), filters (f, c, hh, ww), biases (f,).
conv_param = {"stride": 1, "pad": 1}; pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}. Each forward gives
(out, cache) and each backward takes (dout, cache). Arrays are float32, or float64 on the Numba and reference backends;
views are taken, and copied where they aren't contiguous.

CS231n, "Convolutional Neural Networks for Visual Recognition", assignment 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from .given import Array, floats, whole

__all__ = [
    "conv_backward_fast",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_forward_fast",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "max_pool_backward_fast",
    "max_pool_forward_fast",
]


def geometry(conv_param: Mapping[str, Any]) -> dict[str, Any]:
    """conv_param as tapwise.conv takes it. Raises ValueError on a missing or unknown name, or a number too small."""
    need_names(conv_param, "conv_param", ("stride", "pad"))
    stride, pad = whole(conv_param["stride"], "stride", 1), whole(conv_param["pad"], "pad", 0)
    return {"strides": stride, "padding": pad, "data_format": "channels_first"}


def need_names(given: Mapping[str, Any], name: str, names: tuple[str, ...]) -> None:
    if missing := [each for each in names if each not in given]:
        raise ValueError(f"{name} must hold {', '.join(names)}, got no {', '.join(missing)}")


def conv_forward_fast(x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """x (n, c, h, w), w (f, c, hh, ww), b (f,) -> out (n, f, oh, ow), oh = (h + 2 pad - hh) // stride + 1, and cache.

    Raises TypeError on another float type, ValueError on sizes that don't fit.
    """
    x, w, b = floats(x, "x"), floats(w, "w"), floats(b, "b")
    return ops.conv(x, w, b, **geometry(conv_param)), (x, w, b, conv_param)


def conv_backward_fast(dout: Any, cache: Any) -> tuple[Array, Array, Array]:
    """dout (n, f, oh, ow) -> (dx, dw, db) of conv_forward_fast's x, w, b."""
    x, w, _, conv_param = cache
    dout, taken = floats(dout, "dout"), geometry(conv_param)
    dw, db = ops.conv_grad_weight_bias(x, dout, w.shape, **taken)
    return ops.conv_grad_input(dout, w, x.shape, **taken), dw, db


def max_pool_forward_fast(x: Any, pool_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """x (n, c, h, w) -> out (n, c, oh, ow), oh = (h - pool_height) // stride + 1, and cache."""
    x = floats(x, "x")
    need_names(pool_param, "pool_param", ("pool_height", "pool_width", "stride"))
    size = whole(pool_param["pool_height"], "pool_height", 1), whole(pool_param["pool_width"], "pool_width", 1)
    stride = whole(pool_param["stride"], "stride", 1)
    out, indices = ops.max_pool(x, size, strides=stride, data_format="channels_first", return_indices=True)
    return out, (indices, x.shape)


def max_pool_backward_fast(dout: Any, cache: Any) -> Array:
    """dout (n, c, oh, ow) -> dx; of equal values in a window the first one takes it all."""
    indices, x_shape = cache
    return ops.max_pool_grad(floats(dout, "dout"), indices, x_shape, data_format="channels_first")


def conv_relu_forward(x: Any, w: Any, b: Any, conv_param: Mapping[str, Any]) -> tuple[Array, Any]:
    """conv_forward_fast with a ReLU behind it, in one pass."""
    x, w, b = floats(x, "x"), floats(w, "w"), floats(b, "b")
    out = ops.conv(x, w, b, activation="relu", **geometry(conv_param))
    return out, ((x, w, b, conv_param), out)


def conv_relu_backward(dout: Any, cache: Any) -> tuple[Array, Array, Array]:
    """dout (n, f, oh, ow) -> (dx, dw, db)."""
    conv_cache, out = cache
    return conv_backward_fast(ops.activation_grad(floats(dout, "dout"), out, "relu"), conv_cache)


def conv_relu_pool_forward(
    x: Any, w: Any, b: Any, conv_param: Mapping[str, Any], pool_param: Mapping[str, Any]
) -> tuple[Array, Any]:
    """conv_relu_forward with max pooling behind it."""
    a, relu_cache = conv_relu_forward(x, w, b, conv_param)
    out, pool_cache = max_pool_forward_fast(a, pool_param)
    return out, (relu_cache, pool_cache)


def conv_relu_pool_backward(dout: Any, cache: Any) -> tuple[Array, Array, Array]:
    """dout (n, f, oh, ow) -> (dx, dw, db)."""
    relu_cache, pool_cache = cache
    return conv_relu_backward(max_pool_backward_fast(dout, pool_cache), relu_cache)


def conv_bn_relu_forward(
    x: Any,
    w: Any,
    b: Any,
    gamma: Any,
    beta: Any,
    conv_param: Mapping[str, Any],
    bn_param: dict[str, Any],
) -> tuple[Array, Any]:
    """conv_forward_fast, spatial batch normalization with gamma, beta (f,), ReLU.

    bn_param: "mode" "train" or "test", "eps" (1e-5), "momentum" (0.9), "running_mean" and "running_var" (f,), which
    training moves: running = momentum * running + (1 - momentum) * the batch's, as in the course.
    """
    need_names(bn_param, "bn_param", ("mode",))
    mode, epsilon, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    if mode not in ("train", "test"):
        raise ValueError(f'bn_param["mode"] must be "train" or "test", got {mode!r}')
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    gamma, beta = floats(gamma, "gamma"), floats(beta, "beta")
    channels = a.shape[1]
    mean = bn_param.setdefault("running_mean", np.zeros(channels, a.dtype))
    variance = bn_param.setdefault("running_var", np.zeros(channels, a.dtype))
    options: dict[str, Any] = {"epsilon": epsilon, "activation": "relu", "data_format": "channels_first"}
    if mode == "test":
        means = floats(mean, "running_mean"), floats(variance, "running_var")
        return ops.batch_norm(a, gamma, beta, *means, **options), None
    out, batch_mean, batch_variance = ops.batch_norm(a, gamma, beta, training=True, **options)
    bn_param["running_mean"] = (momentum * mean + (1 - momentum) * batch_mean).astype(a.dtype)
    bn_param["running_var"] = (momentum * variance + (1 - momentum) * batch_variance).astype(a.dtype)
    return out, (conv_cache, (a, gamma, batch_mean, batch_variance, out, options))


def conv_bn_relu_backward(dout: Any, cache: Any) -> tuple[Array, Array, Array, Array, Array]:
    """dout (n, f, oh, ow) -> (dx, dw, db, dgamma, dbeta) of a forward in mode "train"."""
    if cache is None:
        raise ValueError('cache must be that of a forward in mode "train", got one in mode "test"')
    conv_cache, (a, gamma, mean, variance, out, options) = cache
    da, dgamma, dbeta = ops.batch_norm_grad(floats(dout, "dout"), a, gamma, mean, variance, y=out, **options)
    return (*conv_backward_fast(da, conv_cache), dgamma, dbeta)
