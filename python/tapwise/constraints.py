"""What a layer's weights must fulfil after each step, by Keras' names: constraint(w) is the nearest that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .configured import Configured, made_of

Array = NDArray[Any]
EPSILON = 1e-7  # beside a norm that something is divided by, as in Keras


class Constraint(Configured):
    """A subclass defines __call__, which leaves w alone and gives an array of its shape and dtype."""

    def __call__(self, w: Array) -> Array:
        raise NotImplementedError


class NonNeg(Constraint):
    """Negative weights become 0."""

    def __call__(self, w: Array) -> Array:
        return np.asarray(np.maximum(w, 0), w.dtype)


class MinMaxNorm(Constraint):
    """Of each vector along axis the length is moved into [min_value, max_value], `rate` of the way.

    axis 0 is that of the inputs of a Dense kernel; (0, 1, 2) of a Conv2D's: one filter each.
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        if not 0 <= min_value <= max_value:
            raise ValueError(f"min_value and max_value must be 0 <= min <= max, got {min_value} and {max_value}")
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        self.min_value, self.max_value, self.rate = min_value, max_value, rate
        self.axis = axis if isinstance(axis, int) else tuple(axis)

    def __call__(self, w: Array) -> Array:
        size = np.sqrt(np.square(w).sum(self.axis, keepdims=True))
        wanted = self.rate * np.clip(size, self.min_value, self.max_value) + (1 - self.rate) * size
        return np.asarray(w * (wanted / (size + EPSILON)), w.dtype)


class MaxNorm(MinMaxNorm):
    """Vectors along axis are shortened to max_value. Srivastava et al., "Dropout", 2014."""

    def __init__(self, max_value: float = 2.0, axis: int | Sequence[int] = 0) -> None:
        super().__init__(0.0, max_value, 1.0, axis)


class UnitNorm(MinMaxNorm):
    """Vectors along axis get the length 1."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(1.0, 1.0, 1.0, axis)


Given: TypeAlias = str | Constraint | Mapping[str, Any] | None
NAMES: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}


def get(identifier: Given) -> Constraint | None:
    """A constraint by name ("max_norm", "non_neg"...), by its description, as it is, or None."""
    if identifier is None or isinstance(identifier, Constraint):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, NAMES.values(), "constraint")
    names = NAMES | {cls.__name__: cls for cls in NAMES.values()}
    if identifier not in names:
        raise ValueError(f"constraint must be one of {', '.join(NAMES)} or a Constraint, got {identifier!r}")
    return names[identifier]()
