"""Rows of an array into a float32 batch: one compiled pass where the wheel has it, else NumPy, to the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from . import _gather
except ImportError:  # the pure-Python wheel
    _gather = None  # type: ignore[assignment]


def gather(x: NDArray[Any], rows: NDArray[np.intp], scale: float = 1.0, offset: float = 0.0) -> NDArray[np.float32]:
    """x (items, ...), rows (n,) -> y (n, ...) float32, x[rows] * scale + offset.

    The compiled pass takes uint8 and float32 in C order; other arrays go through NumPy.
    Raises IndexError on a row outside [0, items).
    """
    if _gather is None or x.dtype not in (np.uint8, np.float32) or not x.flags.c_contiguous:
        return gather_numpy(x, rows, scale, offset)
    size = math.prod(x.shape[1:])
    y = np.empty((len(rows), size), np.float32)
    _gather.gather(x.reshape(len(x), size), rows, scale, offset, y)
    return y.reshape(len(rows), *x.shape[1:])


def gather_numpy(x: NDArray[Any], rows: NDArray[np.intp], scale: float, offset: float) -> NDArray[np.float32]:
    """The same with NumPy, for any type of number."""
    for row in rows[(rows < 0) | (rows >= len(x))]:
        raise IndexError(f"rows must be in [0, {len(x)}), got {row}")
    y = np.take(x, rows, axis=0).astype(np.float32, copy=False)
    y *= np.float32(scale)
    y += np.float32(offset)
    return y
