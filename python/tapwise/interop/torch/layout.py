"""Tensors as arrays: which layout a tensor has, and the same memory seen as our operations take it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import torch
from torch._prims_common import suggest_memory_format

from ...geometry import Shape
from ...ops.check import Array
from ..counts import torch_counts

Tensor: TypeAlias = Any  # torch.Tensor; PyTorch's own types aren't there when ours are checked
Sizes: TypeAlias = Sequence[int]

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def prefers_channels_last(x: Tensor) -> bool:
    """PyTorch's rule for results of pooling; sizes of 1 have strides too, which decide it."""
    return suggest_memory_format(x) in FORMATS.values()


def per_axis(sizes: Sizes, rank: int) -> Shape:
    """One for each axis, from as many or from one."""
    return tuple(sizes) * rank if len(sizes) == 1 else tuple(sizes)


class Layout:
    """How tensors (n, c, *spatial) of some number of dimensions lie in memory, for one geometry."""

    def __init__(self, dimensions: int, channels_last: bool) -> None:
        self.channels_last = channels_last
        self.data_format = "channels_last" if channels_last else "channels_first"
        self.memory_format = FORMATS[dimensions] if channels_last else torch.contiguous_format
        spatial = range(2, dimensions)
        self.axes = (0, *spatial, 1) if channels_last else tuple(range(dimensions))
        self.weight_axes = (*spatial, 1, 0) if channels_last else tuple(range(dimensions))

    def shape(self, shape: Shape) -> Shape:
        """A tensor's shape as ours: channels where the layout has them."""
        return tuple(shape[axis] for axis in self.axes)

    def weight_shape(self, shape: Shape) -> Shape:
        return tuple(shape[axis] for axis in self.weight_axes)

    def strides(self, shape: Shape) -> Shape:
        """Those of a dense tensor of this shape, in elements."""
        strides = [0] * len(shape)
        for i, axis in enumerate(self.axes):
            strides[axis] = prod(max(shape[later], 1) for later in self.axes[i + 1 :])
        return tuple(strides)

    def array(self, x: Tensor) -> Array:
        """x's memory as ours; nothing is copied. Gradients must be off."""
        a: Array = x.numpy()
        return a.transpose(self.axes) if self.channels_last else a

    def weights(self, w: Tensor) -> Array:
        a: Array = w.numpy()
        return a.transpose(self.weight_axes) if self.channels_last else a

    def has(self, x: Tensor) -> bool:
        return bool(x.is_contiguous(memory_format=self.memory_format))

    def copy(self, x: Tensor, name: str) -> Tensor:
        torch_counts.copied[name] += 1
        return x.contiguous(memory_format=self.memory_format)
