"""Metrics of right and wrong answers by kind: counted for thresholds of one output, or by classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .metric import Array, Metric, example_weights

SMALL = 1e-7


class Confusion(Metric):
    """Weights of true and false positives and negatives, for each threshold: y_pred above it counts as yes."""

    def __init__(self, thresholds: float | Sequence[float] | None, name: str, class_id: int | None = None) -> None:
        self.single = thresholds is None or isinstance(thresholds, (int, float))
        self.thresholds = np.atleast_1d(np.asarray(0.5 if thresholds is None else thresholds, np.float64))
        self.class_id = class_id
        super().__init__(name)

    def reset_state(self) -> None:
        self.true_positives, self.false_positives, self.true_negatives, self.false_negatives = np.zeros(
            (4, len(self.thresholds))
        )

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        y_pred = np.asarray(y_pred)
        y_true = np.asarray(y_true).reshape(y_pred.shape)
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        weights = np.ones(y_pred.shape) if sample_weight is None else example_weights(sample_weight, y_pred)
        wanted, given, weights = y_true.ravel() > 0, y_pred.ravel().astype(np.float64), weights.ravel()
        for sign, right, wrong in ((True, self.true_positives, self.false_negatives),
                                   (False, self.false_positives, self.true_negatives)):  # fmt: skip
            part = wanted == sign
            order = np.argsort(given[part])
            sums = np.concatenate([[0.0], np.cumsum(weights[part][order])])
            below = sums[np.searchsorted(given[part][order], self.thresholds, side="right")]
            right += sums[-1] - below
            wrong += below

    def one(self, values: Array) -> Any:
        return float(values[0]) if self.single else values.tolist()


def ratio(a: Array, b: Array) -> Array:
    """a / b, 0 where b is."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


class TruePositives(Confusion):
    """Their number."""

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str = "true_positives") -> None:
        super().__init__(thresholds, name)

    def result(self) -> Any:
        return self.one(self.true_positives)


class TrueNegatives(Confusion):
    """Their number."""

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str = "true_negatives") -> None:
        super().__init__(thresholds, name)

    def result(self) -> Any:
        return self.one(self.true_negatives)


class FalsePositives(Confusion):
    """Their number."""

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str = "false_positives") -> None:
        super().__init__(thresholds, name)

    def result(self) -> Any:
        return self.one(self.false_positives)


class FalseNegatives(Confusion):
    """Their number."""

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str = "false_negatives") -> None:
        super().__init__(thresholds, name)

    def result(self) -> Any:
        return self.one(self.false_negatives)


class Precision(Confusion):
    """true positives / all positives given; of the outputs above thresholds, or of class_id's alone."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        class_id: int | None = None,
        name: str = "precision",
    ) -> None:
        super().__init__(thresholds, name, class_id)

    def result(self) -> Any:
        return self.one(ratio(self.true_positives, self.true_positives + self.false_positives))


class Recall(Confusion):
    """true positives / all positives wanted; arguments as in Precision."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        class_id: int | None = None,
        name: str = "recall",
    ) -> None:
        super().__init__(thresholds, name, class_id)

    def result(self) -> Any:
        return self.one(ratio(self.true_positives, self.true_positives + self.false_negatives))


class AUC(Confusion):
    """The area under the curve of num_thresholds points, by trapezoids: "ROC" (recall over the false positives' rate),

    or "PR" (precision over recall, between points as Davis & Goadrich, 2006, have it).
    """

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC", name: str = "auc") -> None:
        if num_thresholds < 2 or curve not in ("ROC", "PR"):
            raise ValueError(f'num_thresholds must be > 1 and curve "ROC" or "PR", got {num_thresholds} and {curve!r}')
        inner = np.arange(1, num_thresholds - 1) / (num_thresholds - 1)
        super().__init__([-SMALL, *inner, 1 + SMALL], name)
        self.curve = curve

    def result(self) -> float:
        recall = ratio(self.true_positives, self.true_positives + self.false_negatives)
        if self.curve == "ROC":
            rate = ratio(self.false_positives, self.false_positives + self.true_negatives)
            return float(((rate[:-1] - rate[1:]) * (recall[:-1] + recall[1:]) / 2).sum())
        positives = self.true_positives + self.false_positives
        dtp, dp = -np.diff(self.true_positives), -np.diff(positives)
        slope = ratio(dtp, np.maximum(dp, 0))
        intercept = self.true_positives[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        rise = np.where(both, ratio(positives[:-1], np.maximum(positives[1:], 0)), 1.0)
        total = self.true_positives[1:] + self.false_negatives[1:]
        return float(ratio(slope * (dtp + intercept * np.log(np.where(rise > 0, rise, 1.0))), total).sum())


class F1Score(Metric):
    """2 * precision * recall / (precision + recall) of each class; y_true and y_pred (n, classes).

    threshold None takes the largest output as the answer, a number all above it. average: None for all classes, or
    "micro", "macro", "weighted".
    """

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score") -> None:
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"average must be None, micro, macro or weighted, got {average!r}")
        super().__init__(name)
        self.average, self.threshold = average, threshold

    def reset_state(self) -> None:
        self.counts: Array | None = None

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        y_true, y_pred = np.asarray(y_true, np.float64), np.asarray(y_pred)
        y_true = y_true.reshape(y_pred.shape)
        if self.threshold is None:
            given = (y_pred == y_pred.max(-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            given = y_pred > self.threshold
        weights = np.ones(y_pred.shape) if sample_weight is None else example_weights(sample_weight, y_pred)
        axes = None if self.average == "micro" else 0
        parts = (given * y_true, given * (1 - y_true), ~given * y_true, y_true)
        found = np.array([np.atleast_1d((part * weights).sum(axes)) for part in parts])
        self.counts = found if self.counts is None else self.counts + found

    def result(self) -> Any:
        if self.counts is None:
            return 0.0
        right, wrong, missed, wanted = self.counts
        scores = 2 * right / (2 * right + wrong + missed + SMALL)
        if self.average == "weighted":
            return float((scores * wanted / wanted.sum()).sum()) if wanted.sum() else 0.0
        return scores.tolist() if self.average is None else float(scores.mean())


class ConfusionMatrix(Metric):
    """result()[i][j]: the weight of examples of class i that were taken for class j.

    y_true: class numbers, or (n, ..., num_classes) with sparse_y_true=False; y_pred: (n, ..., num_classes), of which
    the largest counts, or class numbers with sparse_y_pred=True. Where y_true is ignore_class nothing counts.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "confusion_matrix",
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = False,
    ) -> None:
        self.num_classes, self.ignore_class = num_classes, ignore_class
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        super().__init__(name)

    def reset_state(self) -> None:
        self.matrix = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        given = np.asarray(y_pred) if self.sparse_y_pred else np.asarray(y_pred).argmax(-1)
        wanted = (np.asarray(y_true) if self.sparse_y_true else np.asarray(y_true).argmax(-1)).reshape(given.shape)
        weights = None if sample_weight is None else example_weights(sample_weight, given).ravel()
        if self.ignore_class is not None:
            counted = wanted != self.ignore_class
            wanted, given = wanted[counted], given[counted]
            weights = None if weights is None else weights[counted.ravel()]
        both = wanted.ravel().astype(np.intp) * self.num_classes + given.ravel().astype(np.intp)
        counts = np.bincount(both, weights, self.num_classes**2)
        self.matrix += counts.reshape(self.matrix.shape)

    def result(self) -> Any:
        return self.matrix.tolist()


class MeanIoU(ConfusionMatrix):
    """The mean over the classes that occur of common / (wanted + given - common); arguments as in ConfusionMatrix."""

    def __init__(
        self,
        num_classes: int,
        name: str = "mean_io_u",
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
    ) -> None:
        super().__init__(num_classes, name, ignore_class, sparse_y_true, sparse_y_pred)

    def result(self) -> float:
        common = np.diag(self.matrix)
        union = self.matrix.sum(0) + self.matrix.sum(1) - common
        return float(ratio(common, union).sum() / max(1, (union > 0).sum()))
