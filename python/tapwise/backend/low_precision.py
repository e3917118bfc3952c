"""What convolution computes in bfloat16 and int8, to the bit. Readable, never optimised; reference runs it.

Padding is never read: a tap joins only those inputs and outputs that it connects.
"""

from __future__ import annotations

import numpy as np

from ..geometry import ConvGeometry
from .interface import Array
from .taps import images, last, taps, weights

LEAST = 2.0**-126 * (1 - 2.0**-25)  # float32 rounds this up to its least normal number; what is smaller is flushed


def flushed(v: Array) -> Array:
    """v in float32, half to even, with a zero of its sign where that is subnormal."""
    return np.where(np.abs(v) < LEAST, np.copysign(0, v), v).astype(np.float32)


def multiply_add(x: Array, w: Array, sums: Array) -> Array:
    """x w + sums, rounded once: the product is exact in float64, and its sum's second rounding changes nothing."""
    return flushed(x.astype(np.float64) * w.astype(np.float64) + sums.astype(np.float64))


def cast(x: Array, y: Array) -> None:
    """float32 to bfloat16, half to even, or back."""
    with np.errstate(all="ignore"):
        y[...] = x


def conv_bf16(
    x: Array, w: Array, b: Array | None, y: Array, g: ConvGeometry, *, activation: str | None, alpha: float
) -> None:
    """y = activation(sum + b): over the taps in order and pairs of channels in order, of a pair the odd one first."""
    with np.errstate(all="ignore"):
        sums = np.zeros(g.y_shape, np.float32)
        x_, w_ = images(flushed(x.astype(np.float64)), g), weights(flushed(w.astype(x.dtype).astype(np.float64)), g)
        sums_ = images(sums, g)
        channels = w_.shape[-2]
        order = [c + odd for c in range(0, channels, 2) for odd in (1, 0) if c + odd < channels]
        for tap, xs, ys in taps(g):
            for c in order:
                sums_[ys] = multiply_add(x_[xs][..., c, None], w_[tap][..., c : c + 1, :], sums_[ys])
        if b is not None:
            view = last(sums, g.channels_last)
            view[...] = flushed(view.astype(np.float64) + flushed(b.astype(np.float64)))
        if activation is not None:
            slope = flushed(sums.astype(np.float64) * np.float32(alpha)) if activation == "leaky_relu" else 0
            sums = np.where(sums < 0, slope, sums)
        y[...] = sums


def bf16_algorithm(w: Array, g: ConvGeometry) -> str:
    return "direct"


def conv_int8(
    x: Array, w: Array, b: Array | None, y: Array, g: ConvGeometry,
    *, scale: Array, x_zero_point: int, y_zero_point: int, activation: str | None,
) -> None:  # fmt: skip
    """y = clamp(round(float32(sum of (x - x_zero_point) w + b) * scale) + y_zero_point), half to even."""
    sums = np.zeros(g.y_shape, np.int64)
    x_, w_ = images(x.astype(np.int64) - x_zero_point, g), weights(w.astype(np.int64), g)
    sums_ = images(sums, g)
    for tap, xs, ys in taps(g):
        sums_[ys] += x_[xs] @ w_[tap]
    sums = last(sums, g.channels_last)
    if b is not None:
        sums += b
    limits = np.iinfo(y.dtype)
    least = y_zero_point if activation == "relu" else limits.min
    scaled = np.rint(sums.astype(np.int32).astype(np.float32) * scale)
    last(y, g.channels_last)[...] = np.clip(scaled.astype(np.float64) + y_zero_point, least, limits.max)


def pack_words(w: Array, g: ConvGeometry) -> Array:
    """A copy: nothing is packed here."""
    return w.copy()
