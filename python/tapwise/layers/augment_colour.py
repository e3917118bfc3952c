"""Augmentation of colours, with Keras' names and arguments: pixels stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data import augment_numpy as steps
from ..data.augment import Size
from ..data.philox import Doubles, Draws
from .augment import Augmentation, Range, box_at, interval


class _Colour(Augmentation):
    """Changes pixels within value_range, in which results are clipped."""

    code: int
    channels: int | None = None

    def __init__(self, value_range: Sequence[float], seed: int | None, **layer: Any) -> None:
        super().__init__(seed=seed, **layer)
        low, high = value_range
        if not low < high:
            raise ValueError(f"value_range must be two numbers, the first the smaller, got {value_range}")
        self.value_range = (float(low), float(high))

    def factors(self, draws: Draws) -> Doubles:
        raise NotImplementedError

    def values(self, draws: Draws, size: Size) -> Doubles:
        factors = self.factors(draws)
        return np.stack(np.broadcast_arrays(factors, *self.value_range), -1)


class RandomBrightness(_Colour):
    """y = x + factor of value_range's width, factor in [-1, 1]; a number means [-factor, factor]."""

    code = steps.SHIFT

    def __init__(
        self, factor: Range, value_range: Sequence[float] = (0, 255), seed: int | None = None, **layer: Any
    ) -> None:
        super().__init__(value_range, seed, **layer)
        self.factor = interval(factor, "factor", -1.0, 1.0)

    def factors(self, draws: Draws) -> Doubles:
        (share,) = draws.uniform(self.factor)
        return share * (self.value_range[1] - self.value_range[0])


class RandomContrast(_Colour):
    """y = mean + f (x - mean), the mean of each channel and image, f in [1 - factor[0], 1 + factor[1]].

    factors lie in [0, 1]; a number stands for both.
    """

    code = steps.CONTRAST

    def __init__(
        self, factor: Range, value_range: Sequence[float] = (0, 255), seed: int | None = None, **layer: Any
    ) -> None:
        super().__init__(value_range, seed, **layer)
        given = tuple(factor) if isinstance(factor, Sequence) else (factor, factor)
        if len(given) != 2 or not all(0 <= each <= 1 for each in given):
            raise ValueError(f"factor must be a number or two in [0, 1], got {factor}")
        self.factor = given

    def factors(self, draws: Draws) -> Doubles:
        (factors,) = draws.uniform((1 - self.factor[0], 1 + self.factor[1]))
        return factors


class RandomSaturation(_Colour):
    """HSV's saturation times f / (1 - f), f of factor in [0, 1]: 0 is grey, 0.5 the image; a number means [0, factor].

    Three channels.
    """

    code = steps.SATURATION
    channels = 3

    def __init__(
        self, factor: Range, value_range: Sequence[float] = (0, 255), seed: int | None = None, **layer: Any
    ) -> None:
        super().__init__(value_range, seed, **layer)
        self.factor = interval(factor, "factor", 0.0, 1.0)

    def factors(self, draws: Draws) -> Doubles:
        (f,) = draws.uniform(self.factor)
        return f / np.maximum(1 - f, 1e-7)


class RandomHue(_Colour):
    """HSV's hue turned by half of factor, to either side, factor in [0, 1]; a number means [0, factor]. 3 channels."""

    code = steps.HUE
    channels = 3

    def __init__(
        self, factor: Range, value_range: Sequence[float] = (0, 255), seed: int | None = None, **layer: Any
    ) -> None:
        super().__init__(value_range, seed, **layer)
        self.factor = interval(factor, "factor", 0.0, 1.0)

    def factors(self, draws: Draws) -> Doubles:
        factor, side = draws.uniform(self.factor, (-1, 1))
        return 3 * np.copysign(factor, side)  # in sixths of a turn


class RandomErasing(_Colour):
    """With a probability of factor a box is filled by fill_value, or by normal noise times value_range's upper end.

    Each side of it is the root of a share in scale. factor and scale lie in [0, 1]; a number means [0, it].
    """

    code = steps.ERASE

    def __init__(
        self, factor: Range = 1.0, scale: Range = (0.02, 0.33), fill_value: float | Sequence[float] | None = None,
        value_range: Sequence[float] = (0, 255), seed: int | None = None, **layer: Any,
    ) -> None:  # fmt: skip
        super().__init__(value_range, seed, **layer)
        self.factor, self.scale = interval(factor, "factor", 0.0, 1.0), interval(scale, "scale", 0.0, 1.0)
        if isinstance(fill_value, Sequence) and len(fill_value) != 3:
            raise ValueError(f"fill_value must be None, a number or three, got {fill_value}")
        self.fill_value = fill_value

    def values(self, draws: Draws, size: Size) -> Doubles:
        probability, chance, row, column = draws.uniform(self.factor, (0, 1), (0, 1), (0, 1))
        height, width = draws.uniform(self.scale, self.scale)
        boxes = box_at(row, column, np.sqrt(height), np.sqrt(width), size)
        boxes[chance >= probability] = 0
        low, high = self.value_range
        if self.fill_value is None:
            factor, fill = high, draws.words()[:2].T
        else:
            factor = 0.0
            fill = np.broadcast_to(np.clip(self.fill_value, low, high), (len(draws), 3))
        return np.hstack([np.broadcast_to([factor, low, high], (len(draws), 3)), boxes, fill])
