"""Convolution as matrix products: taps of a block of output pixels, gathered, which NumPy's BLAS multiplies by w.

    y (m, co)     = taps (m, K) @ w (K, co)         group by group, K = kd * kh * kw * ci // groups
    taps (m, K)   = dy (m, co) @ w', scattered to dx
    dw (K, co)   += taps' @ dy

Channels first, all of these are views of transposed matrices, and K runs over the channels first.

A block is a part of an image or, where images have few pixels, a few whole images, lest BLAS pack w again for every 49
rows. Its memory is bounded and kept from call to call. Blocks go side by side on our threads, except those of one image
in grad_input, which meet in dx; few blocks follow each other, and their gathering and multiplying is shared out.

Blocks depend on shapes only. A block that joins images, or is one of several that n decides on, is a product of so many
multiply-adds that BLAS sums each row in the same order whatever the number of rows: an image's bits don't depend on n.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from math import prod
from typing import NamedTuple

import numpy as np

from . import columns
from .activation import Epilogue
from .blas import REGULAR_WORK, alone, control, multiply
from .compiled import Array
from .elements import add
from .shape import Conv
from .threads import MULTIPLIED, grain, parallel_for, thread_count

BLOCK_BYTES = 1 << 21  # 64 @224 on one core of a Zen 4: 51.9 ms, 52.9 with 4 MB, 61 with 8 MB
MOST_BYTES = 1 << 24  # for ENOUGH_PIXELS of them: 512 @7 n16 40.5 ms, 47 with 113 pixels
ENOUGH_PIXELS = 512
LEAST_PIXELS = 192  # of a block that is there for the sake of SHARES
SHARES = 8  # blocks of a batch, where it allows for them
SINGLE_WORK = 1 << 18  # multiply-adds that any BLAS leaves to one thread

_kept = threading.local()


class Block(NamedTuple):
    """Output pixels [first, last), numbered through the batch: a part of one image, or whole images [image, end)."""

    image: int
    end: int
    first: int
    last: int


def blocks(c: Conv, itemsize: int, direction: str) -> Iterator[Block]:
    """The blocks of a batch, in order."""
    pixel_bytes = (c.depth + c.co // c.groups) * itemsize
    limit = max(1, BLOCK_BYTES // pixel_bytes, min(ENOUGH_PIXELS, MOST_BYTES // pixel_bytes))
    work = c.pixels * c.depth * (c.co // c.groups)
    parts = -(-c.pixels // limit)
    if direction != "grad_input":
        parts = max(parts, min(-(-SHARES // max(1, c.n)), c.pixels // LEAST_PIXELS, work // REGULAR_WORK))
    images = 1
    if direction == "grad_weight" or (c.pixels > 1 and work >= REGULAR_WORK):
        images = max(1, min(limit // c.pixels, max(c.n // SHARES, -(-LEAST_PIXELS // c.pixels))))
    joins = -(-c.n // images)
    for join in range(joins):
        image, end = c.n * join // joins, c.n * (join + 1) // joins
        first, total = image * c.pixels, (end - image) * c.pixels
        for part in range(parts):
            yield Block(image, end, first + total * part // parts, first + total * (part + 1) // parts)


def forward(x: Array, w: Array, y: Array, c: Conv, epilogue: Epilogue) -> None:
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
            epilogue.finish_rows(block.first, block.last)
        else:
            left = block.first - block.image * c.pixels
            right = min(c.pixels, left + block.last - block.first)
            epilogue.finish_rows(block.image * c.co, block.end * c.co, left, right)

    _each([[block] for block in blocks(c, x.itemsize, "forward")], c, body)


def grad_input(dy: Array, w: Array, dx: Array, c: Conv, epilogue: Epilogue) -> None:
    """dy, w -> dx, which the blocks of an image share."""
    matrix = _matrix(w, c)
    rows = prod(c.input) if c.channels_last else c.ci  # of an image, as the epilogue counts

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
            epilogue.finish_rows(block.image * rows, block.end * rows)

    cut = groupby(blocks(c, dy.itemsize, "grad_input"), key=lambda block: block.image)
    _each([list(same) for _, same in cut], c, body)


def grad_weight(x: Array, dy: Array, dw: Array, c: Conv) -> None:
    """If anything is padded, dy must be finite: zeros multiply it."""
    cut = list(blocks(c, x.itemsize, "grad_weight"))
    parts = max(1, min(SHARES, len(cut), MOST_BYTES // dw.nbytes)) if control() else 1
    sums = [dw, *np.empty((parts - 1, *dw.shape), dw.dtype)]

    def some(begin: int, end: int) -> None:
        for part in range(begin, end):
            total = sums[part]
            for block in cut[len(cut) * part // parts : len(cut) * (part + 1) // parts]:
                for group in range(c.groups):
                    channels = _part(c.co, c.groups, group)
                    product = _matrix(total, c)[:, channels]
                    multiply(_gather(x, c, block, group).T, _load(dy, c, block, channels), product)
                if total is not sums[part]:
                    add(sums[part], total)
                elif len(cut) > parts:
                    total = np.empty_like(dw)

    with alone():
        parallel_for(parts, 1, some)
    for part in sums[1:]:
        add(dw, part)


def _each(cut: list[list[Block]], c: Conv, body: Callable[[Block], None]) -> None:
    """Many lists of blocks go side by side, each on one thread; few, or those of a BLAS with threads, in turn."""
    work = sum(block.last - block.first for block in cut[0]) * c.depth * (c.co // c.groups)

    def some(begin: int, end: int) -> None:
        for blocks in cut[begin:end]:
            for block in blocks:
                body(block)

    with alone():
        if len(cut) >= 2 * thread_count() and (control() or work <= SINGLE_WORK):
            parallel_for(len(cut), grain(len(cut), work // MULTIPLIED), some)
        else:
            some(0, len(cut))


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
    parallel_for(
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
    parallel_for(
        stop - start,
        grain(stop - start, work),
        lambda begin, end: scatter(
            kept, dx, c.kernel, *c.steps, c.output, channels.start, block.first, block.last, fresh,
            start + begin, start + end,
        ),
    )  # fmt: skip


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
