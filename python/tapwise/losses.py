"""What training makes small, by Keras' names: loss(y_true, y_pred), a mean over the examples, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import ops
from .layers.layer import shape_text

Array = NDArray[Any]
EPSILON = 1e-7  # Keras' bound on a probability inside a logarithm


class Loss:
    """y_true (n, ...) is what is wanted, y_pred (n, ...) what the model gave; positions count as examples alike."""

    name: str

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        self.check(y_true, y_pred.shape[1:])
        return float(np.mean(self.values(y_true, y_pred), dtype=np.float64))

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError if y_true can't be the target of outputs (n, *output_shape)."""
        raise NotImplementedError

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One loss an example."""
        raise NotImplementedError

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """d loss / d y_pred, in the shape and dtype of y_pred."""
        raise NotImplementedError

    def values_and_gradient(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Both; a loss that can find them in one pass over y_pred does so."""
        return self.values(y_true, y_pred), self.gradient(y_true, y_pred)


class MeanSquaredError(Loss):
    """mean((y_true - y_pred) ** 2); y_true of the shape of y_pred, or (n,) for outputs (n, 1)."""

    def __init__(self, *, name: str = "mean_squared_error") -> None:
        self.name = name

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        _need_numbers(y_true)
        if y_true.shape[1:] != output_shape and (y_true.ndim, output_shape) != (1, (1,)):
            raise ValueError(f"y must have the shape of the outputs, {shape_text(output_shape)}, got {y_true.shape}")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        values: Array = np.square(self._error(y_true, y_pred)).mean(-1)
        return values

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        gradient: Array = self._error(y_true, y_pred) * y_pred.dtype.type(2 / y_pred.size)
        return gradient

    def _error(self, y_true: Array, y_pred: Array) -> Array:
        error: Array = y_pred - np.asarray(y_true, y_pred.dtype).reshape(y_pred.shape)
        return error


class CrossEntropy(Loss):
    """-sum over the last axis of y * log(p), where p is y_pred, or softmax(y_pred) with from_logits.

    Probabilities are divided by their sum and kept within [1e-7, 1 - 1e-7] as in Keras; the gradient takes p as kept,
    so that it doesn't vanish there. on_logits is the same loss for a softmax's input: exact for any confidence.
    """

    def __init__(self, from_logits: bool, name: str) -> None:
        self.from_logits, self.name = from_logits, name

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
    """-sum(y * log(p)), y_true (n, ..., classes): probabilities of the classes, one-hot for known ones."""

    def __init__(self, from_logits: bool = False, *, name: str = "categorical_crossentropy") -> None:
        super().__init__(from_logits, name)

    def on_logits(self) -> CategoricalCrossentropy:
        return CategoricalCrossentropy(True, name=self.name)

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        _need_numbers(y_true)
        if y_true.shape[1:] != output_shape:
            raise ValueError(
                f"y must hold one number a class for {self.name}, {shape_text(output_shape)}, got {y_true.shape}; "
                "sparse_categorical_crossentropy takes class numbers"
            )

    def _rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        classes = y_pred.shape[-1]
        return np.ascontiguousarray(y_true, y_pred.dtype).reshape(-1, classes), y_pred.reshape(-1, classes)


class SparseCategoricalCrossentropy(CrossEntropy):
    """-log(p[y]), y_true (n, ...) or (n, ..., 1): whole numbers, the classes."""

    def __init__(self, from_logits: bool = False, *, name: str = "sparse_categorical_crossentropy") -> None:
        super().__init__(from_logits, name)

    def on_logits(self) -> SparseCategoricalCrossentropy:
        return SparseCategoricalCrossentropy(True, name=self.name)

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
            where = np.unravel_index(np.flatnonzero((y_true < 0) | (y_true >= classes))[0], y_true.shape)
            raise ValueError(
                f"y must be in [0, {classes}) for outputs {shape_text(output_shape)}, "
                f"got {y_true[where]} at index {', '.join(map(str, where))}"
            )

    def _rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        return np.ascontiguousarray(y_true, np.int32).reshape(-1), y_pred.reshape(-1, y_pred.shape[-1])


def _one_hot(labels: Array, like: Array) -> Array:
    """Class numbers (rows,) as rows of zeros with one 1; probabilities (rows, classes) as they are."""
    if labels.ndim == 2:
        return labels
    return np.asarray(labels[:, None] == np.arange(like.shape[1]), like.dtype)


def _need_numbers(y: Array) -> None:
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y must hold real numbers, got {y.dtype}")
    if not (finite := np.isfinite(y)).all():
        where = np.unravel_index(np.flatnonzero(~finite)[0], y.shape)
        raise ValueError(f"y must be finite, got {y[where]} at index {', '.join(map(str, where))}")


NAMES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}


def get(identifier: str | Loss) -> Loss:
    """A loss by name, or as it is. Raises ValueError on an unknown name."""
    if isinstance(identifier, Loss):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"loss must be one of {', '.join(NAMES)} or a Loss, got {identifier!r}")
    return NAMES[identifier]()
