"""Noise in training, beside Dropout: whole maps, and kinds that keep the mean and variance of what they disturb."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..geometry import is_channels_last
from ..random import SeedGenerator, generator, next_seed
from .dropout import Dropout, mask, share
from .functions import SELU_ALPHA, SELU_SCALE
from .layer import Array, Layer, Shape, need_rank


class SpatialDropout(Dropout):
    """In training whole maps become 0 with probability rate, the others x / (1 - rate). Tompson et al., 2015."""

    in_bfloat16 = False
    rank: ClassVar[int]

    def __init__(self, rate: float, data_format: str = "channels_last", seed: int | None = None, **layer: Any) -> None:
        super().__init__(rate, seed=seed, **layer)
        self.channels_last = is_channels_last(data_format)

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)
        ones = (1,) * self.rank
        c = input_shape[-1] if self.channels_last else input_shape[1]
        self.noise_shape = (None, *ones, c) if self.channels_last else (None, c, *ones)


class SpatialDropout1D(SpatialDropout):
    """x (n, iw, c); the arguments are SpatialDropout's without data_format."""

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, **layer: Any) -> None:
        super().__init__(rate, seed=seed, **layer)


class SpatialDropout2D(SpatialDropout):
    """x (n, ih, iw, c); the arguments are SpatialDropout's."""

    rank = 2


class SpatialDropout3D(SpatialDropout):
    """x (n, id, ih, iw, c); the arguments are SpatialDropout's."""

    rank = 3


class Noise(Layer):
    """y = x * gain + shift in training, else x; `draw` gives gain and shift, None for 1 and 0. Seeds as in Dropout."""

    def __init__(self, seed: int | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.next_seed = next_seed if seed is None else SeedGenerator(seed).next

    def draw(self, shape: Shape, dtype: Any) -> tuple[Array | None, Array | None]:
        raise NotImplementedError

    def forward(self, x: Array, training: bool = False) -> Array:
        gain, shift = self.draw(x.shape, x.dtype) if training else (None, None)
        self.saved = gain
        y = x if gain is None else x * gain
        return y if shift is None else y + shift

    def backward(self, dy: Array) -> Array | None:
        return dy if self.saved is None else dy * self.saved


class GaussianNoise(Noise):
    """y = x + normal with standard deviation stddev."""

    def __init__(self, stddev: float, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed, **layer)
        if not 0 <= stddev <= 1:
            raise ValueError(f"stddev must be in [0, 1], got {stddev}")
        self.stddev = stddev

    def draw(self, shape: Shape, dtype: Any) -> tuple[Array | None, Array | None]:
        return None, (self.stddev * normal(self.next_seed(), shape, dtype) if self.stddev else None)


class GaussianDropout(Noise):
    """y = x * normal with mean 1 and variance rate / (1 - rate), which is dropout's. Srivastava et al., 2014."""

    def __init__(self, rate: float, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed, **layer)
        self.rate = share(rate)

    def draw(self, shape: Shape, dtype: Any) -> tuple[Array | None, Array | None]:
        stddev = math.sqrt(self.rate / (1 - self.rate))
        return (1 + stddev * normal(self.next_seed(), shape, dtype) if stddev else None), None


class AlphaDropout(Noise):
    """A share `rate` becomes SELU's lower limit, then all is brought back to mean 0 and variance 1. Klambauer, 2017."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **layer: Any) -> None:
        super().__init__(seed, **layer)
        self.rate = share(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def draw(self, shape: Shape, dtype: Any) -> tuple[Array | None, Array | None]:
        if not self.rate:
            return None, None
        limit = -SELU_ALPHA * SELU_SCALE
        gain = ((1 - self.rate) * (1 + self.rate * limit**2)) ** -0.5
        kept = mask(self.noise_shape, shape, self.rate, self.next_seed(), dtype) != 0
        low = gain * limit * (1 - self.rate)
        return np.where(kept, dtype.type(gain), dtype.type(0)), np.where(
            kept, dtype.type(-gain * limit * self.rate), dtype.type(low)
        )


def normal(seed: int, shape: Shape, dtype: Any) -> Array:
    return generator(seed).standard_normal(shape, np.dtype(dtype).type)
