"""Shuffled mini-batches from arrays, the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .ahead import ahead
from .gather import gather

Arrays: TypeAlias = Any  # an array, or a list of arrays of one length


class Augmenting(Protocol):
    """What makes a batch of rows of x and y: data.Augment of images, audio.AugmentAudio of clips."""

    def batch(self, x: Any, y: Any, rows: NDArray[np.intp], epoch: int, target: str) -> tuple[Any, Any]: ...


class Batches:
    """Mini-batches of x (items, ...) and y (items, ...), or of lists of arrays; the last one holds what is left.

    With sample_weight (items,) a batch is (x, y, weights): so many times each example counts in the loss.

    x comes as dtype, x * scale + offset in the pass that gathers it; y keeps its type. The order depends on seed
    and epoch alone, so any epoch can be drawn again. Raises ValueError on empty arrays or different lengths.

    augment makes the batches of images or clips: its random numbers depend on the item's number and the epoch, and y
    (target says what it is: "labels", "segmentation_masks", "bounding_boxes", "keypoints") follows its image. workers
    threads make batches while the caller uses those before, the same ones for any number of them; 0: the caller does.
    """

    def __init__(
        self,
        x: Arrays,
        y: Arrays,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        scale: float = 1.0,
        offset: float = 0.0,
        dtype: DTypeLike = np.float32,
        augment: Augmenting | None = None,
        target: str = "labels",
        workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        inputs, targets = (each if isinstance(each, list) else [each] for each in (x, y))
        counts = [len(array) for array in (*inputs, *targets) if array is not None]
        if len(set(counts)) != 1 or not counts[0]:
            raise ValueError(f"x and y must have the same number of items >= 1, got {' and '.join(map(str, counts))}")
        for array in inputs:
            if array.dtype.kind not in "uif":
                raise ValueError(f"x must be of integers or floats, got {array.dtype}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.x, self.y, self.items = x, y, counts[0]
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        if self.sample_weight is not None and not (
            self.sample_weight.shape == (self.items,) and np.isfinite(self.sample_weight).all()
        ):
            shape = self.sample_weight.shape
            raise ValueError(f"sample_weight must hold a finite number for each of {self.items} items, got {shape}")
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        if workers < 0 or prefetch < 0:
            raise ValueError(f"workers and prefetch must be >= 0, got {workers} and {prefetch}")
        self.scale, self.offset, self.dtype = scale, offset, np.dtype(dtype)
        self.augment, self.target, self.workers, self.prefetch = augment, target, workers, prefetch
        if augment is not None:
            if (scale, offset) != (1.0, 0.0) or self.dtype != np.float32 or isinstance(x, list) or isinstance(y, list):
                raise ValueError("augment needs one array of items and one of targets; scale and dtype are its own")
            self._augmented(np.zeros(1, np.intp), 0)  # raises on what doesn't fit

    def __len__(self) -> int:
        return -(-self.items // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The items in the order of that epoch, (items,)."""
        if not self.shuffle:
            return np.arange(self.items, dtype=np.intp)
        return np.random.default_rng((self.seed, epoch)).permutation(self.items).astype(np.intp, copy=False)

    def like(self) -> tuple[Any, Any]:
        """x and y with the shapes and types of what the batches hold, for checks: y itself where it stays."""
        if self.augment is None:
            return each(shaped, self.x, self.order(0)), self.y
        x, y = self._augmented(np.zeros(1, np.intp), 0)
        if self.target == "labels":
            return np.broadcast_to(x, (self.items, *x.shape[1:])), self.y
        return np.broadcast_to(x, (self.items, *x.shape[1:])), np.broadcast_to(y, (self.items, *y.shape[1:]))

    def epoch(self, number: int) -> Generator[tuple[Any, ...], None, None]:
        """The batches of one epoch, each x and y as they were given: an array or a list; and weights if there are."""
        order = self.order(number)

        def batch(i: int) -> tuple[Any, ...]:
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            rest = () if self.sample_weight is None else (self.sample_weight[rows],)
            if self.augment is not None:
                return *self._augmented(rows, number), *rest
            return each(self._inputs, self.x, rows), each(take, self.y, rows), *rest

        return ahead(batch, len(self), self.workers, self.prefetch)

    def _augmented(self, rows: NDArray[np.intp], epoch: int) -> tuple[Any, Any]:
        assert self.augment is not None
        return self.augment.batch(self.x, self.y, rows, epoch, self.target)

    def _inputs(self, x: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
        return gather(x, rows, self.scale, self.offset, self.dtype)


def shaped(x: Any, _: object) -> NDArray[Any]:
    """x itself, or zeros in the shape of what is read when it is asked for."""
    return x if isinstance(x, np.ndarray) else np.broadcast_to(np.zeros((), x.dtype), x.shape)


def take(y: NDArray[Any] | None, rows: NDArray[np.intp]) -> NDArray[Any] | None:
    return None if y is None else y[rows]


def each(function: Callable[..., Any], arrays: Arrays, rows: NDArray[np.intp]) -> Any:
    return [function(array, rows) for array in arrays] if isinstance(arrays, list) else function(arrays, rows)
