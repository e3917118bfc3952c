"""compile, fit, evaluate and predict, by Keras' names and arguments, for anything with forward and backward."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import losses, metrics, optimizers
from .console import Progress
from .data import Batches
from .layers.layer import Parameter, Shape
from .random import next_seed

Array = NDArray[Any]
Scores: TypeAlias = Any  # float, list[float] or dict[str, float]: metrics and return_dict decide


class History:
    """What fit saw: history["loss"][i] belongs to epoch[i], counted from 0; val_* stand for the validation data."""

    def __init__(self, **params: Any) -> None:
        self.params = params
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, logs: dict[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


class Callback(Protocol):
    """What fit tells how it gets on."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """epoch counts from 0; logs are the epoch's entries in History."""


class Trainer:
    """Trains what a subclass computes.

    x and y are arrays of whole or real numbers, one example a row. They become the model's dtype batch by batch: no
    converted copy of all of them is made. Raises ValueError before the first step on shapes that don't fit and on
    labels that the loss can't take.
    """

    optimizer: optimizers.Optimizer
    loss: losses.Loss
    compiled = False
    history: History | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        raise NotImplementedError

    def forward(self, x: Array, training: bool = False) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array, at_logits: bool = False) -> None:
        """Set all gradients; with at_logits dy belongs to the input of the softmax at the end."""
        raise NotImplementedError

    def prepared(self) -> AbstractContextManager[None]:
        """Held while batches are predicted between which no weight changes."""
        return nullcontext()

    def logits(self) -> Array | None:
        """What the softmax at the end read in the last forward; None without one."""
        raise NotImplementedError

    def accept(self, x: Array) -> None:
        """Build for x if need be. Raises ValueError if it doesn't fit."""
        raise NotImplementedError

    @property
    def result_shape(self) -> Shape:
        """The output's shape for one example, without the batch axis."""
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Parameter]:
        raise NotImplementedError

    def compile(
        self,
        optimizer: str | optimizers.Optimizer,
        loss: str | losses.Loss,
        *,
        metrics: Sequence[str | metrics.Metric] | None = None,
    ) -> None:
        """Choose how to train: names as in Keras ("adam", "mse", "accuracy") or objects."""
        self.optimizer = optimizers.get(optimizer)
        self.loss = losses.get(loss)
        self.compiled = True
        self.metrics = list(metrics or ())

    def fit(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] = (),
        *,
        validation_split: float = 0.0,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
    ) -> History:
        """Train on batches of x (n, ...) and y (n, ...), or on data.Batches, until `epochs` epochs are done.

        validation_split holds back the last part of x and y, before they are shuffled. Interrupted, the model keeps
        the steps done and `model.history` the epochs done.
        """
        batches, held = self._training_data(x, y, batch_size, shuffle, validation_split, validation_data)
        self.history = history = History(verbose=verbose, epochs=epochs, steps=len(batches))
        with Progress(len(batches), epochs=epochs, verbose=verbose) as progress:
            for epoch in range(initial_epoch, epochs):
                progress.start(epoch)
                start = time.perf_counter()
                self._train(batches, epoch, history, progress)
                images_per_second = len(batches.x) / (time.perf_counter() - start)
                logs = self._logs()
                if held is not None:
                    self._test(*held, batch_size)
                    logs |= {f"val_{name}": value for name, value in self._logs().items()}
                history.add(epoch, logs)
                progress.finish(logs, f"{images_per_second:,.0f} images/s")
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs)
        self.optimizer.finalize()
        return history

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        batch_size: int = 32,
        verbose: int | str = "auto",
        *,
        return_dict: bool = False,
    ) -> Scores:
        """The loss of x (n, ...) and y (n, ...), or [loss, *metrics] where there are metrics, or all by name."""
        x, y = self._data(x, y, "evaluate")
        with Progress(len(slices(x, batch_size)), epochs=None, verbose=verbose) as progress:
            self._test(x, y, batch_size, progress)
            progress.finish(self._logs())
        return self._scores(return_dict)

    def predict(self, x: ArrayLike, batch_size: int = 32, verbose: int | str = "auto") -> Array:
        """x (n, ...) -> y (n, ...), batch by batch."""
        x = numbers(x, "x")
        self.accept(x)
        y = np.empty((len(x), *self.result_shape), self.dtype)
        batches = slices(x, batch_size)
        with self.prepared(), Progress(len(batches), epochs=None, verbose=verbose) as progress:
            for step, rows in enumerate(batches, 1):
                y[rows] = self.forward(np.ascontiguousarray(x[rows], self.dtype))
                progress.step(step, {})
            progress.finish({})
        return y

    def train_on_batch(self, x: ArrayLike, y: ArrayLike, *, return_dict: bool = False) -> Scores:
        """One step; the loss and the metrics are this batch's, before the step."""
        x, y = self._data(x, y, "train_on_batch")
        self._reset(y)
        self._step(np.ascontiguousarray(x, self.dtype), y)
        return self._scores(return_dict)

    def test_on_batch(self, x: ArrayLike, y: ArrayLike, *, return_dict: bool = False) -> Scores:
        """The loss and the metrics of x and y in one piece."""
        return self.evaluate(x, y, max(1, len(numbers(x, "x"))), 0, return_dict=return_dict)

    def predict_on_batch(self, x: ArrayLike) -> Array:
        """x (n, ...) -> y (n, ...) in one piece."""
        return self.predict(x, max(1, len(numbers(x, "x"))), 0)

    def _training_data(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None,
        batch_size: int,
        shuffle: bool,
        validation_split: float,
        validation_data: tuple[ArrayLike, ArrayLike] | None,
    ) -> tuple[Batches, tuple[Array, Array] | None]:
        """The batches to train on, and the examples to validate with."""
        held = None
        if isinstance(x, Batches):
            if y is not None or validation_split:
                raise ValueError("y and validation_split must be left out with Batches, which hold both x and y")
            batches = x
            self._data(x.x, x.y, "fit")
        else:
            x, y = self._data(x, y, "fit")
            if validation_split and validation_data is None:
                at = math.floor(len(x) * (1 - validation_split))
                if not 0 < at < len(x):
                    raise ValueError(
                        f"validation_split must leave examples on both sides, got {validation_split} of {len(x)}"
                    )
                x, y, held = x[:at], y[:at], (x[at:], y[at:])
            batches = Batches(x, y, batch_size=batch_size, shuffle=shuffle, seed=next_seed(), dtype=self.dtype)
        if validation_data is not None:
            try:
                held = self._data(*validation_data, "fit")
            except ValueError as error:
                raise ValueError(f"validation_data: {error}") from error
        return batches, held

    def _data(self, x: ArrayLike, y: ArrayLike | None, method: str) -> tuple[Array, Array]:
        """x and y as arrays that fit the model and its loss."""
        if not self.compiled:
            raise ValueError(f"compile must come before {method}: model.compile(optimizer, loss)")
        x, y = numbers(x, "x"), numbers(y, "y")
        if len(x) != len(y) or not len(x):
            raise ValueError(f"x and y must hold the same number of examples >= 1, got {len(x)} and {len(y)}")
        self.accept(x)
        self.loss.check(y, self.result_shape)
        return x, y

    def _train(self, batches: Batches, epoch: int, history: History, progress: Progress) -> None:
        """One epoch; tells of the first step of all that gives a loss of NaN."""
        self._reset(batches.y)
        told = any(map(math.isnan, history.history.get("loss", ())))
        for step, (x, y) in enumerate(batches.epoch(epoch), 1):
            self._step(x, y)
            if math.isnan(self._mean.total) and not told:
                told = True
                warnings.warn(f"the loss is NaN from epoch {epoch + 1}, step {step} on", RuntimeWarning, stacklevel=3)
            progress.step(step, self._logs())

    def _step(self, x: Array, y: Array) -> None:
        output = self.forward(x, training=True)
        loss, read = self._loss_of(output)
        self._add(y, output, loss.values(y, read))
        self.backward(loss.gradient(y, read), at_logits=read is not output)
        self.optimizer.apply(self.trainable_weights)

    def _test(self, x: Array, y: Array, batch_size: int, progress: Progress | None = None) -> None:
        self._reset(y)
        with self.prepared():
            for step, rows in enumerate(slices(x, batch_size), 1):
                output = self.forward(np.ascontiguousarray(x[rows], self.dtype))
                loss, read = self._loss_of(output)
                self._add(y[rows], output, loss.values(y[rows], read))
                if progress:
                    progress.step(step, self._logs())

    def _loss_of(self, output: Array) -> tuple[losses.Loss, Array]:
        """The loss and what it reads: a cross-entropy takes the logits of a softmax at the end; p may have become 0."""
        logits = self.logits()
        if logits is not None and isinstance(self.loss, losses.CrossEntropy) and not self.loss.from_logits:
            return self.loss.on_logits(), logits
        return self.loss, output

    def _reset(self, y: Array) -> None:
        self._mean = metrics.Mean("loss")
        self._watched = [metrics.get(m, y.shape, (0, *self.result_shape)) for m in self.metrics]
        for metric in self._watched:
            metric.reset_state()

    def _add(self, y: Array, output: Array, values: Array) -> None:
        self._mean.update_state(values)
        for metric in self._watched:
            metric.update_state(y, output)

    def _logs(self) -> dict[str, float]:
        return {metric.name: metric.result() for metric in (self._mean, *self._watched)}

    def _scores(self, return_dict: bool) -> Scores:
        logs = self._logs()
        if return_dict:
            return logs
        return list(logs.values()) if self._watched else logs["loss"]


def numbers(x: ArrayLike | None, name: str) -> Array:
    """x as an array of whole or real numbers, itself if it is one. Raises TypeError on anything else."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" or not x.ndim:
        raise TypeError(f"{name} must be an array of numbers, one example a row, got {x.dtype} of shape {x.shape}")
    return x


def slices(x: Array, batch_size: int) -> list[slice]:
    """The rows of each batch, in order."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    return [slice(start, start + batch_size) for start in range(0, len(x), batch_size)]
