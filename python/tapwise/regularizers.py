"""What a layer's weights or output cost beside the loss, by Keras' names: a number, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .configured import Configured, made_of

Array = NDArray[Any]


class Regularizer(Configured):
    """Called with an array gives its cost. A subclass defines __call__ and gradient."""

    def __call__(self, x: ArrayLike) -> float:
        raise NotImplementedError

    def gradient(self, x: Array) -> Array:
        """d cost / dx, of x's shape and dtype."""
        raise NotImplementedError


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x**2). The slope of |x| at 0 is 0."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = strength("l1", l1), strength("l2", l2)

    def __call__(self, x: ArrayLike) -> float:
        x = np.asarray(x)
        cost = self.l1 * float(np.abs(x).sum(dtype=np.float64)) if self.l1 else 0.0
        return cost + (self.l2 * float(np.square(x).sum(dtype=np.float64)) if self.l2 else 0.0)

    def gradient(self, x: Array) -> Array:
        gradient = x * x.dtype.type(2 * self.l2)
        if self.l1:
            gradient += np.sign(x) * x.dtype.type(self.l1)
        return np.asarray(gradient)


class L1(L1L2):
    """l1 * sum(|x|): small weights become 0, so more of them are pruned than by L2."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 * sum(x**2)."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


Given: TypeAlias = str | Regularizer | Mapping[str, Any] | None
NAMES: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1l2": L1L2, "l1_l2": L1L2}


def get(identifier: Given) -> Regularizer | None:
    """A regularizer by name ("l1", "l2", "l1l2"), by its description, as it is, or None."""
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, NAMES.values(), "regularizer")
    if identifier.lower() not in NAMES:
        raise ValueError(f"regularizer must be one of {', '.join(NAMES)} or a Regularizer, got {identifier!r}")
    return NAMES[identifier.lower()]()


def strength(name: str, value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be >= 0 and finite, got {value}")
    return float(value)
