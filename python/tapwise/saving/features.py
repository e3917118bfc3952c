"""What a frozen network makes of images, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from .weights import named_weights, replacing

if TYPE_CHECKING:
    from ..model import Model


def features(
    model: Model, x: NDArray[Any], folder: str | os.PathLike[str], *, batch_size: int = 32, verbose: int | str = "auto"
) -> NDArray[Any]:
    """model.predict(x), x (n, ...) -> y (n, ...), read from a file of the folder where it was computed before.

    The file is named after all that the result depends on: the layers, their weights, x and the version of Tapwise. It
    is written whole or not at all, and one that is damaged is computed again. Models of several outputs are refused.
    """
    if len(model.outputs) != 1:
        raise ValueError(f"model must have one output, got {len(model.outputs)}")
    path = Path(folder) / f"{digest(model, x)}.npy"
    found = kept(path, (len(x), *model.result_shape))
    if found is not None:
        return found
    y: NDArray[Any] = model.predict(x, batch_size=batch_size, verbose=verbose)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.save(file, y, allow_pickle=False)
    return y


def kept(path: Path, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The array in a file that `features` wrote; None where there is none, or none of that shape."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.array(array) if array.shape == shape and array.dtype.kind == "f" else None


def digest(model: Model, x: NDArray[Any]) -> str:
    found = hashlib.sha256(json.dumps([__version__, model.get_config(), x.shape, x.dtype.str]).encode())
    for array in (*named_weights(model).values(), x):
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:32]
