"""One block of memory for a model: arrays lie where no array that lives at the same time does.

A buffer lives from one moment of a step to another. Larger buffers are placed first, each at the lowest offset that is
free all that time (first fit on intervals). Blocks of 2 MiB and more ask for huge pages: a step then touches few pages,
and none for the first time once it has run.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ops.memory import to_device

Array = NDArray[Any]
Shape = tuple[int, ...]
ALIGNMENT = 64
HUGE_PAGE = 2 << 20


class Buffer:
    """Memory for an array of this shape and dtype from moment `start` to `end`, both included; bytes are aligned."""

    def __init__(self, shape: Shape, dtype: Any, start: int) -> None:
        self.dtype = np.dtype(dtype)
        self.size = math.prod(shape) * self.dtype.itemsize
        self.bytes = -(-self.size // ALIGNMENT) * ALIGNMENT  # so that the next one is aligned
        self.start = self.end = start
        self.offset = 0

    def touch(self, moment: int) -> None:
        self.end = max(self.end, moment)


def place(buffers: list[Buffer]) -> int:
    """Give each buffer its offset; the bytes of all together."""
    placed: list[Buffer] = []
    peak = 0
    for buffer in sorted(buffers, key=lambda b: (-b.bytes, b.start)):
        offset = 0
        for other in placed:  # in the order of their offsets
            if other.start > buffer.end or other.end < buffer.start:
                continue
            if other.offset - offset >= buffer.bytes:
                break
            offset = max(offset, other.offset + other.bytes)
        buffer.offset = offset
        peak = max(peak, offset + buffer.bytes)
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
    return peak


class Arena:
    """The memory of all plans of a model, which run one at a time; it grows to the largest."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.block = np.empty(0, np.uint8)

    def reserve(self, size: int) -> None:
        """At least so many bytes. Grown, it is another block, and what the former one held is lost."""
        if size > len(self.block):
            self.block = aligned_block(size) if self.device == "cpu" else to_device(np.zeros(size, np.uint8))

    def view(self, buffer: Buffer, shape: Shape) -> Array:
        """The buffer's memory as an array of another shape of its size."""
        memory = self.block[buffer.offset : buffer.offset + buffer.size]
        view: Array = memory.view(buffer.dtype).reshape(shape)
        return view


def aligned_block(size: int) -> Array:
    """Fresh zeros, which take no memory before they are written; huge pages where the system has them."""
    if size < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        block = np.zeros(size + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        return block[start : start + size]
    memory = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = np.frombuffer(memory, np.uint8)
    start = -block.ctypes.data % HUGE_PAGE
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return block[start : start + size]
