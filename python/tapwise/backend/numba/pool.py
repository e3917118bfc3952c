"""Maximum and average pooling over windows, and their gradients.

    x (n, id, ih, iw, c)           channels last: windows are taken pixel by pixel, for all channels
    x (n * c, id, ih, iw, 1)       channels first: for one channel at a time

The windows of an axis are a table (outputs, 2) of what they reach inside the input, [start, stop) in steps of the
dilation; adaptive windows are just another table. Range: pixels of y; for the gradients, images x blocks of BLOCK
channels, so that no two chunks add to one element of dx.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ...geometry import PoolGeometry
from .compiled import Array, Size, kernel, typed
from .threads import grain, parallel_for

BLOCK = 16  # channels of a gradient's chunk: a cache line


class Windows(NamedTuple):
    """The windows of a pooling with three spatial dimensions, leading ones for one and two."""

    images: int
    channels: int
    input: Size
    output: Size
    steps: Size
    reach: tuple[Array, Array, Array]  # (outputs, 2) an axis
    counts: tuple[Array, Array, Array]  # (outputs,) an axis: positions that the divisor counts
    work: int  # elements that an output pixel joins, at most

    def x(self, array: Array) -> Array:
        return typed(array).reshape(self.images, *self.input, self.channels)

    def y(self, array: Array) -> Array:
        return typed(array).reshape(self.images, *self.output, self.channels)

    @property
    def pixels(self) -> int:
        return self.images * prod(self.output)


@lru_cache(maxsize=256)
def windows(p: PoolGeometry) -> Windows:
    if p.channels_last:
        images, channels, size, output = p.x_shape[0], p.x_shape[-1], p.x_shape[1:-1], p.y_shape[1:-1]
    else:
        images, channels, size, output = prod(p.x_shape[:2]), 1, p.x_shape[2:], p.y_shape[2:]
    leading = (1,) * (3 - p.rank)
    single = np.array([[0, 1]], np.int64), np.ones(1, np.int64), np.ones(1, np.int64)
    axes = enumerate(zip(size, output, strict=True))
    tables = [_axis(p, axis, i, np.arange(o, dtype=np.int64)) for axis, (i, o) in axes]
    reach, inside, counts = zip(*[single] * len(leading), *tables, strict=True)
    return Windows(
        images=images,
        channels=channels,
        input=leading + size,
        output=leading + output,
        steps=leading + p.dilation,
        reach=reach,
        counts=counts,
        work=channels * prod(int(count.max()) for count in inside),
    )


def _axis(p: PoolGeometry, axis: int, size: int, o: Array) -> tuple[Array, Array, Array]:
    """Of the windows o of an axis: what they reach in the input, how many positions that is, how many count."""
    if p.adaptive:
        start, stop = o * size // o.size, -(-(o + 1) * size // o.size)
        return np.stack([start, stop], axis=1), stop - start, stop - start
    (before, after), dilation = p.padding[axis], p.dilation[axis]
    first = o * p.strides[axis] - before
    last = first + (p.size[axis] - 1) * dilation + 1
    start, stop = np.where(first < 0, first % dilation, first), np.minimum(last, size)
    inside = -(-(stop - start) // dilation)
    counted = -(-(np.minimum(last, size + after) - first) // dilation) if p.count_include_pad else inside
    return np.stack([start, stop], axis=1), inside, counted


def max_pool(x: Array, y: Array, indices: Array | None, p: PoolGeometry) -> None:
    """y (n, *o, c), the largest of each window of x, and its index in the plane of x: the first of equals; NaN wins."""
    t = windows(p)
    x, y = t.x(x), y.reshape(-1)
    at = np.empty(0, np.int32) if indices is None else indices.reshape(-1)
    pool = _max_pixels if t.channels > 1 else _max_plane
    parallel_for(
        t.pixels, grain(t.pixels, t.work), lambda begin, end: pool(x, y, at, t.output, *t.reach, t.steps, begin, end)
    )


def max_pool_grad(dy: Array, indices: Array, dx: Array, p: PoolGeometry) -> None:
    """dx, to which each dy is added where its index says; windows don't matter."""
    plane = dx[0].size // dy.shape[-1 if p.channels_last else 1] if dy.size else 0
    if dy.size and not 0 <= indices.min() <= indices.max() < plane:
        raise ValueError(f"indices must be >= 0 and < {plane}, got {indices.min()} to {indices.max()}")
    images, channels = (dy.shape[0], dy.shape[-1]) if p.channels_last else (dy.shape[0] * dy.shape[1], 1)
    if dx.size:
        dy, at, dx = (typed(a).reshape(images, -1, channels) for a in (dy, indices, dx))
        blocks = images * -(-channels // BLOCK)
        step = grain(blocks, BLOCK * dx.shape[1])
        parallel_for(blocks, step, lambda begin, end: _max_grad(dy, at, dx, begin, end))


def average_pool(x: Array, y: Array, p: PoolGeometry) -> None:
    """y (n, *o, c), the mean of each window of x (n, *spatial, c)."""
    t = windows(p)
    x, y = t.x(x), y.reshape(-1)
    pool = _average_pixels if t.channels > 1 else _average_plane
    step = grain(t.pixels, t.work)
    parallel_for(t.pixels, step, lambda begin, end: pool(x, y, t.output, *t.reach, *t.counts, t.steps, begin, end))


def average_pool_grad(dy: Array, dx: Array, p: PoolGeometry) -> None:
    """dx, to whose windows each dy adds its share."""
    t = windows(p)
    dy, dx = t.y(dy), t.x(dx)
    blocks = t.images * -(-t.channels // BLOCK)
    step = grain(blocks, BLOCK * t.work * prod(t.output))
    parallel_for(blocks, step, lambda begin, end: _average_grad(dy, dx, *t.reach, *t.counts, t.steps, begin, end))


@kernel
def _max_pixels(
    x: Array, y: Array, indices: Array, output: Size, depth: Array, height: Array, width: Array, steps: Size,
    begin: int, end: int,
) -> None:  # fmt: skip
    """indices is empty if they aren't wanted."""
    _, _, ih, iw, channels = x.shape
    od, oh, ow = output
    for pixel in range(begin, end):
        i, d, h, o = pixel // (od * oh * ow), pixel // (oh * ow) % od, pixel // ow % oh, pixel % ow
        to = y[pixel * channels : (pixel + 1) * channels]
        at = indices[pixel * channels : (pixel + 1) * channels]
        to[:] = x[i, depth[d, 0], height[h, 0], width[o, 0]]
        at[:] = (depth[d, 0] * ih + height[h, 0]) * iw + width[o, 0]
        for z in range(depth[d, 0], depth[d, 1], steps[0]):
            for v in range(height[h, 0], height[h, 1], steps[1]):
                for u in range(width[o, 0], width[o, 1], steps[2]):
                    by, index = x[i, z, v, u], np.int32((z * ih + v) * iw + u)
                    if at.size:
                        for c in range(channels):
                            more = (to[c] == to[c]) & (not by[c] <= to[c])
                            to[c] = by[c] if more else to[c]
                            at[c] = index if more else at[c]
                    else:
                        for c in range(channels):
                            more = (to[c] == to[c]) & (not by[c] <= to[c])
                            to[c] = by[c] if more else to[c]


@kernel
def _max_plane(
    x: Array, y: Array, indices: Array, output: Size, depth: Array, height: Array, width: Array, steps: Size,
    begin: int, end: int,
) -> None:  # fmt: skip
    """As _max_pixels, for one channel."""
    _, _, ih, iw, _ = x.shape
    od, oh, ow = output
    for pixel in range(begin, end):
        i, d, h, o = pixel // (od * oh * ow), pixel // (oh * ow) % od, pixel // ow % oh, pixel % ow
        index = (depth[d, 0] * ih + height[h, 0]) * iw + width[o, 0]
        largest = x[i, depth[d, 0], height[h, 0], width[o, 0], 0]
        for z in range(depth[d, 0], depth[d, 1], steps[0]):
            for v in range(height[h, 0], height[h, 1], steps[1]):
                row = x[i, z, v]
                for u in range(width[o, 0], width[o, 1], steps[2]):
                    if largest == largest and not row[u, 0] <= largest:
                        largest, index = row[u, 0], (z * ih + v) * iw + u
        y[pixel] = largest
        if indices.size:
            indices[pixel] = index


@kernel
def _max_grad(dy: Array, indices: Array, dx: Array, begin: int, end: int) -> None:
    """dy, indices (images, outputs, channels), dx (images, inputs, channels)."""
    _, outputs, channels = dy.shape
    blocks = -(-channels // BLOCK)
    for unit in range(begin, end):
        i, first = unit // blocks, unit % blocks * BLOCK
        last = min(first + BLOCK, channels)
        dx[i, :, first:last] = 0
        for o in range(outputs):
            for c in range(first, last):
                dx[i, indices[i, o, c], c] += dy[i, o, c]


@kernel
def _average_pixels(
    x: Array, y: Array, output: Size, depth: Array, height: Array, width: Array,
    depth_count: Array, height_count: Array, width_count: Array, steps: Size, begin: int, end: int,
) -> None:  # fmt: skip
    channels = x.shape[4]
    od, oh, ow = output
    for pixel in range(begin, end):
        i, d, h, o = pixel // (od * oh * ow), pixel // (oh * ow) % od, pixel // ow % oh, pixel % ow
        to = y[pixel * channels : (pixel + 1) * channels]
        to[:] = 0
        for z in range(depth[d, 0], depth[d, 1], steps[0]):
            for v in range(height[h, 0], height[h, 1], steps[1]):
                for u in range(width[o, 0], width[o, 1], steps[2]):
                    by = x[i, z, v, u]
                    for c in range(channels):
                        to[c] += by[c]
        divisor = x.dtype.type(depth_count[d] * height_count[h] * width_count[o])
        for c in range(channels):
            to[c] /= divisor


@kernel
def _average_plane(
    x: Array, y: Array, output: Size, depth: Array, height: Array, width: Array,
    depth_count: Array, height_count: Array, width_count: Array, steps: Size, begin: int, end: int,
) -> None:  # fmt: skip
    """As _average_pixels, for one channel."""
    od, oh, ow = output
    for pixel in range(begin, end):
        i, d, h, o = pixel // (od * oh * ow), pixel // (oh * ow) % od, pixel // ow % oh, pixel % ow
        total = x.dtype.type(0)
        for z in range(depth[d, 0], depth[d, 1], steps[0]):
            for v in range(height[h, 0], height[h, 1], steps[1]):
                row = x[i, z, v]
                for u in range(width[o, 0], width[o, 1], steps[2]):
                    total += row[u, 0]
        y[pixel] = total / x.dtype.type(depth_count[d] * height_count[h] * width_count[o])


@kernel
def _average_grad(
    dy: Array, dx: Array, depth: Array, height: Array, width: Array,
    depth_count: Array, height_count: Array, width_count: Array, steps: Size, begin: int, end: int,
) -> None:  # fmt: skip
    _, od, oh, ow, channels = dy.shape
    blocks = -(-channels // BLOCK)
    share = np.empty(min(BLOCK, channels), dy.dtype)
    for unit in range(begin, end):
        i, first = unit // blocks, unit % blocks * BLOCK
        count = min(BLOCK, channels - first)
        dx[i, :, :, :, first : first + count] = 0
        for pixel in range(od * oh * ow):
            d, h, o = pixel // (oh * ow), pixel // ow % oh, pixel % ow
            divisor = dy.dtype.type(depth_count[d] * height_count[h] * width_count[o])
            by = dy[i, d, h, o, first:]
            for c in range(count):
                share[c] = by[c] / divisor
            for z in range(depth[d, 0], depth[d, 1], steps[0]):
                for v in range(height[h, 0], height[h, 1], steps[1]):
                    for u in range(width[o, 0], width[o, 1], steps[2]):
                        to = dx[i, z, v, u, first:]
                        for c in range(count):
                            to[c] += share[c]
