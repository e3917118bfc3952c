"""torch.nn.functional's names, arguments and defaults on NumPy arrays, channels first; no PyTorch is needed.

    import tapwise.interop.functional as F

Arrays are float32, or float64 on the Numba and reference backends; views are taken, and copied where they aren't
contiguous. An image without a batch axis gives one without. Gradients have the names of torch.nn.grad: conv2d_input,
conv2d_weight. Indices of max pooling are int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from .given import Array, floats
from .images import FIRST, images, sizes
from .pools import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from .rows import (
    batch_norm,
    cross_entropy,
    elu,
    gelu,
    leaky_relu,
    linear,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    softmax,
    tanh,
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "conv1d", "conv1d_input",
    "conv1d_weight", "conv2d", "conv2d_input", "conv2d_weight", "conv3d", "conv3d_input", "conv3d_weight",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cross_entropy", "elu", "gelu", "leaky_relu", "linear",
    "log_softmax", "max_pool1d", "max_pool2d", "max_pool3d", "relu", "relu6", "sigmoid", "softmax", "tanh",
]  # fmt: skip

Sizes: TypeAlias = int | Sequence[int]


def conv_geometry(rank: int, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    stride = sizes(stride, rank, "stride")
    if padding == "same" and np.max(stride) != 1:
        raise ValueError(f'padding "same" must go with a stride of 1, got {stride}')
    padding = padding if isinstance(padding, str) else sizes(padding, rank, "padding")
    if isinstance(padding, str) and padding not in ("same", "valid"):
        raise ValueError(f'padding must be "same", "valid" or numbers, got {padding!r}')
    dilation = sizes(dilation, rank, "dilation")
    return {"strides": stride, "padding": padding, "dilation": dilation, "groups": groups, **FIRST}


def conv(rank: int, x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    x, alone = images(x, rank)
    b = None if b is None else floats(b, "bias")
    y = ops.conv(x, floats(w, "weight"), b, **conv_geometry(rank, stride, padding, dilation, groups))
    return y[0] if alone else y


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1, groups: int = 1
) -> Array:
    """input (n, ci, iw), weight (co, ci // groups, kw), bias (co,) -> (n, co, ow)."""
    return conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1, groups: int = 1
) -> Array:
    """input (n, ci, ih, iw), weight (co, ci // groups, kh, kw), bias (co,) -> (n, co, oh, ow)."""
    return conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1, groups: int = 1
) -> Array:
    """input (n, ci, id, ih, iw), weight (co, ci // groups, kd, kh, kw), bias (co,) -> (n, co, od, oh, ow)."""
    return conv(3, input, weight, bias, stride, padding, dilation, groups)


def conv_input(rank: int, shape: Sequence[int], w: Any, dy: Any, geometry: dict[str, Any]) -> Array:
    return ops.conv_grad_input(images(dy, rank, "grad_output")[0], floats(w, "weight"), tuple(shape), **geometry)


def conv_weight(rank: int, x: Any, shape: Sequence[int], dy: Any, geometry: dict[str, Any]) -> Array:
    x, dy = images(x, rank)[0], images(dy, rank, "grad_output")[0]
    return ops.conv_grad_weight(x, dy, tuple(shape), **geometry)


def conv1d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv1d with respect to input, of input_size."""
    return conv_input(1, input_size, weight, grad_output, conv_geometry(1, stride, padding, dilation, groups))


def conv2d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv2d with respect to input, of input_size."""
    return conv_input(2, input_size, weight, grad_output, conv_geometry(2, stride, padding, dilation, groups))


def conv3d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv3d with respect to input, of input_size."""
    return conv_input(3, input_size, weight, grad_output, conv_geometry(3, stride, padding, dilation, groups))


def conv1d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv1d with respect to weight, of weight_size."""
    return conv_weight(1, input, weight_size, grad_output, conv_geometry(1, stride, padding, dilation, groups))


def conv2d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv2d with respect to weight, of weight_size."""
    return conv_weight(2, input, weight_size, grad_output, conv_geometry(2, stride, padding, dilation, groups))


def conv3d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Sizes = 1, padding: Any = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of conv3d with respect to weight, of weight_size."""
    return conv_weight(3, input, weight_size, grad_output, conv_geometry(3, stride, padding, dilation, groups))


def conv_transpose(
    rank: int, x: Any, w: Any, b: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Array:
    x, alone = images(x, rank)
    stride, dilation = sizes(stride, rank, "stride"), sizes(dilation, rank, "dilation")
    more = sizes(output_padding, rank, "output_padding")
    if np.any(np.asarray(more) >= np.maximum(stride, dilation)):
        raise ValueError(f"output_padding must be less than stride or dilation, got {more} for {stride}, {dilation}")
    y = ops.conv_transpose(
        x, floats(w, "weight"), None if b is None else floats(b, "bias"), strides=stride,
        padding=sizes(padding, rank, "padding"), output_padding=more, dilation=dilation, groups=groups, **FIRST,
    )  # fmt: skip
    return y[0] if alone else y


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """input (n, ci, iw), weight (ci, co // groups, kw), bias (co,) -> (n, co, ow)."""
    return conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """input (n, ci, ih, iw), weight (ci, co // groups, kh, kw), bias (co,) -> (n, co, oh, ow)."""
    return conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """input (n, ci, id, ih, iw), weight (ci, co // groups, kd, kh, kw), bias (co,) -> (n, co, od, oh, ow)."""
    return conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
