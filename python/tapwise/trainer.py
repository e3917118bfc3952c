"""compile, fit, evaluate and predict, by Keras' names and arguments, for anything with forward and backward."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import optimizers
from .arrays import Array, checked_weights, slices
from .callbacks.callback import Calls
from .console import Progress
from .data import Batches, Stream
from .given import Given, Held
from .history import History
from .layers.layer import Parameter, float32s
from .objective import Objective
from .ops.memory import beside, to_host
from .scaling import TargetScaler

Scores: TypeAlias = Any  # float, list[float] or dict[str, float]: metrics and return_dict decide


class Trainer(Given):
    """Trains what a subclass computes.

    x and y are arrays of whole or real numbers, one example a row; lists of them, or dicts by the names of inputs and
    outputs, for a model of several. They become the model's dtype batch by batch: no converted copy of all of them is
    made. Raises ValueError before the first step on shapes that don't fit and on labels that the loss can't take.
    """

    optimizer: optimizers.Optimizer
    loss: Any
    batches: Batches | Stream  # of the last fit
    callbacks: Sequence[Any] = ()  # of the last fit
    _regularized: Sequence[Parameter] = ()
    _constrained: Sequence[Parameter] = ()
    history: History | None = None
    stop_training = False  # a callback sets it: fit ends after this batch or epoch
    first_epoch = 0  # of this fit; a callback's on_train_begin may set it

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
        weighted_metrics: Any = None,
        target_scaler: TargetScaler | None = None,
    ) -> None:
        """Choose how to train: names as in Keras ("adam", "mse", "accuracy") or objects; for several outputs see
        Objective. In weighted_metrics examples count by sample_weight or class_weight, as in the loss.
        target_scaler: targets of one output are trained on as it scales them, and predict undoes that."""
        if target_scaler is not None and len(self.output_names) != 1:
            raise ValueError(f"target_scaler must be None for {len(self.output_names)} outputs")
        self.target_scaler = target_scaler
        objective = Objective(self.output_names, loss, loss_weights, metrics, weighted_metrics)
        self.optimizer = optimizers.get(optimizer)
        self.objective = objective
        self.loss = objective.goals[0].loss if len(objective.goals) == 1 else loss
        self.loss_weights = loss_weights
        self.metrics, self.weighted_metrics = (
            chosen if isinstance(chosen, dict) else list(chosen or ()) for chosen in (metrics, weighted_metrics)
        )
        self.compiled = True

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Any] | None = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train on batches of x (n, ...) and y (n, ...), 32 each, or on data.Batches, until `epochs` epochs are done.

        x may also be a generator of batches (x, y) or (x, y, sample_weight), with steps_per_epoch, or an object that
        gives them by __getitem__ and has __len__, as Keras' PyDataset: see data.Stream. Of arrays an epoch takes the
        first steps_per_epoch batches of its order. validation_split holds back the last part of x and y, before they
        are shuffled; validation_data is (x, y), (x, y, sample_weight) or batches; validation_freq: after each so many
        epochs, or after those of a list, counted from 1. The loss of an example counts sample_weight (n,) times, or
        class_weight[its class] times, 1 where that is missing. A loss of NaN ends it, with a warning that tells the
        epoch and the step. Interrupted, the model keeps the steps done and `model.history` the epochs done.
        """
        x, validation = self._batches(x, steps_per_epoch), self._batches(validation_data, validation_steps)
        self._chosen(class_weight)
        size = 32 if batch_size is None else batch_size
        batches, held = self._training_data(x, y, size, shuffle, validation_split, validation, sample_weight)
        steps = counted(len(batches), steps_per_epoch)
        params = {"verbose": verbose, "epochs": epochs, "steps": steps}
        self.callbacks = list(callbacks or ())
        tell = Calls(self.callbacks, self, {**params, "validates": held is not None})
        self.history = history = History(**params)
        self.batches, self.stop_training, self.first_epoch = batches, False, initial_epoch
        tell("on_train_begin", {})
        with Progress(steps, epochs=epochs, verbose=verbose) as progress:
            for epoch in range(self.first_epoch, epochs):
                progress.start(epoch)
                tell("on_epoch_begin", epoch, {})
                start = time.perf_counter()
                items = self._train(batches, steps, epoch, progress, tell)
                images_per_second = items / (time.perf_counter() - start)
                logs = self._logs()
                if held is not None and is_due(epoch + 1, validation_freq):
                    self._test(held, validation_batch_size or size)
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
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        *,
        return_dict: bool = False,
    ) -> Scores:
        """The loss of x (n, ...) and y (n, ...) or of batches, or [loss, *metrics] where there are metrics, or all by
        name. The loss of an example counts sample_weight (n,) times."""
        held = self._tested(self._batches(x, steps), y, sample_weight, method="evaluate")
        size = 32 if batch_size is None else batch_size
        count = len(slices(held[0][0], size)) if isinstance(held, tuple) else len(held)
        with Progress(count, epochs=None, verbose=verbose) as progress:
            self._test(held, size, progress)
            progress.finish(self._logs())
        return self._scores(return_dict)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int | str = "auto", steps: int | None = None
    ) -> Any:
        """x (n, ...) -> y (n, ...), batch by batch; a list of several outputs. Of batches their x, in their order."""
        x = self._batches(x, steps)
        if isinstance(x, (Batches, Stream)):
            y = self._predicted(x, verbose)
        else:
            xs = self._inputs(x)
            y = [np.empty((len(xs[0]), *shape), self.dtype) for shape in self.result_shapes]
            batches = slices(xs[0], 32 if batch_size is None else batch_size)
            with self.prepared(), Progress(len(batches), epochs=None, verbose=verbose) as progress:
                for step, rows in enumerate(batches, 1):
                    for whole, part in zip(y, self.run(self._batch(xs, rows)), strict=True):
                        whole[rows] = part
                    progress.step(step, {})
                progress.finish({})
        if self.target_scaler:
            return self.target_scaler.inverse_transform(y[0])
        return y[0] if len(y) == 1 else y

    def _predicted(self, batches: Batches | Stream, verbose: int | str) -> list[Array]:
        found: list[list[Array]] = []
        with (
            self.prepared(),
            Progress(len(batches), epochs=None, verbose=verbose) as progress,
            closing(batches.epoch(0)) as drawn,
        ):
            for step, batch in enumerate(drawn, 1):
                found.append([y.copy() for y in self.run(self._batch(self._inputs(batch[0])))])
                progress.step(step, {})
            progress.finish({})
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

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
        self._chosen(class_weight)
        weights = checked_weights(sample_weight, len(xs[0]))
        if weights is None:
            weights = self._class_weights(ys)
        elif class_weight is not None:
            raise ValueError("one of class_weight and sample_weight may be given, got both")
        if self.target_scaler and self.target_scaler.low is None:
            self.target_scaler.fit(ys[0])
        self._reset(ys)
        self._step(self._batch(xs), self._scaled(ys), weights)
        return self._scores(return_dict)

    def test_on_batch(self, x: Any, y: Any, *, return_dict: bool = False) -> Scores:
        """The loss and the metrics of x and y in one piece."""
        xs = self._inputs(x)
        return self.evaluate(x, y, max(1, len(xs[0])), 0, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """x (n, ...) -> y (n, ...) in one piece."""
        return self.predict(x, max(1, len(self._inputs(x)[0])), 0)

    def _reset(self, ys: list[Array | None]) -> None:
        self.objective.reset(ys, self.result_shapes)
        weights = self.trainable_weights
        self._regularized = [weight for weight in weights if weight.regularizer]
        self._constrained = [weight for weight in weights if weight.constraint]

    def _train(self, batches: Batches | Stream, steps: int, epoch: int, progress: Progress, tell: Calls) -> int:
        """One epoch, and how many examples it had; a loss of NaN ends it."""
        self._reset(self._targets(batches.y))
        items = 0
        with closing(batches.epoch(epoch)) as drawn:
            taken = drawn if steps == len(batches) else islice(drawn, steps)  # the whole one runs to its end
            for step, batch in enumerate(taken, 1):
                xs, ys, weights = self._drawn(batches, batch)
                items += len(xs[0])
                tell("on_train_batch_begin", step - 1, {})
                self._step(xs, ys, self._class_weights(ys) if weights is None else weights)
                logs = self._logs()
                progress.step(step, logs)
                tell("on_train_batch_end", step - 1, logs)
                if math.isnan(self.objective.mean.total):
                    message = f"the loss is NaN from epoch {epoch + 1}, step {step} on: training stops"
                    warnings.warn(message, RuntimeWarning, stacklevel=3)
                    self.stop_training = True
                if self.stop_training:
                    break
        return items

    def _step(self, xs: list[Array], ys: list[Array | None], weights: Array | None = None) -> None:
        outputs = float32s(self.run(xs, training=True))
        given = self.objective.count(ys, outputs, float32s(self.run_logits()), True, weights, self._penalty())
        trained = self.run_back(given)
        for weight in self._regularized:
            if weight.regularizer and weight.gradient is not None:
                weight.gradient += beside(weight.regularizer.gradient(to_host(weight.value)), weight.gradient)
        self.optimizer.apply(trained)
        for weight in self._constrained:
            if weight.constraint:
                weight.assign(weight.constraint(to_host(weight.value)))

    def _penalty(self) -> float:
        """What regularizers add to the loss."""
        costs = (weight.regularizer(to_host(weight.value)) for weight in self._regularized if weight.regularizer)
        return sum(costs, self.run_penalty())

    def _test(self, held: Held, batch_size: int, progress: Progress | None = None) -> None:
        self._reset(held[1] if isinstance(held, tuple) else self._targets(held.y))
        with self.prepared():
            for step, (xs, ys, weights) in enumerate(self._parts(held, batch_size), 1):
                outputs, logits = float32s(self.run(xs)), float32s(self.run_logits())
                self.objective.count(ys, outputs, logits, False, weights, self._penalty())
                if progress:
                    progress.step(step, self._logs())

    def _logs(self) -> dict[str, float]:
        return self.objective.logs()

    def _scores(self, return_dict: bool) -> Scores:
        logs = self._logs()
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]


def counted(steps: int, wanted: int | None) -> int:
    """The steps of an epoch of so many batches."""
    if wanted is not None and not 1 <= wanted <= steps:
        raise ValueError(f"steps_per_epoch must be from 1 to the {steps} batches that there are, got {wanted}")
    return steps if wanted is None else wanted


def is_due(epoch: int, frequency: int | Sequence[int]) -> bool:
    """Whether validation comes after that epoch, counted from 1."""
    if isinstance(frequency, int):
        if frequency < 1:
            raise ValueError(f"validation_freq must be >= 1, got {frequency}")
        return epoch % frequency == 0
    return epoch in frequency
