"""Accuracies: the share of examples whose answer is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .metric import Array, Metric


class Matches(Metric):
    """Base of the accuracies: the share of examples that `matches` says are right."""

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        self.add_values(self.matches(np.asarray(y_true), np.asarray(y_pred)), sample_weight)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        raise NotImplementedError


class SparseCategoricalAccuracy(Matches):
    """y_true (n,) or (n, 1) class numbers, y_pred (n, classes): the largest output is that class."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        best: Array = y_pred.argmax(-1)
        return np.asarray(best == y_true.reshape(best.shape))


class CategoricalAccuracy(Matches):
    """y_true and y_pred (n, classes): the largest output is where y_true is largest."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(y_true.argmax(-1) == y_pred.argmax(-1))


class BinaryAccuracy(Matches):
    """y_true of 0 and 1, y_pred of the same number of elements: an output above threshold counts as 1."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray((y_pred > self.threshold) == y_true.reshape(y_pred.shape))


class Accuracy(Matches):
    """The share of numbers of y_pred that equal those of y_true."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(y_pred == y_true.reshape(y_pred.shape))


class SparseTopKCategoricalAccuracy(Matches):
    """y_true (n,) or (n, 1) class numbers: fewer than k outputs are larger than that of the class."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = k

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        own = np.take_along_axis(y_pred, y_true.reshape(*y_pred.shape[:-1], 1).astype(np.intp), -1)
        return np.asarray(((y_pred > own).sum(-1) < self.k) & np.isfinite(own[..., 0]))


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """y_true (n, classes): fewer than k outputs are larger than that where y_true is largest."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(k, name)

    def matches(self, y_true: Array, y_pred: Array) -> Array:
        return super().matches(y_true.argmax(-1), y_pred)
