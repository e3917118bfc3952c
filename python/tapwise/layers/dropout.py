"""Noise where information is in excess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..random import SeedGenerator, next_seed
from .layer import Array, Layer, Shape
from .place import Needs, Place


class Dropout(Layer):
    """In training y = x / (1 - rate), or 0 with probability rate; else y = x.

    noise_shape: that of the mask, 1 where values share it, None for x's own size. Masks come from the run's seed
    (set_random_seed), or from the layer's own if it has one. Srivastava et al., 2014.
    """

    in_bfloat16 = True

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **layer: Any
    ) -> None:
        self.in_bfloat16 = self.in_bfloat16 and noise_shape is None
        super().__init__(**layer)
        self.rate = share(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.next_seed = next_seed if seed is None else SeedGenerator(seed).next

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        dropped = training and self.rate > 0
        return Needs(view=not dropped, in_place=dropped)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = self.next_seed() if training and self.rate else None
        return x if self.saved is None else self._masked(x, self.place.memory.get("y"))

    def backward(self, dy: Array) -> Array | None:
        return dy if self.saved is None else self._masked(dy, self.place.memory.get("dx"))

    def _masked(self, x: Array, out: Array | None) -> Array:
        if self.noise_shape is None:
            return ops.dropout(x, self.rate, self.saved, out=out)
        return np.multiply(x, mask(self.noise_shape, x.shape, self.rate, self.saved, x.dtype), out=out)


def share(rate: float) -> float:
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    return float(rate)


def mask(noise_shape: Sequence[int | None] | None, shape: Shape, rate: float, seed: int, dtype: Any) -> Array:
    """1 / (1 - rate) or 0, in noise_shape or, where that is None, in shape."""
    wanted = noise_shape or shape
    if len(wanted) != len(shape) or any(a not in (None, 1, b) for a, b in zip(wanted, shape, strict=True)):
        raise ValueError(f"noise_shape must have None, 1 or x's own size for each axis, got {noise_shape} for {shape}")
    sizes = [b if a is None else a for a, b in zip(wanted, shape, strict=True)]
    return ops.dropout(np.ones(sizes, dtype), rate, seed)
