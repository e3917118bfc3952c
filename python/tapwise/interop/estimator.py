"""What scikit-learn's estimators do without scikit-learn: examples merged, a small network, its training, its bytes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import callbacks, layers, optimizers, regularizers
from ..model import Model, Sequential
from ..random import give_run_seeds, run_seeds, set_random_seed
from ..saving import load_model

Array = NDArray[Any]
RANKS = {1: "1D", 2: "2D", 3: "3D"}
_run = RLock()  # the run's seeds are everybody's


class Examples(NamedTuple):
    """x (n, *shape), y (n, ...), and how much each counts, on average 1."""

    x: Array
    y: Array
    weights: Array


def example_shape(row: tuple[int, ...], image_shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape with channels of an example that came as an array of shape row. Raises ValueError if it can't."""
    if image_shape is None:
        shape = row
    else:
        shape = tuple(int(size) for size in image_shape)
        if not 1 <= len(shape) <= 4 or min(shape) < 1 or int(np.prod(shape)) != int(np.prod(row)):
            raise ValueError(f"image_shape must hold 1 to 4 sizes for the values of X, {row}, got {image_shape!r}")
    return (*shape, 1) if len(shape) < 3 else shape


def merged(x: Array, y: Array, weights: Array | None) -> Examples:
    """Each example once with the sum of its weights, in an order that the examples alone decide."""
    x = np.ascontiguousarray(x)
    if weights is None:
        weights = np.ones(len(x))
    if (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"sample_weight must be >= 0 and not all 0, got {weights.min()} to {weights.max()}")
    total: dict[bytes, float] = {}
    first: dict[bytes, int] = {}
    for i in np.flatnonzero(weights):
        key = hashlib.blake2b(x[i].tobytes() + np.asarray(y[i]).tobytes(), digest_size=16).digest()
        total[key] = total.get(key, 0.0) + float(weights[i])
        first.setdefault(key, int(i))
    keys = sorted(total)
    rows = np.array([first[key] for key in keys])
    sums = np.array([total[key] for key in keys])
    return Examples(x[rows], y[rows], sums * (len(sums) / sums.sum()))


def small_network(
    examples: Examples,
    outputs: int,
    activation: str | None,
    by_feature: bool,
    filters: Sequence[int],
    kernel_size: int,
    pool_size: int,
    dense: int,
    dropout: float,
    l2: float,
) -> Sequential:
    """Normalization, then Conv and MaxPooling for each number of filters, Flatten, Dropout, Dense, Dense(outputs)."""
    shape = examples.x.shape[1:]
    rank = RANKS[len(shape) - 1]
    regularizer = regularizers.L2(l2) if l2 else None
    model = Sequential([layers.Input(shape), normalization(examples, by_feature)])
    for count in filters:
        model.add(
            getattr(layers, f"Conv{rank}")(
                count, kernel_size, padding="same", activation="relu", kernel_regularizer=regularizer
            )
        )
        if pool_size > 1 and max(model.result_shape[:-1]) > 1:
            model.add(getattr(layers, f"MaxPooling{rank}")(pool_size, padding="same"))
    model.add(layers.Flatten())
    if dropout:
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(dense, "relu", kernel_regularizer=regularizer))
    model.add(layers.Dense(outputs, activation, kernel_regularizer=regularizer))
    return model


def normalization(examples: Examples, by_feature: bool) -> layers.Normalization:
    """To mean 0 and deviation 1 by channel, or by feature; what never changes is only moved."""
    x, weights = examples.x, examples.weights / examples.weights.sum()
    axes = (0,) if by_feature else tuple(range(x.ndim - 1))
    each = x.mean(axes[1:], dtype=np.float64)
    squares = np.square(x, dtype=np.float64).mean(axes[1:])
    mean = np.tensordot(weights, each, 1)
    variance = np.tensordot(weights, squares, 1) - mean**2
    variance = np.where(variance > 1e-9 * (mean**2 + variance), variance, 1.0)
    return layers.Normalization(tuple(range(1, x.ndim)) if by_feature else -1, mean, variance)


def train(estimator: Any, examples: Examples, outputs: int, seed: int, go_on: bool) -> None:
    """Give estimator model_, history_ and n_iter_; the run's own seeds are as before at the end."""
    with _run:
        before = run_seeds()
        set_random_seed(seed)
        try:
            model = estimator.model_ if go_on else made(estimator, examples, outputs)
            history = fitted(estimator, model, examples)
        finally:
            give_run_seeds(before)
    estimator.model_ = model
    estimator.history_ = {name: list(values) for name, values in history.history.items()}
    estimator.n_iter_ = len(history.history["loss"])


def made(estimator: Any, examples: Examples, outputs: int) -> Model:
    model: Model = estimator._compile(examples, outputs, optimizers.Adam(estimator.learning_rate))
    if model.output_shape[1:] != (outputs,):
        raise ValueError(f"network must give a model of {outputs} outputs, got one of {model.output_shape}")
    return model


def fitted(estimator: Any, model: Model, examples: Examples) -> Any:
    x, y, weights = examples
    watch: list[Any] = []
    held: Any = None
    if estimator.early_stopping:
        count = round(len(x) * estimator.validation_fraction)
        if not 0 < count < len(x):
            raise ValueError(f"validation_fraction must leave examples on both sides, got {count} of {len(x)}")
        held = x[:count], y[:count], weights[:count]
        x, y, weights = x[count:], y[count:], weights[count:]
        watch = [callbacks.EarlyStopping(patience=estimator.n_iter_no_change, restore_best_weights=True)]
    return model.fit(
        x, y, estimator.batch_size, estimator.epochs, estimator.verbose, watch, validation_data=held,
        sample_weight=weights,
    )  # fmt: skip


class Saved(NamedTuple):
    """A model's file as bytes, and the classes of its layers that aren't ours."""

    content: bytes
    classes: dict[str, type[Any]]

    @classmethod
    def of(cls, model: Model) -> Saved:
        own = {type(each).__name__: type(each) for each in model.layers if not hasattr(layers, type(each).__name__)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tapwise"
            model.save(path)
            return cls(path.read_bytes(), own)

    def loaded(self) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tapwise"
            path.write_bytes(self.content)
            return load_model(path, custom_objects=self.classes)
