"""Noise where information is in excess."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..random import SeedGenerator, next_seed
from .layer import Array, Layer, Shape
from .place import Needs, Place


class Dropout(Layer):
    """In training y = x / (1 - rate), or 0 with probability rate; else y = x.

    Masks come from the run's seed (set_random_seed), or from the layer's own if it has one.
    """

    def __init__(self, rate: float, *, seed: int | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.next_seed = next_seed if seed is None else SeedGenerator(seed).next

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        dropped = training and self.rate > 0
        return Needs(view=not dropped, in_place=dropped)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = self.next_seed() if training and self.rate else None
        return x if self.saved is None else ops.dropout(x, self.rate, self.saved, out=self.place.memory.get("y"))

    def backward(self, dy: Array) -> Array | None:
        return dy if self.saved is None else ops.dropout(dy, self.rate, self.saved, out=self.place.memory.get("dx"))
