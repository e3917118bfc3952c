"""What fit, evaluate and predict are given, as arrays: one for each input and output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data import Batches, Stream

Array = NDArray[Any]


def is_stream(x: Any) -> bool:
    """Whether x gives batches one after the other and is no data.Batches, data.Stream or array."""
    known = isinstance(x, (Batches, Stream, list, tuple, dict, memoryview)) or hasattr(x, "__array__")
    known = known or hasattr(x, "__dlpack__")
    return not known and (hasattr(x, "__next__") or hasattr(x, "__getitem__"))


def numbers(x: Any, name: str) -> Array:
    """x as an array of whole or real numbers, itself if it is one. Raises TypeError on anything else."""
    only_dlpack = hasattr(x, "__dlpack__") and not hasattr(x, "__array__")
    array: Array = np.from_dlpack(x) if only_dlpack else np.asarray(x)
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise TypeError(
            f"{name} must be an array of numbers, one example a row, got {array.dtype} of shape {array.shape}"
        )
    return array


def checked_weights(sample_weight: ArrayLike | None, items: int) -> Array | None:
    """sample_weight as an array (items,), or None."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (items,) or not np.isfinite(weights).all():
        raise ValueError(f"sample_weight must hold a finite number for each of {items} examples, got {weights.shape}")
    return weights


def slices(x: Array, batch_size: int) -> list[slice]:
    """The rows of each batch, in order."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    return [slice(start, start + batch_size) for start in range(0, len(x), batch_size)]


def by_name(given: Any, names: list[str], what: str, used: Sequence[bool] | None = None) -> list[Any]:
    """An array for each name: of a dict, a list, or the only one; None for what isn't used and is missing or None."""
    used = used or [True] * len(names)
    if isinstance(given, dict):
        needed = [name for name, use in zip(names, used, strict=True) if use]
        if set(given) - set(names) or set(needed) - set(given):
            raise ValueError(
                f"{what} must hold arrays for {', '.join(needed)}, got {', '.join(map(str, given)) or 'none'}"
            )
        parts = [given.get(name) for name in names]
    elif len(names) == 1 and not (isinstance(given, list) and len(given) == 1 and isinstance(given[0], np.ndarray)):
        parts = [given]
    elif isinstance(given, (list, tuple)) and len(given) == len(names):
        parts = list(given)
    else:
        got = f"{len(given)} of them" if isinstance(given, (list, tuple)) else type(given).__name__
        raise ValueError(f"{what} must be a list of {len(names)} arrays, for {', '.join(names)}, got {got}")
    return [
        None if part is None and not use else numbers(part, what if len(names) == 1 else f"{what}, {name},")
        for part, use, name in zip(parts, used, names, strict=True)
    ]


def listed(parts: Any) -> list[Any]:
    return parts if isinstance(parts, list) else [parts]


def rows_of(arrays: Sequence[Array | None], rows: slice) -> list[Any]:
    return [None if array is None else array[rows] for array in arrays]
