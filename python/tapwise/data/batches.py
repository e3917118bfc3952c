"""Shuffled mini-batches from arrays, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .gather import gather


class Batches:
    """Mini-batches of x (items, ...) and y (items, ...); the last one holds what is left.

    x comes as dtype, x * scale + offset in the pass that gathers it; y keeps its type. The order depends on seed
    and epoch alone, so any epoch can be drawn again. Raises ValueError on empty arrays or different lengths.
    """

    def __init__(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        scale: float = 1.0,
        offset: float = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if len(x) == 0 or len(x) != len(y):
            raise ValueError(f"x and y must have the same number of items >= 1, got {len(x)} and {len(y)}")
        if x.dtype.kind not in "uif":
            raise ValueError(f"x must be of integers or floats, got {x.dtype}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.x, self.y = x, y
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.scale, self.offset, self.dtype = scale, offset, np.dtype(dtype)

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The items in the order of that epoch, (items,)."""
        items = len(self.x)
        if not self.shuffle:
            return np.arange(items, dtype=np.intp)
        return np.random.default_rng((self.seed, epoch)).permutation(items).astype(np.intp, copy=False)

    def epoch(self, number: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The batches of one epoch."""
        order = self.order(number)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield gather(self.x, rows, self.scale, self.offset, self.dtype), self.y[rows]
