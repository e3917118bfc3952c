"""What every loss is: values an example, and the gradient of their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configured import Configured
from ..layers.layer import shape_text, snake_case

Array = NDArray[Any]
EPSILON = 1e-7  # Keras' bound on a probability inside a logarithm
MEAN = "sum_over_batch_size"
REDUCTIONS = (MEAN, "mean", "sum", "mean_with_sample_weight", "none")


class Loss(Configured):
    """y_true (n, ...) is what is wanted, y_pred (n, ...) what the model gave; positions count as examples alike.

    A subclass defines values and gradient, and check where y_true hasn't the shape of y_pred. reduction makes one
    number of the values, each times its example's weight: "sum_over_batch_size" or "mean", their mean; "sum";
    "mean_with_sample_weight", their sum over that of the weights; None or "none", which can't be trained, themselves.
    """

    reduction = MEAN  # of a subclass that doesn't call __init__

    def __init__(self, *, reduction: str | None = MEAN, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reduction = "none" if reduction is None else reduction
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)} or None, got {reduction!r}")

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """A float, or the values (n, ...) without a reduction; sample_weight (n,)."""
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        self.check(y_true, y_pred.shape[1:])
        values = self.values(y_true, y_pred)
        if self.reduction == "none":
            shape = values.shape if values.size % np.prod(y_pred.shape[:-1], dtype=int) else y_pred.shape[:-1]
            values = values.reshape(shape)
            return values if sample_weight is None else (values.T * np.asarray(sample_weight, values.dtype)).T
        weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        return self.reduced(values, weights, len(y_pred))[0]

    def reduced(self, values: Array, weights: Array | None, items: int) -> tuple[float, float]:
        """values of so many examples, with weights (items,) or None, as one number; and what times the gradient of
        their mean, each example's times its weight, gives that of this number."""
        count = values.size
        if weights is not None:
            if count % items:
                raise ValueError(f"sample_weight must be None for {self.name}, which has no value for each example")
            values = values.reshape(items, -1) * weights[:, None]
        mean = float(np.mean(values, dtype=np.float64))
        if self.reduction == "sum":
            return mean * count, float(count)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            total = float(weights.sum()) * count / items
            factor = count / total if total else 0.0
            return mean * factor, factor
        return mean, 1.0

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
