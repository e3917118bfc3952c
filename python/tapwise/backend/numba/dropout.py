"""Dropout: element i stays, divided by 1 - rate, if the hash of i and the seed is at least rate * 2^32.

The mask is the same on every backend. The hash is two rounds of MurmurHash3's finalizer.
"""

from __future__ import annotations

import numpy as np

from .compiled import Array, kernel, typed
from .threads import grain, parallel_for

SHIFT_16, SHIFT_13 = np.uint32(16), np.uint32(13)
FACTOR_1, FACTOR_2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def dropout(x: Array, y: Array, rate: float, seed: int) -> None:
    """y = x with a share `rate` of its elements 0; y may be x."""
    threshold, scale = np.uint32(int(rate * 2**32)), x.dtype.type(1 / (1 - rate))
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
    x, y = typed(x).reshape(-1), y.reshape(-1)
    parallel_for(
        x.size,
        grain(x.size, 4),
        lambda begin, end: _dropout(x[begin:end], y[begin:end], threshold, scale, low, high, begin),
    )


@kernel
def _dropout(
    x: Array, y: Array, threshold: np.uint32, scale: float, low: np.uint32, high: np.uint32, first: int
) -> None:
    for i in range(x.size):
        h = _mix(np.uint32(_mix(np.uint32(np.uint32(first + i) ^ low)) + high))
        y[i] = x[i] * scale if h >= threshold else x.dtype.type(0)


@kernel
def _mix(h: np.uint32) -> np.uint32:
    """Every bit of h reaches every bit of the result."""
    h = np.uint32(h ^ (h >> SHIFT_16))
    h = np.uint32(h * FACTOR_1)
    h = np.uint32(h ^ (h >> SHIFT_13))
    h = np.uint32(h * FACTOR_2)
    return np.uint32(h ^ (h >> SHIFT_16))
