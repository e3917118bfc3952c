"""What a model is given to train, to be tested and to predict on: arrays or batches, checked before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, by_name, checked_weights, is_stream, listed, rows_of, slices
from .data import Batches, Stream
from .layers.layer import Parameter, Shape
from .objective import Objective
from .random import next_seed
from .scaling import TargetScaler

Examples: TypeAlias = tuple[list[Array], list[Any]]  # an array for each input and output
Part: TypeAlias = tuple[list[Array], list[Any], Array | None]  # with the weights of the examples
Held: TypeAlias = Part | Batches | Stream  # what to test on


class Given:
    """Knows the shapes that a subclass takes and gives, and makes of x and y what a step needs."""

    objective: Objective
    compiled = False
    target_scaler: TargetScaler | None = None
    _classes: dict[int, float] | None = None

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

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The outputs' shapes for inputs of these, a list for several; the batch axis first, None for any batch."""
        given = [input_shape] if len(self.input_names) == 1 else list(input_shape)
        self.accept([np.empty((0, *shape[1:]), self.dtype) for shape in given])
        found = [(given[0][0], *shape) for shape in self.result_shapes]
        return found[0] if len(found) == 1 else found

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
        ys = self._targets(y)
        items = len(xs[0])
        if not items or any(len(each) != items for each in (*xs, *ys) if each is not None):
            counts = " and ".join(str(len(each)) for each in (*xs, *ys) if each is not None)
            raise ValueError(f"x and y must hold the same number of examples >= 1, got {counts}")
        self.accept(xs)
        self.objective.check(ys, self.result_shapes)
        return xs, ys

    def _targets(self, y: Any) -> list[Any]:
        return by_name(y, self.output_names, "y", [goal.is_used for goal in self.objective.goals])

    def _scaled(self, ys: list[Any]) -> list[Any]:
        return [self.target_scaler.transform(ys[0])] if self.target_scaler else ys

    def _training_data(
        self,
        x: Any,
        y: Any,
        batch_size: int,
        shuffle: bool,
        validation_split: float,
        validation: Any,
        sample_weight: ArrayLike | None,
    ) -> tuple[Batches | Stream, Held | None]:
        """The batches to train on and what to validate with; the target_scaler sees the former alone."""
        held: Held | None = None
        batches: Batches | Stream
        if isinstance(x, (Batches, Stream)):
            if y is not None or validation_split:
                raise ValueError("y and validation_split must be left out with Batches, which hold both x and y")
            if sample_weight is not None:
                raise ValueError("sample_weight must be left out with batches, which hold x, y and may hold weights")
            batches = x
            ys = self._data(*self._like(batches), "fit")[1]
        else:
            xs, ys = self._data(x, y, "fit")
            weights = checked_weights(sample_weight, len(xs[0]))
            if validation_split and validation is None:
                at = math.floor(len(xs[0]) * (1 - validation_split))
                if not 0 < at < len(xs[0]):
                    raise ValueError(
                        f"validation_split must leave examples on both sides, got {validation_split} of {len(xs[0])}"
                    )
                parts = [[rows_of(each, rows) for each in (xs, ys, [weights])] for rows in (slice(at), slice(at, None))]
                xs, ys, (weights,) = parts[0]
                held = parts[1][0], parts[1][1], parts[1][2][0]
            batches = Batches(
                xs, ys, weights, batch_size=batch_size, shuffle=shuffle, seed=next_seed(), dtype=self.dtype
            )
        weighted = isinstance(batches, Batches) and batches.sample_weight is not None
        if self._classes is not None and weighted:
            raise ValueError("one of class_weight and sample_weight may be given, got both")
        if not self.objective.trained:
            raise ValueError("compile must give a loss before fit, got None")
        if self.target_scaler and self.target_scaler.low is None:
            if isinstance(batches, Stream):
                raise ValueError("target_scaler must have seen targets before batches of a generator: fit it on some")
            self.target_scaler.fit(ys[0])
        if validation is not None:
            try:
                given = validation if isinstance(validation, (tuple, list)) else (validation,)
                held = self._tested(*given, method="fit")
            except ValueError as error:
                raise ValueError(f"validation_data: {error}") from error
        return batches, held

    def _batches(self, x: Any, steps: int | None) -> Any:
        """x, or a Stream of it where it gives batches; of an array nothing is changed."""
        return Stream(x, steps) if is_stream(x) else x

    def _like(self, batches: Batches | Stream) -> tuple[Any, Any]:
        return batches.like() if isinstance(batches, Batches) else (batches.x, batches.y)

    def _tested(self, x: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, method: str) -> Held:
        """What to test on. Raises ValueError if it doesn't fit the model and its losses."""
        if isinstance(x, (Batches, Stream)):
            if y is not None or sample_weight is not None:
                raise ValueError("y and sample_weight must be left out with batches, which hold them")
            self._data(*self._like(x), method)
            return x
        xs, ys = self._data(x, y, method)
        return xs, ys, checked_weights(sample_weight, len(xs[0]))

    def _parts(self, held: Held, batch_size: int) -> Iterator[Part]:
        """Batch by batch."""
        if isinstance(held, (Batches, Stream)):
            with closing(held.epoch(0)) as drawn:
                for batch in drawn:
                    yield self._drawn(held, batch)
            return
        xs, ys, weights = held
        for rows in slices(xs[0], batch_size):
            yield self._batch(xs, rows), self._scaled(rows_of(ys, rows)), rows_of([weights], rows)[0]

    def _drawn(self, batches: Batches | Stream, batch: tuple[Any, ...]) -> Part:
        """One of batches' batches, (x, y) or (x, y, sample_weight), as a step needs it."""
        x, y, *rest = batch
        if isinstance(batches, Batches):
            return listed(x), self._scaled(listed(y)), rest[0] if rest else None
        xs, ys = self._data(x, y, "fit")
        return self._batch(xs), self._scaled(ys), checked_weights(rest[0], len(xs[0])) if rest else None

    def _batch(self, xs: list[Array], rows: slice | None = None) -> list[Array]:
        return [np.ascontiguousarray(x if rows is None else x[rows], self.dtype) for x in xs]

    def _chosen(self, class_weight: Mapping[int, float] | None) -> None:
        self._classes = None if class_weight is None else dict(class_weight)

    def _class_weights(self, ys: list[Array | None]) -> Array | None:
        """class_weight for each example of a batch, by class numbers or the largest of a row."""
        if self._classes is None:
            return None
        y = ys[0]
        if len(ys) != 1 or y is None or y.ndim > 2:
            raise ValueError("class_weight must be None for several outputs or y of more than 2 dimensions")
        classes = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
        return np.array([self._classes.get(int(c), 1.0) for c in classes])
