"""What every metric is: update_state(y_true, y_pred) for batches, result() of all since reset_state()."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configured import Configured

Array = NDArray[Any]


class Metric(Configured):
    """The mean of what update_state has added since the last reset_state; 0.0 before that, as in Keras.

    A subclass defines update_state, and reset_state and result where it keeps more than a total and a count.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset_state()

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        raise NotImplementedError

    def result(self) -> Any:
        return self.total / self.count if self.count else 0.0

    def add_values(self, values: Array, sample_weight: ArrayLike | None) -> None:
        """values (n, ...) to the mean, each times its example's weight."""
        if sample_weight is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
            return
        weights = example_weights(sample_weight, values)
        self.total += float((values * weights).sum(dtype=np.float64))
        self.count += float(weights.sum(dtype=np.float64))


def example_weights(sample_weight: ArrayLike, values: Array) -> Array:
    """sample_weight (n, ...) in the shape of values (n, ...)."""
    weights = np.asarray(sample_weight, np.float64)
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim)), values.shape)


class Mean(Metric):
    """sum(values * sample_weight) / sum(sample_weight)."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(  # type: ignore[override]  # as in Keras
        self, values: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """values of any shape; sample_weight (1 by default) broadcasts to it."""
        values = np.asarray(values, np.float64)
        weights = np.broadcast_to(1.0 if sample_weight is None else np.asarray(sample_weight, np.float64), values.shape)
        self.total += float((values * weights).sum())
        self.count += float(weights.sum())

    def add(self, value: float, count: float) -> None:
        """A value that stands for so many, without the arrays of update_state."""
        self.total += value * count
        self.count += count
