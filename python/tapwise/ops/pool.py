"""Maximum and average pooling over windows, over whole images, and to a given size, with their gradients."""

from math import prod
from typing import Any

import numpy as np

from ..backend import Backend
from ..geometry import (
    Padding,
    PoolGeometry,
    Shape,
    Sizes,
    adaptive_geometry,
    image_shape,
    is_channels_last,
    pool_geometry,
    spatial,
)
from .check import Array, serving, shaped, values, written
from .memory import empty

INT32 = np.dtype(np.int32)


def max_pool(
    x: Any,
    size: Sizes,
    *,
    strides: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    data_format: str = "channels_last",
    return_indices: bool = False,
    out: Any = None,
    indices_out: Any = None,
) -> Any:
    """The largest of each window; a NaN in it wins. strides=None is size.

    x (n, *spatial, c) -> y (n, *o, c), or with return_indices (y, indices): int32, flat over the spatial axes of
    one image and channel, the first of equals; indices_out takes them. ceil_mode: a last window that starts in the
    input counts, as in PyTorch.
    Raises TypeError on another dtype, ValueError on sizes that don't fit or a window without an input element.
    """
    backend = serving(x, "x", out=out, indices_out=indices_out)
    x = values(x, "x", backend)
    p = pool_geometry(x.shape, size, strides, padding, dilation, ceil_mode, False, data_format)
    return largest(x, p, return_indices, out, backend, indices_out)


def max_pool_grad(
    dy: Any, indices: Any, x_shape: Shape, *, data_format: str = "channels_last", out: Any = None
) -> Array:
    """The gradient of max_pool, global and adaptive too: dy and indices (n, *o, c) -> dx of x_shape.

    Raises ValueError on indices that aren't in the plane of x_shape.
    """
    backend = serving(dy, "dy", indices=indices, out=out)
    dy = values(dy, "dy", backend)
    indices = shaped(indices, "indices", dy.shape, INT32)
    p = pool_geometry(x_shape, 1, None, "valid", 1, False, False, data_format)
    outputs = spatial(dy.shape, p.channels_last)
    wanted = image_shape(p.x_shape[0], outputs, p.channels, p.channels_last)
    if len(outputs) != p.rank or dy.shape != wanted:
        raise ValueError(f"dy must have n, c and the dimensions of x_shape {p.x_shape}, got shape {dy.shape}")
    dx = result(out, p.x_shape, dy, dy=dy, indices=indices)
    backend.max_pool_grad(dy, indices, dx, p._replace(y_shape=dy.shape))
    return dx


def average_pool(
    x: Any,
    size: Sizes,
    *,
    strides: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: str = "channels_last",
    out: Any = None,
) -> Array:
    """The mean of each window: x (n, *spatial, c) -> y (n, *o, c).

    The divisor counts the window's positions in the input, or with count_include_pad those in the padded input.
    Raises TypeError on another dtype, ValueError on sizes that don't fit or a window without an input element.
    """
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    p = pool_geometry(x.shape, size, strides, padding, dilation, ceil_mode, count_include_pad, data_format)
    y = result(out, p.y_shape, x, x=x)
    backend.average_pool(x, y, p)
    return y


def average_pool_grad(
    dy: Any,
    x_shape: Shape,
    size: Sizes,
    *,
    strides: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: str = "channels_last",
    out: Any = None,
) -> Array:
    """The gradient of average_pool: dy (n, *o, c) -> dx of x_shape."""
    p = pool_geometry(x_shape, size, strides, padding, dilation, ceil_mode, count_include_pad, data_format)
    return spread(dy, p, out)


def global_max_pool(
    x: Any,
    *,
    keepdims: bool = False,
    data_format: str = "channels_last",
    return_indices: bool = False,
    out: Any = None,
) -> Any:
    """The largest of each image and channel: x (n, *spatial, c) -> y (n, c), or (n, 1, ..., c) with keepdims.

    return_indices adds the indices, shaped as max_pool_grad takes them: (n, 1, ..., c).
    """
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    p = global_geometry(x.shape, data_format)
    shape = p.y_shape if keepdims else (p.x_shape[0], p.channels)
    y = result(out, shape, x, x=x)
    found = largest(x, p, return_indices, y.reshape(p.y_shape), backend)
    return (y, found[1]) if return_indices else y


def global_average_pool(
    x: Any, *, keepdims: bool = False, data_format: str = "channels_last", out: Any = None
) -> Array:
    """The mean of each image and channel: x (n, *spatial, c) -> y (n, c), or (n, 1, ..., c) with keepdims."""
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    p = global_geometry(x.shape, data_format)
    y = result(out, p.y_shape if keepdims else (p.x_shape[0], p.channels), x, x=x)
    backend.average_pool(x, y.reshape(p.y_shape), p)
    return y


def global_average_pool_grad(dy: Any, x_shape: Shape, *, data_format: str = "channels_last", out: Any = None) -> Array:
    """The gradient of global_average_pool: dy (n, c) or (n, 1, ..., c) -> dx of x_shape."""
    p = global_geometry(x_shape, data_format)
    dy = values(dy, "dy", serving(dy, "dy", out=out))
    if dy.shape == (p.x_shape[0], p.channels):
        dy = dy.reshape(p.y_shape)
    return spread(dy, p, out)


def adaptive_max_pool(
    x: Any,
    output_size: Sizes,
    *,
    data_format: str = "channels_last",
    return_indices: bool = False,
    out: Any = None,
) -> Any:
    """max_pool to o = output_size outputs on each axis; window j is [floor(j * in / o), ceil((j + 1) * in / o))."""
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    return largest(x, adaptive_geometry(x.shape, output_size, data_format), return_indices, out, backend)


def adaptive_average_pool(x: Any, output_size: Sizes, *, data_format: str = "channels_last", out: Any = None) -> Array:
    """average_pool to o = output_size outputs on each axis; window j is [floor(j * in / o), ceil((j + 1) * in / o))."""
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    p = adaptive_geometry(x.shape, output_size, data_format)
    y = result(out, p.y_shape, x, x=x)
    backend.average_pool(x, y, p)
    return y


def adaptive_average_pool_grad(
    dy: Any, x_shape: Shape, *, data_format: str = "channels_last", out: Any = None
) -> Array:
    """The gradient of adaptive_average_pool: dy (n, *o, c) -> dx of x_shape; the output size is dy's."""
    dy = values(dy, "dy", serving(dy, "dy", out=out))
    outputs = spatial(dy.shape, is_channels_last(data_format))
    return spread(dy, adaptive_geometry(x_shape, outputs, data_format), out)


def result(out: Any, shape: Shape, like: Array, **inputs: Array) -> Array:
    return empty(shape, like.dtype, like) if out is None else written(out, "out", shape, like.dtype, **inputs)


def global_geometry(x_shape: Shape, data_format: str) -> PoolGeometry:
    return pool_geometry(
        x_shape, spatial(x_shape, is_channels_last(data_format)), 1, "valid", 1, False, False, data_format
    )


def largest(
    x: Array, p: PoolGeometry, return_indices: bool, out: Any, backend: Backend, indices_out: Any = None
) -> Any:
    if return_indices and prod(spatial(p.x_shape, p.channels_last)) > 2**31:
        raise ValueError(f"x must have at most 2**31 elements in a plane to number them in int32, got {p.x_shape}")
    y = result(out, p.y_shape, x, x=x)
    indices = None
    if indices_out is not None:
        indices = written(indices_out, "indices_out", p.y_shape, INT32, x=x, y=y)
    elif return_indices:
        indices = empty(p.y_shape, INT32, x)
    backend.max_pool(x, y, indices, p)
    return y if indices is None else (y, indices)


def spread(dy: Any, p: PoolGeometry, out: Any) -> Array:
    backend = serving(dy, "dy", out=out)
    dy = values(dy, "dy", backend)
    if dy.shape != p.y_shape:
        raise ValueError(f"dy must have shape {p.y_shape}, got {dy.shape}")
    dx = result(out, p.x_shape, dy, dy=dy)
    backend.average_pool_grad(dy, dx, p)
    return dx
