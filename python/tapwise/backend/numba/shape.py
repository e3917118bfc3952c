"""The sizes that kernels work from: three spatial dimensions, with leading ones for one and two.

x (n, id, ih, iw, ci)   w (kd, kh, kw, ci // groups, co)   y (n, od, oh, ow, co)      channels_last
x (n, ci, id, ih, iw)   w (co, ci // groups, kd, kh, kw)   y (n, co, od, oh, ow)      channels_first
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from .compiled import Array, Size, typed


class Steps(NamedTuple):
    """How the window walks: input position = output position * strides + tap * dilation - before."""

    strides: Size
    dilation: Size
    before: Size


class Conv(NamedTuple):
    """A forward convolution x -> y."""

    n: int
    ci: int
    co: int
    groups: int
    input: Size
    output: Size
    kernel: Size
    steps: Steps
    channels_last: bool

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    @property
    def depth(self) -> int:
        """Terms of one output: taps x input channels of a group."""
        return self.taps * (self.ci // self.groups)

    @property
    def pixels(self) -> int:
        """Output pixels of one image."""
        return prod(self.output)

    @property
    def padded(self) -> bool:
        """Whether some window reaches past the input."""
        axes = zip(self.input, self.output, self.kernel, *self.steps, strict=True)
        return any(b > 0 or (o - 1) * s + (k - 1) * dil - b >= i for i, o, k, s, dil, b in axes)

    @property
    def depthwise(self) -> bool:
        return self.ci == self.co == self.groups

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel reads the input pixel of the same place and no other."""
        return self.taps == 1 and self.input == self.output and set(self.steps.strides) == {1} and not self.padded

    def x(self, array: Array) -> Array:
        """x or dx with three spatial dimensions: a view."""
        return typed(array).reshape(self._shape(self.input, self.ci))

    def y(self, array: Array) -> Array:
        """y or dy with three spatial dimensions: a view."""
        return typed(array).reshape(self._shape(self.output, self.co))

    def w(self, array: Array) -> Array:
        """w with three spatial dimensions: a view, or a copy if its strides aren't those of a C-contiguous array."""
        return typed(np.ascontiguousarray(array)).reshape(self.w_shape)

    @property
    def w_shape(self) -> tuple[int, int, int, int, int]:
        cg, (kd, kh, kw) = self.ci // self.groups, self.kernel
        return (kd, kh, kw, cg, self.co) if self.channels_last else (self.co, cg, kd, kh, kw)

    def _shape(self, size: Size, channels: int) -> tuple[int, ...]:
        return (self.n, *size, channels) if self.channels_last else (self.n, channels, *size)


@lru_cache(maxsize=256)
def conv_shape(g: ConvGeometry) -> Conv:
    """The sizes of g, with an axis of length one moved to the front: kernels vectorise and split along the last."""
    space = slice(1, -1) if g.channels_last else slice(2, None)
    w_space = slice(0, -2) if g.channels_last else slice(2, None)
    channel = -1 if g.channels_last else 1
    before = [pad for pad, _ in g.padding]
    axes = list(zip(g.x_shape[space], g.y_shape[space], g.w_shape[w_space], g.strides, g.dilation, before, strict=True))
    axes = [(1, 1, 1, 1, 1, 0)] * (3 - len(axes)) + axes
    axes.sort(key=lambda axis: axis[:3] != (1, 1, 1) or axis[5] != 0)  # stable: the others keep their order
    size, output, kernel, strides, dilation, before3 = zip(*axes, strict=True)
    return Conv(
        g.x_shape[0], g.x_shape[channel], g.y_shape[channel], g.groups,
        size, output, kernel, Steps(strides, dilation, before3), g.channels_last,
    )  # fmt: skip
