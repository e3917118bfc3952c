"""How the kernels of this backend are compiled, and the arrays they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit

from ..interface import Array

__all__ = ["Array", "Size", "kernel", "silent", "typed"]

Size: TypeAlias = tuple[int, ...]  # three, along depth, height and width
P = ParamSpec("P")
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def kernel(function: Kernel) -> Kernel:
    """Compile the function for each float type when it is first called, and keep the result on disk.

    It runs without the GIL, on our threads: parallel=True would load OpenMP. No fastmath: NaN and infinity have rules.
    """
    try:
        return cast(Kernel, njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # no directory to keep it in can be written
        return cast(Kernel, njit(nogil=True, error_model="numpy")(function))


def silent(operation: Callable[P, None]) -> Callable[P, None]:
    """Infinity and NaN are results, not something NumPy should warn of."""

    @wraps(operation)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> None:
        with np.errstate(all="ignore"):
            operation(*args, **kwargs)

    return quiet


class _Memory:
    """The memory of an array, called writeable; keeps the array alive."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def typed(array: Array) -> Array:
    """An input as kernels take it. Numba would compile each kernel again for a read-only array: a type of its own."""
    return array if array.flags.writeable or not array.size else np.asarray(_Memory(array))
