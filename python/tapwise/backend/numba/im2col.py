"""Convolution as matrix products: taps of a block of output pixels, gathered, which NumPy's BLAS multiplies by w.

    y (m, co)     = taps (m, K) @ w (K, co)         group by group, K = kd * kh * kw * ci // groups
    taps (m, K)   = dy (m, co) @ w', scattered to dx
    dw (K, co)   += taps' @ dy

Channels first, all of these are views of transposed matrices, and K runs over the channels first. Our threads gather
and scatter where there are more than two, BLAS's own threads multiply. A block is a part of an image or, where images
have few pixels, a few whole images, lest BLAS pack w again for every 49 rows. Its memory is bounded and kept from call
to call.

Blocks depend on shapes only. In forward and grad_input they join images where each alone is a large product, but not
with accuracy="strict": some of OpenBLAS's kernels (Haswell's) sum a row in another order when there are more rows, and
an image's bits must not depend on the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from . import columns
from .activation import Epilogue
from .blas import multiply
from .compiled import Array
from .elements import add
from .shape import Conv
from .threads import grain, parallel_for, thread_count

BLOCK_BYTES = 1 << 22  # on Zen 4: 64 @224 52.9 ms; 51.9 with half of it, 61 with twice
ENOUGH_PIXELS = 1024  # a block may take MOST_BYTES to have so many: 256 @14 n16 42.9 ms; 44.0 with half, 46.1 with 256
MOST_BYTES = 1 << 24
JOINED_WORK = 1 << 23  # multiply-adds
SINGLE_WORK = 1 << 18  # multiply-adds that OpenBLAS leaves to one thread

_kept = threading.local()


class Block(NamedTuple):
    """Output pixels [first, last), numbered through the batch: a part of one image, or whole images [image, end)."""

    image: int
    end: int
    first: int
    last: int


def blocks(c: Conv, itemsize: int, join: bool) -> Iterator[Block]:
    """The blocks of a batch; images may be joined if `join`."""
    pixel_bytes = (c.depth + c.co // c.groups) * itemsize
    limit = max(1, BLOCK_BYTES // pixel_bytes, min(ENOUGH_PIXELS, MOST_BYTES // pixel_bytes))
    images = max(1, min(ENOUGH_PIXELS, limit) // c.pixels) if join else 1
    parts = -(-c.pixels // limit)
    for image in range(0, c.n, images):
        end = min(c.n, image + images)
        first, total = image * c.pixels, (end - image) * c.pixels
        for part in range(parts):
            yield Block(image, end, first + total * part // parts, first + total * (part + 1) // parts)


def joins(c: Conv, accuracy: str) -> bool:
    """Whether forward and grad_input may let images share a product."""
    return accuracy != "strict" and c.pixels > 1 and c.pixels * c.depth * (c.co // c.groups) >= JOINED_WORK


def forward(x: Array, w: Array, y: Array, c: Conv, epilogue: Epilogue, join: bool) -> None:
    """If anything is padded, w must be finite: zeros multiply it."""
    matrix = _matrix(w, c)

    def body(block: Block) -> None:
        for group in range(c.groups):
            taps, part = _gather(x, c, block, group), _part(c.co, c.groups, group)
            target = _pixels(y, c, block, part)
            if target is not None:
                multiply(taps, matrix[:, part], target)
            else:
                joined = _joined(c, block, part, y.dtype)
                multiply(taps, matrix[:, part], joined)
                _planes(y, c, block, part)[...] = joined.T.reshape(-1, block.end - block.image, c.pixels)
        if c.channels_last:
            epilogue.finish_parallel(block.first, block.last)
        elif block.last == block.end * c.pixels:
            epilogue.finish_parallel(block.image * c.pixels * c.co, block.last * c.co)

    _each_block(c, x.itemsize, join, body)


def grad_input(dy: Array, w: Array, dx: Array, c: Conv, epilogue: Epilogue, join: bool) -> None:
    matrix = _matrix(w, c)
    units = prod(c.input) if c.channels_last else prod(c.input) * c.ci  # of an image, as the epilogue counts

    def body(block: Block) -> None:
        for group in range(c.groups):
            part, inputs = _part(c.co, c.groups, group), _part(c.ci, c.groups, group)
            target = _pixels(dx, c, block, inputs) if c.pointwise else None
            if target is not None:
                multiply(_load(dy, c, block, part), matrix[:, part].T, target)
            else:
                taps = _taps(c, block.last - block.first, dy.dtype)
                multiply(_load(dy, c, block, part), matrix[:, part].T, taps)
                _scatter(taps, dx, c, block, group)
        if block.last == block.end * c.pixels:
            epilogue.finish_parallel(block.image * units, block.end * units)

    _each_block(c, dy.itemsize, join, body)


def grad_weight(x: Array, dy: Array, dw: Array, c: Conv) -> None:
    """If anything is padded, dy must be finite: zeros multiply it."""
    total = dw
    for index, block in enumerate(blocks(c, x.itemsize, join=True)):
        if index == 1:
            total = np.empty_like(dw)
        for group in range(c.groups):
            part = _part(c.co, c.groups, group)
            multiply(_gather(x, c, block, group).T, _load(dy, c, block, part), _matrix(total, c)[:, part])
        if index:
            add(dw, total)


def _each_block(c: Conv, itemsize: int, join: bool, body: Callable[[Block], None]) -> None:
    """Blocks of a large product one after the other, each on all threads; images of small ones side by side."""
    cut = list(blocks(c, itemsize, join))
    work = c.pixels * c.depth * (c.co // c.groups)
    if work > SINGLE_WORK:
        for block in cut:
            body(block)
        return

    def images(begin: int, end: int) -> None:
        for block in cut[begin:end]:
            body(block)

    parallel_for(len(cut), grain(len(cut), work), images)


def _gather(x: Array, c: Conv, block: Block, group: int) -> Array:
    """The taps (m, K) of a group for the block's pixels."""
    channels = _part(c.ci, c.groups, group)
    seen = _pixels(x, c, block, channels) if c.pointwise else None
    if seen is not None:
        return seen
    count = block.last - block.first
    taps = _taps(c, count, x.dtype)
    if c.channels_last:
        gather, rows, kept = columns.gather_last, count, taps
    else:
        gather, rows, kept = columns.gather_first, c.depth, taps.T
    _share(
        rows,
        grain(rows, kept.shape[1]),
        lambda begin, end: gather(x, kept, c.kernel, *c.steps, c.output, channels.start, block.first, begin, end),
    )
    return taps


def _scatter(taps: Array, dx: Array, c: Conv, block: Block, group: int) -> None:
    """Add the taps (m, K) of a group up in dx, which the first block of an image overwrites."""
    channels, pixels = _part(c.ci, c.groups, group), prod(c.input)
    fresh = block.first == block.image * c.pixels
    if c.channels_last:
        scatter, kept, unit, work = columns.scatter_last, taps, 1, c.depth
    else:
        scatter, kept, unit, work = columns.scatter_first, taps.T, c.ci // c.groups, c.taps
    start, stop = block.image * pixels * unit, block.end * pixels * unit
    _share(
        stop - start,
        grain(stop - start, work),
        lambda begin, end: scatter(
            kept, dx, c.kernel, *c.steps, c.output, channels.start, block.first, block.last, fresh,
            start + begin, start + end,
        ),
    )  # fmt: skip


def _share(total: int, grain: int, body: Callable[[int, int], None]) -> None:
    """parallel_for, but alone on two cores: a thread of BLAS that still spins holds the other one.

    3x3 layers of ResNet-50 against NumPy im2col + BLAS, geometric mean: 0.98 with two threads, 1.03 with one.
    """
    if thread_count() > 2:
        parallel_for(total, grain, body)
    else:
        body(0, total)


def _matrix(w: Array, c: Conv) -> Array:
    """w or dw as (K, co)."""
    return w.reshape(-1, c.co) if c.channels_last else w.reshape(c.co, -1).T


def _part(channels: int, groups: int, group: int) -> slice:
    return slice(channels // groups * group, channels // groups * (group + 1))


def _pixels(a: Array, c: Conv, block: Block, part: slice) -> Array | None:
    """The block's pixels of y, or of x if pointwise, as a view (m, channels); None if no view has several images'."""
    if c.channels_last:
        pixels: Array = a.reshape(-1, a.shape[-1])
        return pixels[block.first : block.last, part]
    if block.end - block.image > 1:
        return None
    start = block.image * c.pixels
    planes: Array = a[block.image].reshape(a.shape[1], -1)
    return planes[part, block.first - start : block.last - start].T


def _load(dy: Array, c: Conv, block: Block, part: slice) -> Array:
    """The block's pixels of dy (m, channels), copied only where images are joined channels first."""
    seen = _pixels(dy, c, block, part)
    if seen is not None:
        return seen
    joined = _joined(c, block, part, dy.dtype)
    joined.T.reshape(-1, block.end - block.image, c.pixels)[...] = _planes(dy, c, block, part)
    return joined


def _planes(y: Array, c: Conv, block: Block, part: slice) -> Array:
    """The planes of whole images, channels first: a view (channels, images, pixels)."""
    return y[block.image : block.end].reshape(-1, c.co, c.pixels)[:, part].swapaxes(0, 1)


def _joined(c: Conv, block: Block, part: slice, dtype: np.dtype[np.generic]) -> Array:
    shape = (part.stop - part.start, block.last - block.first)
    return _scratch("joined", shape, dtype).T


def _taps(c: Conv, count: int, dtype: np.dtype[np.generic]) -> Array:
    if c.channels_last:
        return _scratch("taps", (count, c.depth), dtype)
    return _scratch("taps", (c.depth, count), dtype).T


def _scratch(name: str, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> Array:
    """Memory of this thread, kept: fresh pages would cost more than the gathering."""
    size = prod(shape) * dtype.itemsize
    memory = getattr(_kept, name, None)
    if memory is None or memory.size < size:
        memory = np.empty(size, np.uint8)
        setattr(_kept, name, memory)
    return memory[:size].view(dtype).reshape(shape)
