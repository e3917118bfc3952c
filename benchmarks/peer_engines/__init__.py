"""Each engine in a module of its own: start(settings) and calls(row, arrays); worker.py runs one in a process."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Call(NamedTuple):
    """One way to run a row. Ways with the same column compete: the fastest is the engine's figure."""

    column: str
    run: Callable[[], object]
    result: Callable[[object], np.ndarray]  # what run returned -> the output, channels last


def channels_first(a):
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def channels_last(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def output_first(w):
    """w (*k, ci // groups, co) -> (co, ci // groups, *k)."""
    return np.ascontiguousarray(np.moveaxis(w, (-1, -2), (0, 1)))


def output_last(w):
    return np.ascontiguousarray(np.moveaxis(w, (0, 1), (-1, -2)))


def chain_weights(row, w):
    """The weights of each layer of the chain: copies, so that each has memory of its own."""
    return [w.copy() for _ in range(row.chain)]
