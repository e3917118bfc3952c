"""A model's weights in an .npz file, one array for each, named layer/weight."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data.npz import read_arrays

if TYPE_CHECKING:
    from .model import Sequential


def save_weights(path: str | os.PathLike[str], model: Sequential) -> None:
    """Write all weights; the file that was there is replaced only when the new one is complete."""
    path = Path(path).resolve()  # a link keeps pointing at the file that it points at
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            np.savez(file, **named_weights(model))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def load_weights(path: str | os.PathLike[str], model: Sequential) -> None:
    """Give a built model the weights that save_weights wrote; on an error it keeps its own.

    Raises ValueError naming the file if it is no such file or comes from another model.
    """
    arrays = read_arrays(path)
    names = list(named_weights(model))
    if list(arrays) != names:
        raise ValueError(f"{path}: must hold the weights {', '.join(names)}, got {', '.join(arrays)}")
    try:
        model.set_weights(list(arrays.values()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def named_weights(model: Sequential) -> dict[str, Any]:
    """The arrays by name, in the order of get_weights."""
    return {f"{layer.name}/{weight.name}": weight.value for layer in model.layers for weight in layer.weights}
