"""compile, fit, evaluate and predict, by Keras' names and arguments, for anything with forward and backward."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import optimizers
from .console import Progress
from .data import Batches, Stream
from .layers.layer import Parameter, Shape, float32s
from .objective import Objective
from .random import next_seed

Array = NDArray[Any]
Examples: TypeAlias = tuple[list[Array], list[Any]]  # an array for each input and output
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

    x and y are arrays of whole or real numbers, one example a row; lists of them, or dicts by the names of inputs and
    outputs, for a model of several. They become the model's dtype batch by batch: no converted copy of all of them is
    made. Raises ValueError before the first step on shapes that don't fit and on labels that the loss can't take.
    """

    optimizer: optimizers.Optimizer
    loss: Any
    objective: Objective
    compiled = False
    history: History | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        raise NotImplementedError

    @property
    def input_names(self) -> list[str]:
        raise NotImplementedError

    @property
    def output_names(self) -> list[str]:
        raise NotImplementedError

    @property
    def result_shapes(self) -> list[Shape]:
        """The outputs' shapes for one example, without the batch axis."""
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Parameter]:
        raise NotImplementedError

    def accept(self, arrays: Sequence[Array]) -> None:
        """Build for the inputs if need be. Raises ValueError if they don't fit."""
        raise NotImplementedError

    def prepared(self) -> AbstractContextManager[None]:
        """Held while batches are predicted between which no weight changes."""
        return nullcontext()

    def run(self, arrays: list[Array], training: bool = False) -> list[Array]:
        """The outputs for the inputs, in memory that the next run may write over."""
        raise NotImplementedError

    def run_logits(self) -> list[Array | None]:
        """What the softmax at each output's end read in the last run; None without one."""
        raise NotImplementedError

    def run_back(self, gradients: list[tuple[Array | None, bool]]) -> list[Parameter]:
        """Set all gradients, from each output's and whether it is that of its logits; the weights that got one."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        *,
        loss_weights: Any = None,
        metrics: Any = None,
    ) -> None:
        """Choose how to train: names as in Keras ("adam", "mse", "accuracy") or objects; for several outputs see
        Objective."""
        objective = Objective(self.output_names, loss, loss_weights, metrics)
        self.optimizer = optimizers.get(optimizer)
        self.objective = objective
        self.loss = objective.goals[0].loss if len(objective.goals) == 1 else loss
        self.loss_weights, self.metrics = loss_weights, metrics if isinstance(metrics, dict) else list(metrics or ())
        self.compiled = True

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] = (),
        *,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
    ) -> History:
        """Train on batches of x (n, ...) and y (n, ...), or on data.Batches, until `epochs` epochs are done.

        x may also be a generator of batches (x, y), with steps_per_epoch, or an object that gives them by __getitem__
        and has __len__, as Keras' PyDataset: see data.Stream.
        validation_split holds back the last part of x and y, before they are shuffled. Interrupted, the model keeps
        the steps done and `model.history` the epochs done.
        """
        if is_stream(x):
            x = Stream(x, steps_per_epoch)
        batches, held = self._training_data(x, y, batch_size, shuffle, validation_split, validation_data)
        self.history = history = History(verbose=verbose, epochs=epochs, steps=len(batches))
        with Progress(len(batches), epochs=epochs, verbose=verbose) as progress:
            for epoch in range(initial_epoch, epochs):
                progress.start(epoch)
                start = time.perf_counter()
                self._train(batches, epoch, history, progress)
                images_per_second = batches.items / (time.perf_counter() - start)
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
        x: Any,
        y: Any,
        batch_size: int = 32,
        verbose: int | str = "auto",
        *,
        return_dict: bool = False,
    ) -> Scores:
        """The loss of x (n, ...) and y (n, ...), or [loss, *metrics] where there are metrics, or all by name."""
        xs, ys = self._data(x, y, "evaluate")
        with Progress(len(slices(xs[0], batch_size)), epochs=None, verbose=verbose) as progress:
            self._test(xs, ys, batch_size, progress)
            progress.finish(self._logs())
        return self._scores(return_dict)

    def predict(self, x: Any, batch_size: int = 32, verbose: int | str = "auto") -> Any:
        """x (n, ...) -> y (n, ...), batch by batch; a list of several outputs."""
        xs = self._inputs(x)
        y = [np.empty((len(xs[0]), *shape), self.dtype) for shape in self.result_shapes]
        batches = slices(xs[0], batch_size)
        with self.prepared(), Progress(len(batches), epochs=None, verbose=verbose) as progress:
            for step, rows in enumerate(batches, 1):
                for whole, part in zip(y, self.run(self._batch(xs, rows)), strict=True):
                    whole[rows] = part
                progress.step(step, {})
            progress.finish({})
        return y[0] if len(y) == 1 else y

    def train_on_batch(self, x: Any, y: Any, *, return_dict: bool = False) -> Scores:
        """One step; the loss and the metrics are this batch's, before the step."""
        xs, ys = self._data(x, y, "train_on_batch")
        self.objective.reset(ys, self.result_shapes)
        self._step(self._batch(xs), ys)
        return self._scores(return_dict)

    def test_on_batch(self, x: Any, y: Any, *, return_dict: bool = False) -> Scores:
        """The loss and the metrics of x and y in one piece."""
        xs = self._inputs(x)
        return self.evaluate(x, y, max(1, len(xs[0])), 0, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """x (n, ...) -> y (n, ...) in one piece."""
        return self.predict(x, max(1, len(self._inputs(x)[0])), 0)

    def _training_data(
        self,
        x: Any,
        y: Any,
        batch_size: int,
        shuffle: bool,
        validation_split: float,
        validation_data: tuple[Any, Any] | None,
    ) -> tuple[Batches | Stream, Examples | None]:
        """The batches to train on, and the examples to validate with."""
        held = None
        batches: Batches | Stream
        if isinstance(x, (Batches, Stream)):
            if y is not None or validation_split:
                raise ValueError("y and validation_split must be left out with Batches, which hold both x and y")
            batches = x
            self._data(*(x.like() if isinstance(x, Batches) else (x.x, x.y)), "fit")
        else:
            xs, ys = self._data(x, y, "fit")
            if validation_split and validation_data is None:
                at = math.floor(len(xs[0]) * (1 - validation_split))
                if not 0 < at < len(xs[0]):
                    raise ValueError(
                        f"validation_split must leave examples on both sides, got {validation_split} of {len(xs[0])}"
                    )
                held = rows_of(xs, slice(at, None)), rows_of(ys, slice(at, None))
                xs, ys = rows_of(xs, slice(at)), rows_of(ys, slice(at))
            batches = Batches(xs, ys, batch_size=batch_size, shuffle=shuffle, seed=next_seed(), dtype=self.dtype)
        if not self.objective.trained:
            raise ValueError("compile must give a loss before fit, got None")
        if validation_data is not None:
            try:
                held = self._data(*validation_data, "fit")
            except ValueError as error:
                raise ValueError(f"validation_data: {error}") from error
        return batches, held

    def _inputs(self, x: Any) -> list[Array]:
        """x as arrays that fit the model, one an input."""
        xs = by_name(x, self.input_names, "x")
        self.accept(xs)
        return xs

    def _data(self, x: Any, y: Any, method: str) -> Examples:
        """x and y as arrays that fit the model and its losses, an array for each input and output."""
        if not self.compiled:
            raise ValueError(f"compile must come before {method}: model.compile(optimizer, loss)")
        xs = by_name(x, self.input_names, "x")
        ys = by_name(y, self.output_names, "y", [goal.is_used for goal in self.objective.goals])
        items = len(xs[0])
        if not items or any(len(each) != items for each in (*xs, *ys) if each is not None):
            counts = " and ".join(str(len(each)) for each in (*xs, *ys) if each is not None)
            raise ValueError(f"x and y must hold the same number of examples >= 1, got {counts}")
        self.accept(xs)
        self.objective.check(ys, self.result_shapes)
        return xs, ys

    def _batch(self, xs: list[Array], rows: slice | None = None) -> list[Array]:
        return [np.ascontiguousarray(x if rows is None else x[rows], self.dtype) for x in xs]

    def _train(self, batches: Batches | Stream, epoch: int, history: History, progress: Progress) -> None:
        """One epoch; tells of the first step of all that gives a loss of NaN."""
        self.objective.reset(listed(batches.y), self.result_shapes)
        told = any(map(math.isnan, history.history.get("loss", ())))
        with closing(batches.epoch(epoch)) as drawn:
            for step, (x, y) in enumerate(drawn, 1):
                if isinstance(batches, Stream):
                    x, y = self._data(x, y, "fit")
                    x = self._batch(x)
                self._step(listed(x), listed(y))
                if math.isnan(self.objective.mean.total) and not told:
                    told = True
                    message = f"the loss is NaN from epoch {epoch + 1}, step {step} on"
                    warnings.warn(message, RuntimeWarning, stacklevel=3)
                progress.step(step, self._logs())

    def _step(self, xs: list[Array], ys: list[Array | None]) -> None:
        outputs = float32s(self.run(xs, training=True))
        gradients = self.objective.count(ys, outputs, float32s(self.run_logits()), training=True)
        self.optimizer.apply(self.run_back(gradients))

    def _test(self, xs: list[Array], ys: list[Array | None], batch_size: int, progress: Progress | None = None) -> None:
        self.objective.reset(ys, self.result_shapes)
        with self.prepared():
            for step, rows in enumerate(slices(xs[0], batch_size), 1):
                outputs = float32s(self.run(self._batch(xs, rows)))
                self.objective.count(rows_of(ys, rows), outputs, float32s(self.run_logits()), training=False)
                if progress:
                    progress.step(step, self._logs())

    def _logs(self) -> dict[str, float]:
        return self.objective.logs()

    def _scores(self, return_dict: bool) -> Scores:
        logs = self._logs()
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]


def is_stream(x: Any) -> bool:
    """Whether x gives batches one after the other and is no data.Batches, data.Stream or array."""
    known = isinstance(x, (Batches, Stream, list, tuple, dict)) or hasattr(x, "__array__")
    return not known and (hasattr(x, "__next__") or hasattr(x, "__getitem__"))


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


def by_name(given: Any, names: list[str], what: str, used: Sequence[bool] | None = None) -> list[Any]:
    """An array for each name: of a dict, a list, or the only one; None for what isn't used and is missing or None."""
    used = used or [True] * len(names)
    if isinstance(given, dict):
        needed = [name for name, use in zip(names, used, strict=True) if use]
        if set(given) - set(names) or set(needed) - set(given):
            raise ValueError(
                f"{what} must hold arrays for {', '.join(needed)}, got {', '.join(map(str, given)) or 'none'}"
            )
        parts = [given.get(name) for name in names]
    elif len(names) == 1 and not (isinstance(given, list) and len(given) == 1 and isinstance(given[0], np.ndarray)):
        parts = [given]
    elif isinstance(given, (list, tuple)) and len(given) == len(names):
        parts = list(given)
    else:
        got = f"{len(given)} of them" if isinstance(given, (list, tuple)) else type(given).__name__
        raise ValueError(f"{what} must be a list of {len(names)} arrays, for {', '.join(names)}, got {got}")
    return [
        None if part is None and not use else numbers(part, what if len(names) == 1 else f"{what}, {name},")
        for part, use, name in zip(parts, used, names, strict=True)
    ]


def listed(parts: Any) -> list[Any]:
    return parts if isinstance(parts, list) else [parts]


def rows_of(arrays: Sequence[Array | None], rows: slice) -> list[Any]:
    return [None if array is None else array[rows] for array in arrays]
