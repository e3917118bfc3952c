"""Numbers to watch while a model trains, by Keras' names: update_state(y_true, y_pred), result(), reset_state()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class Metric:
    """The mean of what update_state has added since the last reset_state; 0.0 before that, as in Keras."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset_state()

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        raise NotImplementedError

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0


class Mean(Metric):
    """sum(values * sample_weight) / sum(sample_weight)."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(self, values: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """values of any shape; sample_weight (1 by default) broadcasts to it."""
        values = np.asarray(values, np.float64)
        weights = np.broadcast_to(1.0 if sample_weight is None else np.asarray(sample_weight, np.float64), values.shape)
        self.total += float((values * weights).sum())
        self.count += float(weights.sum())

    def add(self, value: float, count: float) -> None:
        """A value that stands for so many, without the arrays of update_state."""
        self.total += value * count
        self.count += count


class Accuracy(Metric):
    """Base of the accuracies: the share of examples that `matches` says are right."""

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        right = self.matches(np.asarray(y_true), np.asarray(y_pred))
        self.total += float(right.sum())
        self.count += right.size

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        raise NotImplementedError


class SparseCategoricalAccuracy(Accuracy):
    """y_true (n,) or (n, 1) class numbers, y_pred (n, classes): the largest output is that class."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        best: Array = y_pred.argmax(-1)
        return np.asarray(best == y_true.reshape(best.shape))


class CategoricalAccuracy(Accuracy):
    """y_true and y_pred (n, classes): the largest output is where y_true is largest."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(y_true.argmax(-1) == y_pred.argmax(-1))


class BinaryAccuracy(Accuracy):
    """y_true of 0 and 1, y_pred of the same number of elements: an output above threshold counts as 1."""

    def __init__(self, name: str = "binary_accuracy", *, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray((y_pred > self.threshold) == y_true.reshape(y_pred.shape))


NAMES: dict[str, Callable[[], Metric]] = {
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
}


def get(identifier: str | Metric, y_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> Metric:
    """A metric by name, or as it is; shapes with the batch axis.

    "accuracy" and "acc" are the accuracy that fits targets of y_shape and outputs of output_shape, by Keras' rule.
    Raises ValueError on an unknown name.
    """
    if isinstance(identifier, Metric):
        return identifier
    if identifier in ("accuracy", "acc"):
        if output_shape[-1] == 1:
            return BinaryAccuracy(identifier)
        if len(y_shape) < len(output_shape) or y_shape[-1] == 1:
            return SparseCategoricalAccuracy(identifier)
        return CategoricalAccuracy(identifier)
    if identifier not in NAMES:
        raise ValueError(f"metric must be one of accuracy, {', '.join(NAMES)} or a Metric, got {identifier!r}")
    return NAMES[identifier]()
