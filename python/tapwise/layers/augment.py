"""Augmentation: images changed at random in training, with Keras' names and arguments.

In a model each layer is a pass of its own over float images, before the first layer that has weights;
tapwise.data.Augment takes the same layers and fuses them into one pass over bytes, in workers if wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, TypeAlias

import numpy as np

from ..data import affine
from ..data.augment import Augment, Mix, Size
from ..data.augment_numpy import FILL_MODES
from ..data.philox import Doubles, Draws
from ..random import next_seed
from .layer import Array, Layer

Range: TypeAlias = float | Sequence[float]
INTERPOLATIONS = ("bilinear", "nearest")


class Augmentation(Layer):
    """x (n, ih, iw, c) float32 -> y: in training x changed at random, which has no gradient, else x.

    Random numbers come from the run's seed (set_random_seed), or from the layer's own if it has one.
    """

    def __init__(self, *, seed: int | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.seed = seed
        self._calls = count()

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 4:
            raise ValueError("x must have 4 dimensions: the batch axis, rows, columns and the channels")
        Augment([self]).output_shape(input_shape[1:])

    def forward(self, x: Array, training: bool = False) -> Array:
        self.saved = None if training else x.shape
        if not training:
            return x
        seed = next_seed() if self.seed is None else 0
        y: Array = Augment([self], seed=seed, scale=1.0, offset=0.0)(x, epoch=next(self._calls))
        return y

    def backward(self, dy: Array) -> Array | None:
        if not self.input_gradient:
            return None
        if self.saved is None:
            raise ValueError(f"{self.name} has no gradient: it must stand before the first layer with weights")
        return self.kept_grad(dy)

    def kept_grad(self, dy: Array) -> Array:
        """dx where forward was one without training."""
        return dy


class _Moving(Augmentation):
    """A layer that composes with others of its kind to one affine map."""

    def output_size(self, size: Size) -> Size:
        return size


class _Filled(_Moving):
    """One that may look beyond the image."""

    def __init__(self, fill_mode: str, interpolation: str, fill_value: float, **layer: Any) -> None:
        super().__init__(**layer)
        self.fill_mode = one_of(fill_mode, FILL_MODES, "fill_mode")
        self.interpolation = one_of(interpolation, INTERPOLATIONS, "interpolation")
        self.fill_value = fill_value


class RandomRotation(_Filled):
    """Turned around the centre by factor of a full turn, counter-clockwise; a number means [-factor, factor]."""

    def __init__(
        self, factor: Range, fill_mode: str = "reflect", interpolation: str = "bilinear", seed: int | None = None,
        fill_value: float = 0.0, **layer: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, **layer)
        self.factor = interval(factor, "factor", -1.0, 1.0)

    def maps(self, draws: Draws, size: Size) -> Doubles:
        (turn,) = draws.uniform(self.factor)
        cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
        return affine.around_centre(cos, -sin, sin, cos, size)


class RandomTranslation(_Filled):
    """Shifted down and right by these shares of the sides; a number means [-factor, factor]."""

    def __init__(
        self, height_factor: Range, width_factor: Range, fill_mode: str = "reflect", interpolation: str = "bilinear",
        seed: int | None = None, fill_value: float = 0.0, **layer: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, **layer)
        self.height_factor = interval(height_factor, "height_factor", -1.0, 1.0)
        self.width_factor = interval(width_factor, "width_factor", -1.0, 1.0)

    def maps(self, draws: Draws, size: Size) -> Doubles:
        down, right = draws.uniform(self.height_factor, self.width_factor)
        return affine.matrices(1, 0, -right * size[1], 0, 1, -down * size[0])


class RandomZoom(_Filled):
    """1 + factor times as much of the image is seen: below 0 zooms in; a number means [-factor, factor].

    Without width_factor both sides zoom alike.
    """

    def __init__(
        self, height_factor: Range, width_factor: Range | None = None, fill_mode: str = "reflect",
        interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0, **layer: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, **layer)
        self.height_factor = interval(height_factor, "height_factor", -0.999, 1.0)
        self.width_factor = None if width_factor is None else interval(width_factor, "width_factor", -0.999, 1.0)

    def maps(self, draws: Draws, size: Size) -> Doubles:
        height, width = draws.uniform(self.height_factor, self.width_factor or (0, 0))
        width = height if self.width_factor is None else width
        return affine.around_centre(1 + width, 0, 0, 1 + height, size)


class RandomShear(_Filled):
    """Rows shifted by x_factor of their number, columns by y_factor of theirs, to either side.

    Factors lie in [0, 1]; a number means [0, factor].
    """

    def __init__(
        self, x_factor: Range = 0.0, y_factor: Range = 0.0, interpolation: str = "bilinear",
        fill_mode: str = "reflect", fill_value: float = 0.0, seed: int | None = None, **layer: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, **layer)
        self.x_factor = interval(x_factor, "x_factor", 0.0, 1.0)
        self.y_factor = interval(y_factor, "y_factor", 0.0, 1.0)

    def maps(self, draws: Draws, size: Size) -> Doubles:
        x, y, side = draws.uniform(self.x_factor, self.y_factor, (-1, 1))
        return affine.matrices(1, np.copysign(x, side), 0, np.copysign(y, side), 1, 0)


class RandomFlip(_Moving):
    """Mirrored with probability 1/2 along each axis of mode: "horizontal", "vertical", "horizontal_and_vertical"."""

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed=seed, **layer)
        self.mode = one_of(mode, ("horizontal", "vertical", "horizontal_and_vertical"), "mode")

    def maps(self, draws: Draws, size: Size) -> Doubles:
        left, up = draws.uniform((0, 1), (0, 1))
        x, y = (np.where(draw < 0.5, -1.0, 1.0) * (side in self.mode) + (side not in self.mode)
                for draw, side in ((left, "horizontal"), (up, "vertical")))  # fmt: skip
        return affine.around_centre(x, 0, 0, y, size)


class RandomCrop(_Moving):
    """A window of height x width, anywhere inside; without training the middle one."""

    def __init__(self, height: int, width: int, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed=seed, **layer)
        if height < 1 or width < 1:
            raise ValueError(f"height and width must be >= 1, got {height} and {width}")
        self.height, self.width = height, width

    def output_size(self, size: Size) -> Size:
        if self.height > size[0] or self.width > size[1]:
            raise ValueError(f"RandomCrop({self.height}, {self.width}) needs images as large, got {size[0]}x{size[1]}")
        return self.height, self.width

    def maps(self, draws: Draws, size: Size) -> Doubles:
        top, left = draws.uniform((0, size[0] - self.height + 1), (0, size[1] - self.width + 1))
        return affine.matrices(1, 0, np.floor(left), 0, 1, np.floor(top))

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            return super().forward(x, training)
        self.output_size((x.shape[1], x.shape[2]))
        self.saved = x.shape
        return np.ascontiguousarray(self._middle(x))

    def kept_grad(self, dy: Array) -> Array:
        dx = np.zeros(self.saved, dy.dtype)
        self._middle(dx)[...] = dy
        return dx

    def _middle(self, x: Array) -> Array:
        top, left = (x.shape[1] - self.height) // 2, (x.shape[2] - self.width) // 2
        return x[:, top : top + self.height, left : left + self.width]


class _Mixing(Augmentation):
    """A layer that mixes images of a batch and their labels, so that only data.Augment can run it."""

    def forward(self, x: Array, training: bool = False) -> Array:
        if training:
            raise ValueError(f"{self.name} mixes labels too: give it to tapwise.data.Augment instead of a model")
        self.saved = x.shape
        return x

    def build(self, input_shape: Any) -> None:
        pass


class MixUp(_Mixing):
    """Each image and label becomes w of itself and 1 - w of another's, w ~ Beta(alpha, alpha)."""

    def __init__(self, alpha: float = 0.2, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed=seed, **layer)
        if not alpha > 0:
            raise ValueError(f"alpha must be > 0, got {alpha}")
        self.alpha = alpha

    def mix(self, draws: Draws, size: Size) -> Mix:
        partners = partners_of(draws)
        kept = draws.beta(np.full(len(draws), self.alpha)).astype(np.float32)
        boxes = np.tile(np.array([0, 0, *size], np.intp), (len(draws), 1))
        return Mix(partners, kept, boxes, kept)


class CutMix(_Mixing):
    """A box of another image in each, and its share of that label: 1 - w of the area, w ~ Beta(a, a), a of factor.

    factor lies in [0, 1]; a number means [0, factor].
    """

    def __init__(self, factor: Range = 1.0, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed=seed, **layer)
        self.factor = interval(factor, "factor", 0.0, 1.0)

    def mix(self, draws: Draws, size: Size) -> Mix:
        partners = partners_of(draws)
        alpha, row, column = draws.uniform(self.factor, (0, 1), (0, 1))
        share = np.sqrt(1 - draws.beta(alpha + 1e-6))
        boxes = box_at(row, column, share, share, size)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        kept = (1 - areas / (size[0] * size[1])).astype(np.float32)
        return Mix(partners, np.zeros(len(draws), np.float32), boxes, kept)


def partners_of(draws: Draws) -> Array:
    """Another image of the batch, or the same, for each."""
    (where,) = draws.uniform((0, len(draws)))
    return where.astype(np.intp)


def box_at(row: Doubles, column: Doubles, height: Doubles, width: Doubles, size: Size) -> Array:
    """Boxes (n, 4), top left bottom right, of these shares of the sides, placed at these shares of what is left."""
    high, wide = np.rint(height * size[0]), np.rint(width * size[1])
    top, left = np.floor(row * (size[0] - high + 1)), np.floor(column * (size[1] - wide + 1))
    return np.ascontiguousarray(np.stack([top, left, top + high, left + wide], -1).astype(np.intp))


def interval(factor: Range, name: str, lowest: float, highest: float) -> tuple[float, float]:
    """(low, high) as given, or [-factor, factor] of one number, cut at lowest. Raises ValueError outside of the two."""
    many = isinstance(factor, Sequence)
    given = list(factor) if isinstance(factor, Sequence) else [float(factor)]
    if len(given) != (2 if many else 1) or not all(lowest <= each <= highest for each in given):
        raise ValueError(f"{name} must be a number or two in [{lowest:g}, {highest:g}], got {factor}")
    if many:
        return min(given), max(given)
    return max(-abs(given[0]), lowest), abs(given[0])


def one_of(value: str, known: Sequence[str], name: str) -> str:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value
