"""compile, fit, evaluate and predict, by Keras' names and arguments, for anything with forward and backward."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import optimizers
from .arrays import Array, by_name, checked_weights, is_stream, listed, rows_of, slices
from .callbacks.callback import Calls
from .console import Progress
from .data import Batches, Stream
from .history import History
from .layers.layer import Parameter, Shape, float32s
from .objective import Objective
from .random import next_seed
from .scaling import TargetScaler

Examples: TypeAlias = tuple[list[Array], list[Any]]  # an array for each input and output
Held: TypeAlias = tuple[list[Array], list[Any], Array | None]  # with the weights of the examples
Scores: TypeAlias = Any  # float, list[float] or dict[str, float]: metrics and return_dict decide


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
    target_scaler: TargetScaler | None = None
    batches: Batches | Stream  # of the last fit
    _classes: dict[int, float] | None = None
    _regularized: Sequence[Parameter] = ()
    history: History | None = None
    stop_training = False  # a callback sets it: fit ends after this batch or epoch
    first_epoch = 0  # of this fit; a callback's on_train_begin may set it

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

    def run_penalty(self) -> float:
        """What the layers' activity_regularizers cost in the last run."""
        return 0.0

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
        target_scaler: TargetScaler | None = None,
    ) -> None:
        """Choose how to train: names as in Keras ("adam", "mse", "accuracy") or objects; for several outputs see
        Objective. target_scaler: targets of one output are trained on as it scales them, and predict undoes that."""
        if target_scaler is not None and len(self.output_names) != 1:
            raise ValueError(f"target_scaler must be None for {len(self.output_names)} outputs")
        self.target_scaler = target_scaler
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
        callbacks: Sequence[Any] | None = (),
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
    ) -> History:
        """Train on batches of x (n, ...) and y (n, ...), or on data.Batches, until `epochs` epochs are done.

        x may also be a generator of batches (x, y), with steps_per_epoch, or an object that gives them by __getitem__
        and has __len__, as Keras' PyDataset: see data.Stream.
        validation_split holds back the last part of x and y, before they are shuffled; validation_data is (x, y) or
        (x, y, sample_weight). The loss of an example counts sample_weight (n,) times, or class_weight[its class]
        times, 1 where that is missing. A loss of NaN ends it, with a warning that tells the epoch and the step.
        Interrupted, the model keeps the steps done and `model.history` the epochs done.
        """
        if is_stream(x):
            x = Stream(x, steps_per_epoch)
        self._classes = None if class_weight is None else dict(class_weight)
        weights = self._example_weights(x, sample_weight)
        batches, held = self._training_data(x, y, batch_size, shuffle, validation_split, validation_data, weights)
        params = {"verbose": verbose, "epochs": epochs, "steps": len(batches)}
        tell = Calls(list(callbacks or ()), self, params)
        self.history = history = History(**params)
        self.batches, self.stop_training, self.first_epoch = batches, False, initial_epoch
        tell("on_train_begin", {})
        with Progress(len(batches), epochs=epochs, verbose=verbose) as progress:
            for epoch in range(self.first_epoch, epochs):
                progress.start(epoch)
                tell("on_epoch_begin", epoch, {})
                start = time.perf_counter()
                self._train(batches, epoch, progress, tell, weights is not None)
                images_per_second = batches.items / (time.perf_counter() - start)
                logs = self._logs()
                if held is not None:
                    self._test(*held, batch_size)
                    logs |= {f"val_{name}": value for name, value in self._logs().items()}
                progress.finish(logs, f"{images_per_second:,.0f} images/s")
                tell("on_epoch_end", epoch, logs)
                history.add(epoch, logs)
                if self.stop_training:
                    break
        self.optimizer.finalize()
        tell("on_train_end", {})
        return history

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        verbose: int | str = "auto",
        sample_weight: ArrayLike | None = None,
        *,
        return_dict: bool = False,
    ) -> Scores:
        """The loss of x (n, ...) and y (n, ...), or [loss, *metrics] where there are metrics, or all by name.

        The loss of an example counts sample_weight (n,) times.
        """
        xs, ys = self._data(x, y, "evaluate")
        weights = checked_weights(sample_weight, len(xs[0]))
        with Progress(len(slices(xs[0], batch_size)), epochs=None, verbose=verbose) as progress:
            self._test(xs, ys, weights, batch_size, progress)
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
        if self.target_scaler:
            return self.target_scaler.inverse_transform(y[0])
        return y[0] if len(y) == 1 else y

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        *,
        return_dict: bool = False,
    ) -> Scores:
        """One step; the loss and the metrics are this batch's, before the step. The weights are fit's."""
        xs, ys = self._data(x, y, "train_on_batch")
        self._classes = None if class_weight is None else dict(class_weight)
        weights = self._example_weights(xs[0], sample_weight)
        self._reset(ys)
        self._step(self._batch(xs), ys, weights)
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
        validation_data: tuple[Any, ...] | None,
        weights: Array | None,
    ) -> tuple[Batches | Stream, Held | None]:
        """The batches to train on, whose y ends with the weights if there are any, and what to validate with."""
        held: Held | None = None
        batches: Batches | Stream
        if isinstance(x, (Batches, Stream)):
            if self.target_scaler:
                raise ValueError("target_scaler must be None with batches: scale their y")
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
                behind = slice(at, None)
                held = rows_of(xs, behind), rows_of(ys, behind), rows_of([weights], behind)[0]
                xs, ys = rows_of(xs, slice(at)), rows_of(ys, slice(at))
                weights = None if weights is None else weights[:at]
            ys = ys if weights is None else [*ys, weights]
            batches = Batches(xs, ys, batch_size=batch_size, shuffle=shuffle, seed=next_seed(), dtype=self.dtype)
        if not self.objective.trained:
            raise ValueError("compile must give a loss before fit, got None")
        if validation_data is not None:
            try:
                xs, ys = self._data(validation_data[0], validation_data[1], "fit")
                held = xs, ys, checked_weights(validation_data[2] if len(validation_data) > 2 else None, len(xs[0]))
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
        if self.target_scaler:
            if self.target_scaler.low is None and method != "evaluate":
                self.target_scaler.fit(ys[0])
            ys = [self.target_scaler.transform(ys[0])]
        return xs, ys

    def _batch(self, xs: list[Array], rows: slice | None = None) -> list[Array]:
        return [np.ascontiguousarray(x if rows is None else x[rows], self.dtype) for x in xs]

    def _example_weights(self, x: Any, sample_weight: ArrayLike | None) -> Array | None:
        if sample_weight is None:
            return None
        if self._classes is not None:
            raise ValueError("one of class_weight and sample_weight may be given, got both")
        if isinstance(x, (Batches, Stream)):
            raise ValueError("sample_weight must be left out with batches, which hold x and y")
        return checked_weights(sample_weight, len(by_name(x, self.input_names, "x")[0]))

    def _class_weights(self, ys: list[Array | None]) -> Array | None:
        """class_weight for each example of a batch, by class numbers or the largest of a row."""
        if self._classes is None:
            return None
        y = ys[0]
        if len(ys) != 1 or y is None or y.ndim > 2:
            raise ValueError("class_weight must be None for several outputs or y of more than 2 dimensions")
        classes = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
        return np.array([self._classes.get(int(c), 1.0) for c in classes])

    def _reset(self, ys: list[Array | None]) -> None:
        self.objective.reset(ys, self.result_shapes)
        self._regularized = [weight for weight in self.trainable_weights if weight.regularizer]

    def _train(self, batches: Batches | Stream, epoch: int, progress: Progress, tell: Calls, weighted: bool) -> None:
        """One epoch; a loss of NaN ends it."""
        self._reset(listed(batches.y)[: -1 if weighted else None])
        with closing(batches.epoch(epoch)) as drawn:
            for step, (x, y) in enumerate(drawn, 1):
                if isinstance(batches, Stream):
                    x, y = self._data(x, y, "fit")
                    x = self._batch(x)
                ys = listed(y)
                tell("on_train_batch_begin", step - 1, {})
                self._step(listed(x), *((ys[:-1], ys[-1]) if weighted else (ys, self._class_weights(ys))))
                logs = self._logs()
                progress.step(step, logs)
                tell("on_train_batch_end", step - 1, logs)
                if math.isnan(self.objective.mean.total):
                    message = f"the loss is NaN from epoch {epoch + 1}, step {step} on: training stops"
                    warnings.warn(message, RuntimeWarning, stacklevel=3)
                    self.stop_training = True
                if self.stop_training:
                    break

    def _step(self, xs: list[Array], ys: list[Array | None], weights: Array | None = None) -> None:
        outputs = float32s(self.run(xs, training=True))
        given = self.objective.count(ys, outputs, float32s(self.run_logits()), True, weights, self._penalty())
        trained = self.run_back(given)
        for weight in self._regularized:
            if weight.regularizer and weight.gradient is not None:
                weight.gradient += weight.regularizer.gradient(weight.value)
        self.optimizer.apply(trained)

    def _penalty(self) -> float:
        """What regularizers add to the loss."""
        costs = (weight.regularizer(weight.value) for weight in self._regularized if weight.regularizer)
        return sum(costs, self.run_penalty())

    def _test(
        self,
        xs: list[Array],
        ys: list[Array | None],
        weights: Array | None,
        batch_size: int,
        progress: Progress | None = None,
    ) -> None:
        self._reset(ys)
        with self.prepared():
            for step, rows in enumerate(slices(xs[0], batch_size), 1):
                outputs, logits = float32s(self.run(self._batch(xs, rows))), float32s(self.run_logits())
                part = None if weights is None else weights[rows]
                self.objective.count(rows_of(ys, rows), outputs, logits, False, part, self._penalty())
                if progress:
                    progress.step(step, self._logs())

    def _logs(self) -> dict[str, float]:
        return self.objective.logs()

    def _scores(self, return_dict: bool) -> Scores:
        logs = self._logs()
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]
