"""Shuffled mini-batches from arrays, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .gather import gather

Arrays: TypeAlias = Any  # an array, or a list of arrays of one length


class Batches:
    """Mini-batches of x (items, ...) and y (items, ...), or of lists of arrays; the last one holds what is left.

    x comes as dtype, x * scale + offset in the pass that gathers it; y keeps its type. The order depends on seed
    and epoch alone, so any epoch can be drawn again. Raises ValueError on empty arrays or different lengths.
    """

    def __init__(
        self,
        x: Arrays,
        y: Arrays,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        scale: float = 1.0,
        offset: float = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        inputs, targets = (each if isinstance(each, list) else [each] for each in (x, y))
        counts = [len(array) for array in (*inputs, *targets) if array is not None]
        if len(set(counts)) != 1 or not counts[0]:
            raise ValueError(f"x and y must have the same number of items >= 1, got {' and '.join(map(str, counts))}")
        for array in inputs:
            if array.dtype.kind not in "uif":
                raise ValueError(f"x must be of integers or floats, got {array.dtype}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.x, self.y, self.items = x, y, counts[0]
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.scale, self.offset, self.dtype = scale, offset, np.dtype(dtype)

    def __len__(self) -> int:
        return -(-self.items // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The items in the order of that epoch, (items,)."""
        if not self.shuffle:
            return np.arange(self.items, dtype=np.intp)
        return np.random.default_rng((self.seed, epoch)).permutation(self.items).astype(np.intp, copy=False)

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch, each x and y as they were given: an array or a list."""
        order = self.order(number)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield each(self._inputs, self.x, rows), each(take, self.y, rows)

    def _inputs(self, x: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
        return gather(x, rows, self.scale, self.offset, self.dtype)


def take(y: NDArray[Any] | None, rows: NDArray[np.intp]) -> NDArray[Any] | None:
    return None if y is None else y[rows]


def each(function: Callable[..., Any], arrays: Arrays, rows: NDArray[np.intp]) -> Any:
    return [function(array, rows) for array in arrays] if isinstance(arrays, list) else function(arrays, rows)
