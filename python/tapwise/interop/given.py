"""What foreign code passes, as the operations take it: arrays of any strides, in the float types of the backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backend
from ..ops.check import as_array

Array = NDArray[Any]


def floats(x: Any, name: str) -> Array:
    """x (NumPy, DLPack or a buffer) as a contiguous array; itself, unless its strides ask for a copy.

    Raises TypeError on another type than float32, or float64 where the backend in use has no kernels for it.
    """
    array = as_array(x, name)
    if array.dtype == np.float64 and backend.name() == "native":
        raise TypeError(
            f"{name} must be float32 on the native backend, got float64: pass {name}.astype(np.float32), or compute in "
            f'float64 within `with tapwise.backend.use("numba"):`'
        )
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    return np.ascontiguousarray(array)


def whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)
