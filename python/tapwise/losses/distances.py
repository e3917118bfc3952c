"""Losses of the difference between what is wanted and given, number by number, and of how alike two vectors are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .loss import EPSILON, MEAN, Array, Loss, as_output


class Distance(Loss):
    """The mean over the last axis of `of(y, p)`, number by number, whose derivative by p is `slope(y, p)`."""

    def of(self, y: Array, p: Array) -> Array:
        raise NotImplementedError

    def slope(self, y: Array, p: Array) -> Array:
        raise NotImplementedError

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.of(as_output(y_true, y_pred), y_pred).mean(-1))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.slope(as_output(y_true, y_pred), y_pred) * y_pred.dtype.type(1 / y_pred.size))


class MeanSquaredError(Distance):
    """mean((y_true - y_pred) ** 2); y_true of the shape of y_pred, or (n,) for outputs (n, 1)."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(np.square(p - y))

    def slope(self, y: Array, p: Array) -> Array:
        return 2 * (p - y)


class MeanAbsoluteError(Distance):
    """mean(|y_true - y_pred|)."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(np.abs(p - y))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(np.sign(p - y))


class MeanAbsolutePercentageError(Distance):
    """mean(100 * |y_true - y_pred| / |y_true|)."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(100 * np.abs(p - y) / np.maximum(np.abs(y), EPSILON))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(100 * np.sign(p - y) / np.maximum(np.abs(y), EPSILON))


class MeanSquaredLogarithmicError(Distance):
    """mean((log(1 + y_true) - log(1 + y_pred)) ** 2), both at least 1e-7."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(np.square(np.log1p(np.maximum(p, EPSILON)) - np.log1p(np.maximum(y, EPSILON))))

    def slope(self, y: Array, p: Array) -> Array:
        error = np.log1p(np.maximum(p, EPSILON)) - np.log1p(np.maximum(y, EPSILON))
        return np.asarray(2 * error / (1 + np.maximum(p, EPSILON)) * (p > EPSILON))


class Huber(Distance):
    """error**2 / 2 up to delta, delta * |error| - delta**2 / 2 beyond."""

    def __init__(self, delta: float = 1.0, *, reduction: str | None = MEAN, name: str = "huber_loss") -> None:
        super().__init__(reduction=reduction, name=name)
        self.delta = delta

    def of(self, y: Array, p: Array) -> Array:
        error = np.abs(p - y)
        return np.asarray(np.where(error <= self.delta, error * error / 2, self.delta * error - self.delta**2 / 2))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(np.clip(p - y, -self.delta, self.delta))


class LogCosh(Distance):
    """mean(log(cosh(y_pred - y_true)))."""

    def of(self, y: Array, p: Array) -> Array:
        error = np.abs(p - y)
        return np.asarray(error + np.log1p(np.exp(-2 * error)) - math.log(2))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(np.tanh(p - y))


class Poisson(Distance):
    """mean(y_pred - y_true * log(y_pred))."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(p - y * np.log(p + EPSILON))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(1 - y / (p + EPSILON))


class Hinge(Distance):
    """mean(max(0, 1 - y * p)), y of -1 and 1, or of 0 and 1, which count as -1 and 1."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(np.maximum(1 - signs(y) * p, 0))

    def slope(self, y: Array, p: Array) -> Array:
        y = signs(y)
        return np.where(y * p < 1, -y, y.dtype.type(0))


class SquaredHinge(Hinge):
    """mean(max(0, 1 - y * p) ** 2), y as in Hinge."""

    def of(self, y: Array, p: Array) -> Array:
        return np.square(super().of(y, p))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(2 * Hinge.of(self, y, p) * super().slope(y, p))


def signs(y: Array) -> Array:
    return np.asarray(2 * y - 1) if ((y == 0) | (y == 1)).all() else y


class Vectors(Loss):
    """A loss of the vectors along the last axis: `of(y, p)` drops it, `slope(y, p)` is its derivative by p."""

    def of(self, y: Array, p: Array) -> Array:
        raise NotImplementedError

    def slope(self, y: Array, p: Array) -> Array:
        raise NotImplementedError

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return self.of(as_output(y_true, y_pred), y_pred)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        rows = y_pred.size // y_pred.shape[-1]
        return np.asarray(self.slope(as_output(y_true, y_pred), y_pred) * y_pred.dtype.type(1 / rows))


class KLDivergence(Vectors):
    """sum(y * log(y / p)), both kept within [1e-7, 1]."""

    def of(self, y: Array, p: Array) -> Array:
        y, p = np.clip(y, EPSILON, 1), np.clip(p, EPSILON, 1)
        return np.asarray((y * np.log(y / p)).sum(-1))

    def slope(self, y: Array, p: Array) -> Array:
        return np.asarray(-np.clip(y, EPSILON, 1) / np.clip(p, EPSILON, 1) * ((p > EPSILON) & (p < 1)))


class CategoricalHinge(Vectors):
    """max(0, 1 + max((1 - y) * p) - sum(y * p))."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(np.maximum(((1 - y) * p).max(-1) - (y * p).sum(-1) + 1, 0))

    def slope(self, y: Array, p: Array) -> Array:
        others = (1 - y) * p
        worst = np.arange(p.shape[-1]) == others.argmax(-1)[..., None]
        return np.asarray((worst * (1 - y) - y) * (self.of(y, p) > 0)[..., None], p.dtype)


class CosineSimilarity(Vectors):
    """-cos of the angle between y and p along axis, the last one: -1 for the same direction."""

    def of(self, y: Array, p: Array) -> Array:
        return np.asarray(-(y * p).sum(-1) / (length(y) * length(p))[..., 0])

    def slope(self, y: Array, p: Array) -> Array:
        y, size = y / length(y), length(p)
        p = p / size
        return np.asarray(((y * p).sum(-1, keepdims=True) * p - y) / size)


def length(x: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.square(x).sum(-1, keepdims=True), 1e-12)))


class Dice(Loss):
    """1 - 2 * sum(y * p) / (sum(y) + sum(p) + 1e-7), sums over axis: None, all of a batch; (1, 2, 3) for each image."""

    def __init__(
        self, *, reduction: str | None = MEAN, name: str = "dice", axis: int | Sequence[int] | None = None
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.axis = axis if axis is None or isinstance(axis, int) else tuple(axis)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        common, total = self._sums(as_output(y_true, y_pred), y_pred)
        return np.asarray(1 - 2 * common / total).reshape(-1)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        y = as_output(y_true, y_pred)
        common, total = self._sums(y, y_pred)
        return np.asarray(2 * (common / total - y) / total * y_pred.dtype.type(1 / common.size), y_pred.dtype)

    def _sums(self, y: Array, p: Array) -> tuple[Array, Array]:
        total = y.sum(self.axis, keepdims=True) + p.sum(self.axis, keepdims=True) + p.dtype.type(EPSILON)
        return (y * p).sum(self.axis, keepdims=True), total
