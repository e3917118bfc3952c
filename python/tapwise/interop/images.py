"""Images and sizes as PyTorch's functions take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .given import Array, floats

FIRST: dict[str, Any] = {"data_format": "channels_first"}


def images(x: Any, rank: int, name: str = "input") -> tuple[Array, bool]:
    """x (n, c, *spatial), and whether it came without the axis n."""
    array = floats(x, name)
    if array.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} must have {rank + 2} dimensions, or {rank + 1} without a batch, got {array.shape}")
    return (array[None], True) if array.ndim == rank + 1 else (array, False)


def sizes(value: Any, rank: int, name: str) -> int | tuple[int, ...]:
    """One number, or one an axis; PyTorch takes a sequence of one as well."""
    if isinstance(value, (int, np.integer)):
        return int(value)
    several: tuple[int, ...] = tuple(value)
    if len(several) not in (1, rank):
        raise ValueError(f"{name} must be an integer or one for each of {rank} axes, got {several}")
    return several[0] if len(several) == 1 else several
