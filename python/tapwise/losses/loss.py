"""What every loss is: values an example, and the gradient of their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configured import Configured
from ..layers.layer import shape_text, snake_case

Array = NDArray[Any]
EPSILON = 1e-7  # Keras' bound on a probability inside a logarithm


class Loss(Configured):
    """y_true (n, ...) is what is wanted, y_pred (n, ...) what the model gave; positions count as examples alike.

    A subclass defines values and gradient, and check where y_true hasn't the shape of y_pred.
    """

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        self.check(y_true, y_pred.shape[1:])
        return float(np.mean(self.values(y_true, y_pred), dtype=np.float64))

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError if y_true can't be the target of outputs (n, *output_shape)."""
        need_numbers(y_true)
        if y_true.shape[1:] != output_shape and (y_true.ndim, output_shape) != (1, (1,)):
            raise ValueError(f"y must have the shape of the outputs, {shape_text(output_shape)}, got {y_true.shape}")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One loss an example."""
        raise NotImplementedError

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """d loss / d y_pred, in the shape and dtype of y_pred."""
        raise NotImplementedError

    def values_and_gradient(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Both; a loss that can find them in one pass over y_pred does so."""
        return self.values(y_true, y_pred), self.gradient(y_true, y_pred)


def as_output(y_true: Array, y_pred: Array) -> Array:
    """y_true in the shape and dtype of y_pred."""
    return np.asarray(y_true, y_pred.dtype).reshape(y_pred.shape)


def need_numbers(y: Array) -> None:
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y must hold real numbers, got {y.dtype}")
    if not (finite := np.isfinite(y)).all():
        where = np.unravel_index(np.flatnonzero(~finite)[0], y.shape)
        raise ValueError(f"y must be finite, got {y[where]} at index {', '.join(map(str, where))}")
