"""aten's maximum and average pooling over two and three axes, and their gradients, on our kernels.

PyTorch sends one axis here as two, and images without a batch as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import torch

from ...ops import average_pool, average_pool_grad, max_pool, max_pool_grad
from ...ops.check import Array
from ...ops.geometry import PoolGeometry, pool_geometry, spatial
from .layout import Layout, Sizes, Tensor, per_axis, prefers_channels_last
from .plans import Plan, need_float32, served

MAX, MAX_BACKWARD = "max_pool{}d_with_indices", "max_pool{}d_with_indices_backward"
AVERAGE, AVERAGE_BACKWARD = "avg_pool{}d", "avg_pool{}d_backward"


def max_pool_with_indices(
    rank: int, x: Tensor, size: Sizes, stride: Sizes = (), padding: Sizes = (0,), dilation: Sizes = (1,),
    ceil_mode: bool = False,
) -> Any:  # fmt: skip
    """(y, indices int64), or None where PyTorch's kernel has to be called."""
    name = MAX.format(rank)
    key = name, x.dtype, x.shape, x.stride(), *map(tuple, (size, stride, padding, dilation)), ceil_mode
    return served(name, key, maximum, (x,), rank, size, stride, padding, dilation, ceil_mode)


def max_pool_with_indices_backward(
    rank: int, dy: Tensor, x: Tensor, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool,
    indices: Tensor,
) -> Any:  # fmt: skip
    """dx, or None where PyTorch's kernel has to be called."""
    name = MAX_BACKWARD.format(rank)
    key = (
        name, dy.dtype, dy.shape, dy.stride(), x.dtype, x.shape, x.stride(), indices.dtype, indices.shape,
        indices.stride(), *map(tuple, (size, stride, padding, dilation)), ceil_mode,
    )  # fmt: skip
    tensors = dy, x, indices
    return served(name, key, maximum_gradient, tensors, rank, size, stride, padding, dilation, ceil_mode)


def avg_pool(
    rank: int, x: Tensor, size: Sizes, stride: Sizes = (), padding: Sizes = (0,), ceil_mode: bool = False,
    count_include_pad: bool = True, divisor: int | None = None,
) -> Any:  # fmt: skip
    """y, or None where PyTorch's kernel has to be called."""
    name = AVERAGE.format(rank)
    last = ceil_mode, count_include_pad, divisor
    key = name, x.dtype, x.shape, x.stride(), *map(tuple, (size, stride, padding)), *last
    return served(name, key, average, (x,), rank, size, stride, padding, (1,), *last)


def avg_pool_backward(
    rank: int, dy: Tensor, x: Tensor, size: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> Any:  # fmt: skip
    """dx, or None where PyTorch's kernel has to be called."""
    name = AVERAGE_BACKWARD.format(rank)
    last = ceil_mode, count_include_pad, divisor
    sizes = map(tuple, (size, stride, padding))
    key = name, dy.dtype, dy.shape, dy.stride(), x.dtype, x.shape, x.stride(), *sizes, *last
    return served(name, key, average_gradient, (dy, x), rank, size, stride, padding, (1,), *last)


class Pooling:
    """The sizes of one call and the layout of its tensors; x may have no batch, and y has none then."""

    def __init__(
        self, x: Tensor, rank: int, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool,
        count_include_pad: bool = False, divisor: int | None = None,
    ) -> None:  # fmt: skip
        need_float32(x)
        if x.ndim not in (rank + 1, rank + 2):
            raise ValueError("an input of another number of dimensions")
        self.batched = x.ndim == rank + 2
        self.layout = Layout(rank + 2, self.batched and prefers_channels_last(x))
        self.size = per_axis(size, rank)
        self.strides = per_axis(stride, rank) if stride else self.size
        self.padding: Any = per_axis(padding, rank)
        self.dilation, self.ceil_mode = per_axis(dilation, rank), ceil_mode
        self.count_include_pad = count_include_pad
        if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(self.padding, self.size, self.dilation, strict=True)):
            raise ValueError("padding that PyTorch refuses")
        self.full_shape = tuple(x.shape) if self.batched else (1, *x.shape)
        g = self.geometry()
        self.factor = 1.0
        if divisor is not None:
            if divisor == 0:
                raise ValueError("a divisor of 0")
            self.complete(g)
            self.factor = prod(self.size) / divisor
        y_shape = tuple(g.y_shape[self.layout.axes.index(axis)] for axis in range(rank + 2))
        first = 0 if self.batched else 1
        self.x_shape, self.x_strides = tuple(x.shape), self.layout.strides(self.full_shape)[first:]
        self.y_shape, self.y_strides = y_shape[first:], self.layout.strides(y_shape)[first:]

    def geometry(self) -> PoolGeometry:
        return pool_geometry(
            self.layout.shape(self.full_shape), self.size, self.strides, self.padding, self.dilation, self.ceil_mode,
            self.count_include_pad, self.layout.data_format,
        )  # fmt: skip

    def complete(self, g: PoolGeometry) -> None:
        """Pad as far as the windows reach, so that each mean is of prod(size) positions."""
        sizes, outputs = spatial(g.x_shape, g.channels_last), spatial(g.y_shape, g.channels_last)
        self.padding = tuple(
            (p, (o - 1) * s + k - n - p)
            for n, o, k, s, p in zip(sizes, outputs, self.size, self.strides, self.padding, strict=True)
        )
        self.ceil_mode, self.count_include_pad = False, True

    def need_fit(self, dy: Tensor, indices: Tensor | None = None) -> None:
        need_float32(dy)
        if tuple(dy.shape) != self.y_shape:
            raise ValueError("a gradient of another shape")
        if indices is not None and (indices.dtype is not torch.int64 or tuple(indices.shape) != self.y_shape):
            raise ValueError("indices of another type or shape")

    def array(self, x: Tensor) -> Array:
        a: Array = x.numpy()
        return a.transpose(self.layout.axes) if self.layout.channels_last else a if self.batched else a[None]

    def empty_y(self, like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return like.new_empty_strided(self.y_shape, self.y_strides, dtype=dtype)

    def empty_x(self, like: Tensor) -> Tensor:
        return like.new_empty_strided(self.x_shape, self.x_strides)

    def averaging(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        return partial(
            operation, size=self.size, strides=self.strides, padding=self.padding, ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad, data_format=self.layout.data_format,
        )  # fmt: skip


def maximum(x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Pooling(x, rank, *parameters)
    copies, layout, array, name = not p.layout.has(x), p.layout, p.array, MAX.format(rank)
    run = partial(
        max_pool, size=p.size, strides=p.strides, padding=p.padding, dilation=p.dilation, ceil_mode=p.ceil_mode,
        data_format=layout.data_format, return_indices=True,
    )  # fmt: skip

    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        if copies:
            x = layout.copy(x, name)
        y, indices = p.empty_y(x), p.empty_y(x, torch.int32)
        run(array(x), out=array(y), indices_out=array(indices))
        return y, indices.long()

    return call


def maximum_gradient(dy: Tensor, x: Tensor, indices: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Pooling(x, rank, *parameters)
    p.need_fit(dy, indices)
    layout, array, name = p.layout, p.array, MAX_BACKWARD.format(rank)
    copies_dy, copies_indices = not layout.has(dy), not layout.has(indices)
    run = partial(max_pool_grad, x_shape=layout.shape(p.full_shape), data_format=layout.data_format)

    def call(dy: Tensor, x: Tensor, indices: Tensor) -> Tensor:
        if copies_dy:
            dy = layout.copy(dy, name)
        if copies_indices:
            indices = layout.copy(indices, name)
        dx = p.empty_x(dy)
        run(array(dy), array(indices.int()), out=array(dx))
        return dx

    return call


def average(x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Pooling(x, rank, *parameters)
    copies, layout, array, name = not p.layout.has(x), p.layout, p.array, AVERAGE.format(rank)
    run, factor = p.averaging(average_pool), p.factor

    def call(x: Tensor) -> Tensor:
        if copies:
            x = layout.copy(x, name)
        y = p.empty_y(x)
        run(array(x), out=array(y))
        return y if factor == 1 else y.mul_(factor)

    return call


def average_gradient(dy: Tensor, x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Pooling(x, rank, *parameters)
    p.need_fit(dy)
    copies, layout, array, name = not p.layout.has(dy), p.layout, p.array, AVERAGE_BACKWARD.format(rank)
    run = partial(p.averaging(average_pool_grad), x_shape=layout.shape(p.full_shape))
    factor = p.factor

    def call(dy: Tensor, x: Tensor) -> Tensor:
        if copies:
            dy = layout.copy(dy, name)
        dx = p.empty_x(dy)
        run(array(dy), out=array(dx))
        return dx if factor == 1 else dx.mul_(factor)

    return call
