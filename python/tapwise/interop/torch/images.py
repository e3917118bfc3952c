"""The images of one pooling call: their layout, and calls that allocate, run an operation and count copies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ...geometry import PoolGeometry
from ...ops import max_pool_grad
from ...ops.check import Array
from .layout import Layout, Tensor, prefers_channels_last
from .plans import Plan, need_float32


class Images:
    """x (n, c, *spatial) or without n, which y hasn't either then; the sizes of y come with its geometry."""

    def __init__(self, x: Tensor, rank: int) -> None:
        need_float32(x)
        if x.ndim not in (rank + 1, rank + 2):
            raise ValueError("an input of another number of dimensions")
        self.batched = x.ndim == rank + 2
        self.layout = Layout(rank + 2, self.batched and prefers_channels_last(x))
        self.full_shape = tuple(x.shape) if self.batched else (1, *x.shape)
        self.x_shape, self.x_strides = tuple(x.shape), self.cut(self.layout.strides(self.full_shape))

    def cut(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return sizes if self.batched else sizes[1:]

    def results(self, g: PoolGeometry) -> None:
        y_shape = tuple(g.y_shape[self.layout.axes.index(axis)] for axis in range(len(self.full_shape)))
        self.y_shape, self.y_strides = self.cut(y_shape), self.cut(self.layout.strides(y_shape))

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


def with_indices(p: Images, name: str, x: Tensor, run: Callable[..., Any]) -> Plan:
    """run(x, out, indices_out), which makes indices of int32; PyTorch's are int64."""
    copies, layout, array = not p.layout.has(x), p.layout, p.array

    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        if copies:
            x = layout.copy(x, name)
        y, indices = p.empty_y(x), p.empty_y(x, torch.int32)
        run(array(x), out=array(y), indices_out=array(indices))
        return y, indices.long()

    return call


def from_indices(p: Images, name: str, dy: Tensor, indices: Tensor) -> Plan:
    p.need_fit(dy, indices)
    layout, array, copies_dy, copies_indices = p.layout, p.array, not p.layout.has(dy), not p.layout.has(indices)
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


def means(p: Images, name: str, x: Tensor, run: Callable[..., Any], factor: float = 1.0) -> Plan:
    """run(x, out), times factor."""
    copies, layout, array = not p.layout.has(x), p.layout, p.array

    def call(x: Tensor) -> Tensor:
        if copies:
            x = layout.copy(x, name)
        y = p.empty_y(x)
        run(array(x), out=array(y))
        return y if factor == 1 else y.mul_(factor)

    return call


def spread_means(p: Images, name: str, dy: Tensor, run: Callable[..., Any], factor: float = 1.0) -> Plan:
    """run(dy, x_shape, out), times factor."""
    p.need_fit(dy)
    copies, layout, array = not p.layout.has(dy), p.layout, p.array
    run = partial(run, x_shape=layout.shape(p.full_shape))

    def call(dy: Tensor, x: Tensor) -> Tensor:
        if copies:
            dy = layout.copy(dy, name)
        dx = p.empty_x(dy)
        run(array(dy), out=array(dx))
        return dx if factor == 1 else dx.mul_(factor)

    return call
