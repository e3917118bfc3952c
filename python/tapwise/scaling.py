"""Targets of a regression in [-1, 1], and predictions back in their own units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .configured import Configured

Array = NDArray[Any]


class TargetScaler(Configured):
    """fit(y) finds the smallest and largest value of each output; transform takes them to -1 and 1, inverse back.

    model.compile(..., target_scaler=TargetScaler()): fit and evaluate scale y, and predict gives y's own units; fit
    finds the range of its training targets where none has been found yet. The cost is that of scaled targets.
    """

    def __init__(self, low: ArrayLike | None = None, high: ArrayLike | None = None) -> None:
        if (low is None) != (high is None):
            raise ValueError("low and high must be given both or neither")
        self.low = None if low is None else np.asarray(low, np.float64)
        self.high = None if high is None else np.asarray(high, np.float64)

    def fit(self, y: ArrayLike) -> TargetScaler:
        """The range of y (n, ...), output by output; an output that never changes stays what it is, moved to 0."""
        y = np.asarray(y, np.float64)
        if not y.size or not np.isfinite(y).all():
            raise ValueError(f"y must hold finite numbers to scale them, got {y.size} values")
        self.low, self.high = y.min(0), y.max(0)
        return self

    def get_config(self) -> dict[str, Any]:
        return {name: None if a is None else a.tolist() for name, a in (("low", self.low), ("high", self.high))}

    def transform(self, y: ArrayLike) -> Array:
        middle, half = self._range()
        return (np.asarray(y, np.float64) - middle) / half

    def inverse_transform(self, y: ArrayLike) -> Array:
        middle, half = self._range()
        y = np.asarray(y)
        return np.asarray(y * half.reshape(self._like(half, y)) + middle.reshape(self._like(middle, y)), y.dtype)

    def _range(self) -> tuple[Array, Array]:
        if self.low is None or self.high is None:
            raise ValueError("the scaler must have seen targets: fit it first")
        half = (self.high - self.low) / 2
        return (self.high + self.low) / 2, np.where(half > 0, half, 1.0)

    def _like(self, a: Array, y: Array) -> tuple[int, ...]:
        """Targets (n,) belong to outputs (n, 1)."""
        return (1,) if a.ndim == 0 and y.ndim > 1 else a.shape
