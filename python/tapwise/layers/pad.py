"""Zeros around maps, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..geometry import Pairs, explicit_padding, frozen, is_channels_last
from .layer import Array, Layer, Shape, need_rank


class Border(Layer):
    """A number of rows at each side of each spatial axis: an integer, one for each axis, or (before, after) each."""

    rank: ClassVar[int]
    in_bfloat16 = True
    argument: ClassVar[str]

    def __init__(self, border: int | Sequence[Any], data_format: str, **layer: Any) -> None:
        super().__init__(**layer)
        self.channels_last, self.data_format = is_channels_last(data_format), data_format
        self.border = self.pairs(frozen(border))

    def pairs(self, border: Any) -> Pairs:
        if self.rank == 1 and isinstance(border, tuple) and len(border) == 2:
            border = (border,)  # 1-D takes its (before, after) bare
        pairs = explicit_padding(border, self.rank)
        if any(side < 0 for pair in pairs for side in pair):
            raise ValueError(f"{self.argument} must be >= 0, got {border}")
        return pairs

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)

    def all_axes(self) -> Pairs:
        """With those of the batch and the channels."""
        none = (0, 0)
        return (none, *self.border, none) if self.channels_last else (none, none, *self.border)

    def padded(self, x: Array) -> Array:
        return np.pad(x, self.all_axes())

    def cropped(self, x: Array) -> Array:
        pairs = zip(x.shape, self.all_axes(), strict=True)
        return np.ascontiguousarray(x[tuple(slice(before, size - after) for size, (before, after) in pairs)])


class ZeroPadding(Border):
    """x (n, *spatial, c) -> y with rows of zeros at the sides."""

    argument = "padding"

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.padded(x)

    def backward(self, dy: Array) -> Array | None:
        return self.cropped(dy)


class Cropping(Border):
    """x (n, *spatial, c) -> y without the rows at the sides."""

    argument = "cropping"

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        sizes = input_shape[1:-1] if self.channels_last else input_shape[2:]
        if any(sum(pair) >= size for pair, size in zip(self.border, sizes, strict=True)):
            raise ValueError(f"cropping must leave at least one row, got {self.border} of {sizes}")

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.cropped(x)

    def backward(self, dy: Array) -> Array | None:
        return self.padded(dy)


class ZeroPadding1D(ZeroPadding):
    """x (n, iw, c) -> y (n, before + iw + after, c); padding is an integer or (before, after)."""

    rank = 1

    def __init__(self, padding: int | Sequence[Any] = 1, data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(padding, data_format, **layer)


class ZeroPadding2D(ZeroPadding):
    """x (n, ih, iw, c), padding as Border has it."""

    rank = 2

    def __init__(self, padding: int | Sequence[Any] = (1, 1), data_format: str = "channels_last", **layer: Any) -> None:
        super().__init__(padding, data_format, **layer)


class ZeroPadding3D(ZeroPadding):
    """x (n, id, ih, iw, c), padding as Border has it."""

    rank = 3

    def __init__(
        self, padding: int | Sequence[Any] = ((1, 1), (1, 1), (1, 1)), data_format: str = "channels_last", **layer: Any
    ) -> None:
        super().__init__(padding, data_format, **layer)


class Cropping1D(Cropping):
    """x (n, iw, c) -> y (n, iw - before - after, c); cropping is an integer or (before, after)."""

    rank = 1

    def __init__(self, cropping: int | Sequence[Any] = (1, 1), **layer: Any) -> None:
        super().__init__(cropping, "channels_last", **layer)


class Cropping2D(Cropping):
    """x (n, ih, iw, c), cropping as Border has it."""

    rank = 2

    def __init__(
        self, cropping: int | Sequence[Any] = ((0, 0), (0, 0)), data_format: str = "channels_last", **layer: Any
    ) -> None:
        super().__init__(cropping, data_format, **layer)


class Cropping3D(Cropping):
    """x (n, id, ih, iw, c), cropping as Border has it."""

    rank = 3

    def __init__(
        self,
        cropping: int | Sequence[Any] = ((1, 1), (1, 1), (1, 1)),
        data_format: str = "channels_last",
        **layer: Any,
    ) -> None:
        super().__init__(cropping, data_format, **layer)
