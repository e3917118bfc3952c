"""aten's pooling to a given size over two and three axes, and its gradients, on our kernels. One axis comes as two."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...geometry import adaptive_geometry
from ...ops import adaptive_average_pool, adaptive_average_pool_grad, adaptive_max_pool
from .images import Images, from_indices, means, spread_means, with_indices
from .layout import Sizes, Tensor, per_axis
from .plans import Plan, served

MAX, MAX_BACKWARD = "adaptive_max_pool{}d", "adaptive_max_pool{}d_backward"
AVERAGE, AVERAGE_BACKWARD = "_adaptive_avg_pool{}d", "_adaptive_avg_pool{}d_backward"


def max_pool(rank: int, x: Tensor, output_size: Sizes) -> Any:
    """(y, indices int64), or None where PyTorch's kernel has to be called."""
    name = MAX.format(rank)
    return served(name, (name, x.dtype, x.shape, x.stride(), *output_size), maximum, (x,), rank, output_size)


def max_pool_backward(rank: int, dy: Tensor, x: Tensor, indices: Tensor) -> Any:
    """dx, or None where PyTorch's kernel has to be called."""
    name = MAX_BACKWARD.format(rank)
    key = (
        name, dy.dtype, dy.shape, dy.stride(), x.dtype, x.shape, x.stride(), indices.dtype, indices.shape,
        indices.stride(),
    )  # fmt: skip
    return served(name, key, maximum_gradient, (dy, x, indices), rank)


def avg_pool(rank: int, x: Tensor, output_size: Sizes) -> Any:
    """y, or None where PyTorch's kernel has to be called."""
    name = AVERAGE.format(rank)
    return served(name, (name, x.dtype, x.shape, x.stride(), *output_size), average, (x,), rank, output_size)


def avg_pool_backward(rank: int, dy: Tensor, x: Tensor) -> Any:
    """dx, or None where PyTorch's kernel has to be called."""
    name = AVERAGE_BACKWARD.format(rank)
    key = name, dy.dtype, dy.shape, dy.stride(), x.dtype, x.shape, x.stride()
    return served(name, key, average_gradient, (dy, x), rank)


class Resized(Images):
    """Images and what they become."""

    def __init__(self, x: Tensor, rank: int, output_size: Sizes) -> None:
        super().__init__(x, rank)
        self.output_size = per_axis(output_size, rank)
        shape = self.layout.shape(self.full_shape)
        self.results(adaptive_geometry(shape, self.output_size, self.layout.data_format))


def maximum(x: Tensor, rank: int, output_size: Sizes) -> Plan:
    p = Resized(x, rank, output_size)
    # It has no indices_out: PyTorch's tensor takes them from its array.
    run = partial(adaptive_max_pool, output_size=p.output_size, data_format=p.layout.data_format, return_indices=True)

    def with_copied_indices(x: Any, *, out: Any, indices_out: Any) -> None:
        indices_out[...] = run(x, out=out)[1]

    return with_indices(p, MAX.format(rank), x, with_copied_indices)


def maximum_gradient(dy: Tensor, x: Tensor, indices: Tensor, rank: int) -> Plan:
    return from_indices(Resized(x, rank, dy.shape[-rank:]), MAX_BACKWARD.format(rank), dy, indices)


def average(x: Tensor, rank: int, output_size: Sizes) -> Plan:
    p = Resized(x, rank, output_size)
    run = partial(adaptive_average_pool, output_size=p.output_size, data_format=p.layout.data_format)
    return means(p, AVERAGE.format(rank), x, run)


def average_gradient(dy: Tensor, x: Tensor, rank: int) -> Plan:
    p = Resized(x, rank, dy.shape[-rank:])
    run = partial(adaptive_average_pool_grad, data_format=p.layout.data_format)
    return spread_means(p, AVERAGE_BACKWARD.format(rank), dy, run)
