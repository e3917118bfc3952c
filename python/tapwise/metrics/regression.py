"""Metrics of numbers: the mean of a loss's values, its root, and the share of variance explained."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import losses
from ..layers.layer import snake_case
from .metric import Array, Metric, example_weights


class MeanLoss(Metric):
    """The mean of the values of a loss, over batches."""

    of: ClassVar[type[losses.Loss]]
    sign: ClassVar[int] = 1

    def __init__(self, name: str | None = None, **loss: Any) -> None:
        self.loss = self.of(**loss)
        super().__init__(name or snake_case(type(self).__name__))

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        values = self.loss.values(y_true, y_pred)
        shape = (len(y_pred), values.size // max(1, len(y_pred)))
        self.add_values(self.sign * values.reshape(shape), sample_weight)


class MeanSquaredError(MeanLoss):
    """mean((y_true - y_pred) ** 2)."""

    of = losses.MeanSquaredError


class RootMeanSquaredError(MeanSquaredError):
    """sqrt(mean((y_true - y_pred) ** 2)), the mean over all batches."""

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(MeanLoss):
    """mean(|y_true - y_pred|)."""

    of = losses.MeanAbsoluteError


class MeanAbsolutePercentageError(MeanLoss):
    """mean(100 * |y_true - y_pred| / |y_true|)."""

    of = losses.MeanAbsolutePercentageError


class KLDivergence(MeanLoss):
    """sum(y * log(y / p))."""

    of = losses.KLDivergence


class Hinge(MeanLoss):
    """mean(max(0, 1 - y * p))."""

    of = losses.Hinge


class CosineSimilarity(MeanLoss):
    """The cosine of the angle: 1 for the same direction, where the loss has -1."""

    of = losses.CosineSimilarity
    sign = -1


class BinaryCrossentropy(MeanLoss):
    """The loss's values; from_logits and label_smoothing are its."""

    of = losses.BinaryCrossentropy


class CategoricalCrossentropy(MeanLoss):
    """The loss's values; from_logits and label_smoothing are its."""

    of = losses.CategoricalCrossentropy


class SparseCategoricalCrossentropy(MeanLoss):
    """The loss's values; from_logits is its."""

    of = losses.SparseCategoricalCrossentropy


class R2Score(Metric):
    """1 - sum((y_true - y_pred)**2) / sum((y_true - mean(y_true))**2) for each output, then their mean.

    class_aggregation: "uniform_average", "variance_weighted_average", or None for the list.
    """

    def __init__(self, class_aggregation: str | None = "uniform_average", name: str = "r2_score") -> None:
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                "class_aggregation must be None, uniform_average or variance_weighted_average, "
                f"got {class_aggregation!r}"
            )
        super().__init__(name)
        self.class_aggregation = class_aggregation

    def reset_state(self) -> None:
        self.sums: Array | None = None

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        y_pred = np.asarray(y_pred, np.float64)
        y_true = np.asarray(y_true, np.float64).reshape(y_pred.shape)
        y_true, y_pred = y_true.reshape(len(y_true), -1), y_pred.reshape(len(y_pred), -1)
        w = np.ones(y_true.shape) if sample_weight is None else example_weights(sample_weight, y_true)
        found = np.stack([(w * part).sum(0) for part in (np.ones_like(w), y_true, y_true**2, (y_true - y_pred) ** 2)])
        self.sums = found if self.sums is None else self.sums + found

    def result(self) -> Any:
        if self.sums is None:
            return 0.0
        count, total, squares, errors = self.sums
        spread = squares - total**2 / count
        scores = 1 - np.divide(errors, spread, out=np.zeros_like(errors), where=spread != 0)
        if self.class_aggregation is None:
            return scores.tolist()
        weights = spread if self.class_aggregation == "variance_weighted_average" else np.ones_like(spread)
        return float((scores * weights).sum() / weights.sum())
