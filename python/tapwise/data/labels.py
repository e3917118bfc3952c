"""Class numbers as rows with a 1, vectors of length 1, texts of one length: by Keras' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """Classes x (n, ...) or (n, ..., 1) -> y (n, ..., num_classes) float32, 1 at the class; one more than the largest.

    Raises ValueError on a class outside [0, num_classes).
    """
    x = np.asarray(x)
    if x.ndim > 1 and x.shape[-1] == 1:
        x = x[..., 0]
    numbers = x.astype(np.int64)
    if not (numbers == x).all() or not numbers.size:
        raise ValueError(f"x must hold whole numbers, the classes, got {x.dtype} of shape {x.shape}")
    count = int(numbers.max()) + 1 if num_classes is None else num_classes
    if not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(f"x must be in [0, {count}), got {numbers.min()} to {numbers.max()}")
    y: NDArray[np.float32] = (numbers[..., None] == np.arange(count)).astype(np.float32)
    return y


def normalize(x: ArrayLike, axis: int = -1, order: int = 2) -> NDArray[Any]:
    """x divided by its norm of that order along axis; zeros stay."""
    x = np.asarray(x)
    size = np.linalg.norm(np.atleast_1d(x), order, axis, keepdims=True)
    return np.asarray(np.atleast_1d(x) / np.where(size == 0, 1, size))


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> NDArray[Any]:
    """Lists of numbers -> (n, maxlen), filled with value and cut at the front ("pre") or the end ("post")."""
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f'{name} must be "pre" or "post", got {given!r}')
    length = max(map(len, sequences), default=0) if maxlen is None else maxlen
    y = np.full((len(sequences), length), value, dtype)
    for row, sequence in zip(y, sequences, strict=True):
        kept = list(sequence[max(0, len(sequence) - length) :] if truncating == "pre" else sequence[:length])
        if kept:
            row[slice(length - len(kept), None) if padding == "pre" else slice(len(kept))] = kept
    return y
