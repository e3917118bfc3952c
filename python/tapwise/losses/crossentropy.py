"""Cross-entropies: of classes that exclude one another, of yes and no, and the focal ones."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import ops
from ..layers.layer import shape_text
from .loss import EPSILON, MEAN, Array, Loss, as_output, need_numbers


class CrossEntropy(Loss):
    """-sum over the last axis of y * log(p), where p is y_pred, or softmax(y_pred) with from_logits.

    Probabilities are divided by their sum and kept within [1e-7, 1 - 1e-7] as in Keras; the gradient takes p as kept,
    so that it doesn't vanish there. on_logits is the same loss for a softmax's input: exact for any confidence.
    """

    def __init__(self, from_logits: bool, reduction: str | None, name: str) -> None:
        super().__init__(reduction=reduction, name=name)
        self.from_logits = from_logits

    def on_logits(self) -> CrossEntropy:
        raise NotImplementedError

    def _rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Labels as the operation takes them, and outputs (rows, classes)."""
        raise NotImplementedError

    def values(self, y_true: Array, y_pred: Array) -> Array:
        labels, output = self._rows(y_true, y_pred)
        if self.from_logits:
            return ops.softmax_cross_entropy(output, labels)
        p = np.clip(output / output.sum(-1, keepdims=True), EPSILON, 1 - EPSILON)
        values: Array = -(_one_hot(labels, p) * np.log(p)).sum(-1)
        return values

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        labels, output = self._rows(y_true, y_pred)
        if self.from_logits:
            scale = np.full(len(output), 1 / len(output), output.dtype)
            return ops.softmax_cross_entropy_grad(output, labels, scale).reshape(y_pred.shape)
        total = output.sum(-1, keepdims=True)
        p = np.clip(output / total, EPSILON, 1 - EPSILON)
        wanted = _one_hot(labels, p)
        gradient: Array = (wanted.sum(-1, keepdims=True) - wanted / p) / (total * len(output))
        return gradient.reshape(y_pred.shape)


class CategoricalCrossentropy(CrossEntropy):
    """-sum(y * log(p)), y_true (n, ..., classes): probabilities of the classes, one-hot for known ones.

    label_smoothing s: y becomes (1 - s) * y + s / classes.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = MEAN,
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, reduction, name)
        self.label_smoothing = share("label_smoothing", label_smoothing)

    def on_logits(self) -> CategoricalCrossentropy:
        return CategoricalCrossentropy(True, self.label_smoothing, reduction=self.reduction, name=self.name)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        need_numbers(y_true)
        if y_true.shape[1:] != output_shape:
            raise ValueError(
                f"y must hold one number a class for {self.name}, {shape_text(output_shape)}, got {y_true.shape}; "
                "sparse_categorical_crossentropy takes class numbers"
            )

    def _rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        classes = y_pred.shape[-1]
        labels = np.ascontiguousarray(y_true, y_pred.dtype).reshape(-1, classes)
        if self.label_smoothing:
            labels = labels * labels.dtype.type(1 - self.label_smoothing)
            labels += labels.dtype.type(self.label_smoothing / classes)
        return labels, y_pred.reshape(-1, classes)


class SparseCategoricalCrossentropy(CrossEntropy):
    """-log(p[y]), y_true (n, ...) or (n, ..., 1): whole numbers, the classes.

    ignore_class: positions of that number cost nothing and don't count in the mean, as the unlabelled pixels of a map.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        *,
        reduction: str | None = MEAN,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, reduction, name)
        self.ignore_class = None if ignore_class is None else operator.index(ignore_class)

    def on_logits(self) -> SparseCategoricalCrossentropy:
        return SparseCategoricalCrossentropy(True, self.ignore_class, reduction=self.reduction, name=self.name)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        *positions, classes = output_shape
        if y_true.dtype.kind not in "iu":
            raise ValueError(f"y must hold whole numbers, the classes, for {self.name}, got {y_true.dtype}")
        if y_true.shape[1:] not in ((*positions,), (*positions, 1)):
            raise ValueError(
                f"y must hold one class number an example for {self.name}, {shape_text(tuple(positions))}, "
                f"got {y_true.shape}; categorical_crossentropy takes one number a class"
            )
        if y_true.size and not 0 <= y_true.min() <= y_true.max() < classes:
            wrong = (y_true < 0) | (y_true >= classes)
            if self.ignore_class is not None:
                wrong &= y_true != self.ignore_class
                if not wrong.any():
                    return
            where = np.unravel_index(np.flatnonzero(wrong)[0], y_true.shape)
            ignored = "" if self.ignore_class is None else f" or {self.ignore_class}, which is ignored,"
            raise ValueError(
                f"y must be in [0, {classes}){ignored} for outputs {shape_text(output_shape)}, "
                f"got {y_true[where]} at index {', '.join(map(str, where))}"
            )

    def _rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        labels = np.ascontiguousarray(y_true, np.int32).reshape(-1)
        if self.ignore_class is not None:
            labels = np.where(labels == self.ignore_class, np.int32(0), labels)
        return labels, y_pred.reshape(-1, y_pred.shape[-1])

    def _shares(self, y_true: Array, dtype: np.dtype[Any]) -> Array:
        """What each position counts in the mean of all: 0 where it is ignored, and the others so much the more."""
        counted = y_true.reshape(-1) != self.ignore_class
        total = len(counted) / max(1, int(counted.sum())) if self.reduction in (MEAN, "mean") else 1.0
        return np.asarray(counted * dtype.type(total))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        values = super().values(y_true, y_pred)
        return values if self.ignore_class is None else values * self._shares(y_true, values.dtype)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        gradient = super().gradient(y_true, y_pred)
        if self.ignore_class is not None:
            gradient *= self._shares(y_true, gradient.dtype).reshape(*gradient.shape[:-1], 1)
        return gradient


def _one_hot(labels: Array, like: Array) -> Array:
    """Class numbers (rows,) as rows of zeros with one 1; probabilities (rows, classes) as they are."""
    if labels.ndim == 2:
        return labels
    return np.asarray(labels[:, None] == np.arange(like.shape[1]), like.dtype)


def share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
    return float(value)


class BinaryCrossentropy(Loss):
    """mean(-(y * log(p) + (1 - y) * log(1 - p))) over the last axis; p is y_pred, or its sigmoid with from_logits.

    label_smoothing s: y becomes (1 - s) * y + s / 2. p is kept within [1e-7, 1 - 1e-7] as in Keras.
    """

    gamma = 0.0

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = MEAN,
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.from_logits, self.label_smoothing = from_logits, share("label_smoothing", label_smoothing)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        super().check(y_true, output_shape)
        if y_true.size and not (y_true.min() >= 0 and y_true.max() <= 1):
            raise ValueError(f"y must be in [0, 1] for {self.name}, got {y_true.min()} to {y_true.max()}")

    def _terms(self, y_true: Array, y_pred: Array) -> tuple[Array, Array, Array, Array]:
        """y, p, log(p) and log(1 - p)."""
        y = as_output(y_true, y_pred)
        if self.label_smoothing:
            y = y * y.dtype.type(1 - self.label_smoothing) + y.dtype.type(self.label_smoothing / 2)
        if self.from_logits:
            zero = y_pred.dtype.type(0)
            log_p, log_q = -np.logaddexp(zero, -y_pred), -np.logaddexp(zero, y_pred)
            return y, np.exp(log_p), log_p, log_q
        p = np.clip(y_pred, EPSILON, 1 - EPSILON)
        return y, p, np.log(p), np.log(1 - p)

    def _balance(self, y: Array) -> Array | float:
        return 1.0

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y, p, log_p, log_q = self._terms(y_true, y_pred)
        values = -(y * log_p + (1 - y) * log_q) * self._balance(y)
        if self.gamma:
            values *= (1 - (y * p + (1 - y) * (1 - p))) ** self.gamma
        return np.asarray(values.mean(-1))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        y, p, log_p, log_q = self._terms(y_true, y_pred)
        slope = p - y if self.from_logits else (p - y) / (p * (1 - p))
        if self.gamma:
            wrong = 1 - (y * p + (1 - y) * (1 - p))
            inner = p * (1 - p) if self.from_logits else 1.0
            entropy = -(y * log_p + (1 - y) * log_q)
            power = wrong ** (self.gamma - 1)
            slope = power * (wrong * slope + self.gamma * (1 - 2 * y) * entropy * inner)
        return np.asarray(slope * self._balance(y) * y_pred.dtype.type(1 / y_pred.size), y_pred.dtype)


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """(1 - q)**gamma times the binary cross-entropy, q the probability given to what is wanted.

    With apply_class_balancing times alpha for ones and 1 - alpha for zeros too. Lin et al., "Focal Loss", 2017.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = MEAN,
        name: str = "binary_focal_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction=reduction, name=name)
        self.apply_class_balancing, self.alpha, self.gamma = apply_class_balancing, alpha, gamma

    def _balance(self, y: Array) -> Array | float:
        return y * self.alpha + (1 - y) * (1 - self.alpha) if self.apply_class_balancing else 1.0


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """-alpha * sum(y * (1 - p)**gamma * log(p)), p as in CategoricalCrossentropy."""

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = MEAN,
        name: str = "categorical_focal_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction=reduction, name=name)
        self.alpha, self.gamma = alpha, gamma

    def on_logits(self) -> CategoricalFocalCrossentropy:
        return CategoricalFocalCrossentropy(
            self.alpha, self.gamma, True, self.label_smoothing, reduction=self.reduction, name=self.name
        )

    def _p(self, output: Array) -> tuple[Array, Array]:
        """p, kept within its bounds, and the sum that it was divided by, 1 for logits."""
        if self.from_logits:
            p, total = ops.softmax(output), np.ones((len(output), 1), output.dtype)
        else:
            total = output.sum(-1, keepdims=True)
            p = output / total
        return np.clip(p, EPSILON, 1 - EPSILON), total

    def values(self, y_true: Array, y_pred: Array) -> Array:
        labels, output = self._rows(y_true, y_pred)
        p, _ = self._p(output)
        return np.asarray(-self.alpha * (labels * (1 - p) ** self.gamma * np.log(p)).sum(-1))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        labels, output = self._rows(y_true, y_pred)
        p, total = self._p(output)
        power = (1 - p) ** (self.gamma - 1)
        slope = -self.alpha * labels * power * ((1 - p) / p - self.gamma * np.log(p))
        mean = (slope * p).sum(-1, keepdims=True)
        gradient = p * (slope - mean) if self.from_logits else (slope - mean) / total
        return np.asarray(gradient / len(output), y_pred.dtype).reshape(y_pred.shape)
