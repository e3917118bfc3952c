"""Rows of an array into a batch of floats: one compiled pass where the wheel has it, else NumPy, to the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

try:
    from . import _gather
except ImportError:  # the pure-Python wheel
    _gather = None  # type: ignore[assignment]


def gather(
    x: Any,
    rows: NDArray[np.intp],
    scale: float = 1.0,
    offset: float = 0.0,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """x (items, ...), rows (n,) -> y (n, ...) of dtype, x[rows] * scale + offset.

    x may also be an object that reads the rows asked for, x[rows]. The compiled pass takes uint8 and float32 in C order
    to float32; other arrays go through NumPy.
    Raises IndexError on a row outside [0, items).
    """
    if not isinstance(x, np.ndarray):
        x, rows = x[rows], np.arange(len(rows))
    ready = x.dtype in (np.uint8, np.float32) and dtype == np.float32 and x.flags.c_contiguous
    if _gather is None or not ready:
        return gather_numpy(x, rows, scale, offset, dtype)
    size = math.prod(x.shape[1:])
    y = np.empty((len(rows), size), np.float32)
    _gather.gather(x.reshape(len(x), size), rows, scale, offset, y)
    return y.reshape(len(rows), *x.shape[1:])


def gather_numpy(
    x: NDArray[Any], rows: NDArray[np.intp], scale: float, offset: float, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """The same with NumPy, for any type of number."""
    for row in rows[(rows < 0) | (rows >= len(x))]:
        raise IndexError(f"rows must be in [0, {len(x)}), got {row}")
    y: NDArray[Any] = np.take(x, rows, axis=0).astype(dtype, copy=False)
    y *= y.dtype.type(scale)
    y += y.dtype.type(offset)
    return y
