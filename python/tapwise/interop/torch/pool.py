"""aten's maximum and average pooling over two and three axes, and their gradients, on our kernels.

PyTorch sends one axis here as two, and images without a batch as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from ...geometry import PoolGeometry, pool_geometry, spatial
from ...ops import average_pool, average_pool_grad, max_pool
from .images import Images, from_indices, means, spread_means, with_indices
from .layout import Sizes, Tensor, per_axis
from .plans import Plan, served

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


class Windows(Images):
    """Images and the windows that go over them."""

    def __init__(
        self, x: Tensor, rank: int, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool,
        count_include_pad: bool = False, divisor: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(x, rank)
        self.size = per_axis(size, rank)
        self.strides = per_axis(stride, rank) if stride else self.size
        self.padding: Any = per_axis(padding, rank)
        self.dilation, self.ceil_mode = per_axis(dilation, rank), ceil_mode
        self.count_include_pad = count_include_pad
        if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(self.padding, self.size, self.dilation, strict=True)):
            raise ValueError("padding that PyTorch refuses")
        g = pool_geometry(
            self.layout.shape(self.full_shape), self.size, self.strides, self.padding, self.dilation, ceil_mode,
            count_include_pad, self.layout.data_format,
        )  # fmt: skip
        self.results(g)
        self.factor = 1.0
        if divisor is not None:
            if divisor == 0:
                raise ValueError("a divisor of 0")
            self.complete(g)
            self.factor = prod(self.size) / divisor

    def complete(self, g: PoolGeometry) -> None:
        """Pad as far as the windows reach, so that each mean is of prod(size) positions."""
        sizes, outputs = spatial(g.x_shape, g.channels_last), spatial(g.y_shape, g.channels_last)
        self.padding = tuple(
            (p, (o - 1) * s + k - n - p)
            for n, o, k, s, p in zip(sizes, outputs, self.size, self.strides, self.padding, strict=True)
        )
        self.ceil_mode, self.count_include_pad = False, True

    def averaging(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        return partial(
            operation, size=self.size, strides=self.strides, padding=self.padding, ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad, data_format=self.layout.data_format,
        )  # fmt: skip


def maximum(x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Windows(x, rank, *parameters)
    run = partial(
        max_pool, size=p.size, strides=p.strides, padding=p.padding, dilation=p.dilation, ceil_mode=p.ceil_mode,
        data_format=p.layout.data_format, return_indices=True,
    )  # fmt: skip
    return with_indices(p, MAX.format(rank), x, run)


def maximum_gradient(dy: Tensor, x: Tensor, indices: Tensor, rank: int, *parameters: Any) -> Plan:
    return from_indices(Windows(x, rank, *parameters), MAX_BACKWARD.format(rank), dy, indices)


def average(x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Windows(x, rank, *parameters)
    return means(p, AVERAGE.format(rank), x, p.averaging(average_pool), p.factor)


def average_gradient(dy: Tensor, x: Tensor, rank: int, *parameters: Any) -> Plan:
    p = Windows(x, rank, *parameters)
    return spread_means(p, AVERAGE_BACKWARD.format(rank), dy, p.averaging(average_pool_grad), p.factor)
