"""Batches that somebody else makes: a generator's, or those of an object like Keras' PyDataset."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any, TypeAlias

from .ahead import ahead

Batch: TypeAlias = tuple[Any, ...]
END = object()


class PyDataset:
    """Keras' base of what fit asks for batches: __len__ and __getitem__(i) -> (x, y), by a subclass."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Batch:
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """After each epoch."""


class Stream:
    """source's batches (x, y) or (x, y, sample_weight), steps an epoch, fetched by background threads.

    source is an iterator, which goes on from epoch to epoch and needs steps, or has __len__ and __getitem__, and may
    have on_epoch_end, as Keras' PyDataset: only that one is asked by more than one worker at a time. They fetch while
    the caller uses the batches before; workers = 0: everything happens in the caller's thread. Raises ValueError where
    the batches end too early, TypeError on anything else than such batches.
    """

    def __init__(self, source: Any, steps: int | None = None, *, workers: int = 1, prefetch: int = 2) -> None:
        self.source, self.workers, self.prefetch = source, workers, prefetch
        self.is_sequence = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        if not self.is_sequence and not isinstance(source, Iterator):
            raise TypeError(f"source must be an iterator or have __len__ and __getitem__, got {type(source).__name__}")
        if steps is None and not self.is_sequence:
            raise ValueError("steps_per_epoch must be given for a generator, which doesn't tell where an epoch ends")
        self.steps: int = len(source) if steps is None else steps
        if self.steps < 1 or (self.is_sequence and self.steps > len(source)):
            most = f" and at most {len(source)}" if self.is_sequence else ""
            raise ValueError(f"an epoch must have steps >= 1{most}, got {self.steps}")
        first = source[0] if self.is_sequence else next(source, END)
        if first is END:
            raise ValueError("the generator gave no batch")
        self.x, self.y = checked(first)[:2]
        self.items = self.steps * len(self.x[0] if isinstance(self.x, (list, tuple)) else self.x)
        self._rest: Iterator[Any] = iter(()) if self.is_sequence else chain([first], source)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        """The batches of the next epoch; a generator's don't depend on its number."""
        if self.is_sequence:
            yield from ahead(lambda i: checked(self.source[i]), self.steps, self.workers, self.prefetch)
            if hasattr(self.source, "on_epoch_end"):
                self.source.on_epoch_end()
            return
        batches = ahead(lambda _: next(self._rest, END), self.steps, min(self.workers, 1), self.prefetch)
        for step, batch in enumerate(batches):
            if batch is END:
                raise ValueError(f"the generator ended after {step} of {self.steps} steps of epoch {number + 1}")
            yield checked(batch)


def checked(batch: Any) -> Batch:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise TypeError(f"a batch must be (x, y) or (x, y, sample_weight), got {got}")
    return tuple(batch)
