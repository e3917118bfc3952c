"""What _augment.pyx computes, with NumPy, to the same bits: the pure-Python wheel has nothing else."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
SHIFT, CONTRAST, SATURATION, HUE, ERASE = range(5)
CELLS = 4096


def quantiles() -> Floats:
    """(CELLS + 1,) quantiles of the normal distribution, its ends such that numbers between them have variance 1."""
    inner = np.array([NormalDist().inv_cdf(i / CELLS) for i in range(1, CELLS)])
    a, b = inner[:-1], inner[1:]
    missing = (CELLS - np.sum(a * a + a * b + b * b) / 3) / 2  # of the integral of z^2, in each end's cell
    last = inner[-1]
    end = (-last + np.sqrt(last * last - 4 * (last * last - 3 * missing))) / 2
    return np.concatenate([[-end], inner, [end]]).astype(np.float32)


def augment(
    x: Array, rows: NDArray[np.intp], maps: NDArray[np.int64], mode: int, fill: float, nearest: bool,
    codes: NDArray[np.int32], values: NDArray[np.float64], scale: float, offset: float, stddev: float,
    keys: NDArray[np.uint32], table: Floats, means: Floats, y: Floats,
) -> None:  # fmt: skip
    for i in range(len(y)):
        exact = nearest or not np.bitwise_or.reduce(maps[i]) & 0xFFFFFFFF
        y[i] = _sample(x[rows[i]], maps[i], FILL_MODES[mode], np.float32(fill), exact, y.shape[1:3])
        for code, v in zip(codes, values[i], strict=True):
            _step(int(code), v, table, y[i])
        y[i] = y[i] * np.float32(scale) + np.float32(offset)
        if stddev > 0:
            y[i] += np.float32(stddev) * _normal(y[i].shape, keys[i], table)


def blend(x: Floats, partners: NDArray[np.intp], weights: Floats, boxes: NDArray[np.intp], y: Floats) -> None:
    y[...] = x
    for i, (top, left, bottom, right) in enumerate(boxes):
        box = slice(top, bottom), slice(left, right)
        y[i][box] = weights[i] * x[i][box] + (1 - weights[i]) * x[partners[i]][box]


def _fold(i: Array, n: int, mode: str) -> Array:
    """The pixel in [0, n) that stands for i; -1: the fill value."""
    if mode == "constant":
        return np.where((i >= 0) & (i < n), i, -1)
    if mode == "nearest":
        return np.clip(i, 0, n - 1)
    if mode == "wrap":
        return i % n
    i = i % (2 * n)
    return np.where(i < n, i, 2 * n - 1 - i)


def _sample(x: Array, m: NDArray[np.int64], mode: str, fill: np.float32, exact: bool, size: tuple[int, int]) -> Floats:
    i, j = np.arange(size[0])[:, None], np.arange(size[1])
    sx, sy = m[0] * j + m[1] * i + m[2], m[3] * j + m[4] * i + m[5]

    def tap(row: Array, column: Array) -> Floats:
        r, c = _fold(row, x.shape[0], mode), _fold(column, x.shape[1], mode)
        inside = ((r >= 0) & (c >= 0))[..., None]
        return np.where(inside, x[r, c].astype(np.float32), fill)

    if exact:
        return tap((sy + 2**31) >> 32, (sx + 2**31) >> 32)
    fx, fy = (((s & 0xFFFFFFFF) >> 8).astype(np.float32)[..., None] * np.float32(2**-24) for s in (sx, sy))
    sx, sy = sx >> 32, sy >> 32
    a, b = tap(sy, sx), tap(sy + 1, sx)
    a = a + fx * (tap(sy, sx + 1) - a)
    b = b + fx * (tap(sy + 1, sx + 1) - b)
    y: Floats = a + fy * (b - a)
    return y


def _normal(shape: tuple[int, ...], key: NDArray[np.uint32], table: Floats) -> Floats:
    """The number of an image's element -> a normal number: 12 bits choose a quantile, 20 a place up to the next."""

    def mixed(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        return h ^ (h >> np.uint32(16))

    number = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    h = mixed(mixed(number ^ key[0]) + key[1])
    low, cell = (h & np.uint32(0xFFFFF)).astype(np.float32), h >> np.uint32(20)
    normal: Floats = table[cell] + low * np.float32(2**-20) * (table[cell + 1] - table[cell])
    return normal


def _step(code: int, v: NDArray[np.float64], table: Floats, y: Floats) -> None:
    factor, low, high = v[:3].astype(np.float32)
    if code == SHIFT:
        y[...] = np.clip(y + factor, low, high)
    elif code == CONTRAST:
        sums = np.cumsum(y.reshape(-1, y.shape[-1]), axis=0, dtype=np.float64)[-1]  # one after the other, as C does
        means = (sums / (y.shape[0] * y.shape[1])).astype(np.float32)
        y[...] = np.clip((y - means) * factor + means, low, high)
    elif code == SATURATION:
        most = y.max(-1, keepdims=True)
        spread = most - y.min(-1, keepdims=True)
        limit = np.divide(most - low, spread, out=np.ones_like(spread), where=spread > 0)
        factors = np.where(spread * factor > most - low, limit, factor)
        y[...] = np.where(spread > 0, np.maximum(low, most - (most - y) * factors), y)
    elif code == HUE:
        y[...] = _turned(y, factor)
    else:
        top, left, bottom, right = v[3:7].astype(np.intp)
        fill: Floats = v[7 + np.minimum(np.arange(y.shape[-1]), 2)].astype(np.float32)
        if factor > 0:
            fill = np.clip(factor * _normal(y.shape, v[7:9].astype(np.uint32), table), low, high)[
                top:bottom, left:right
            ]
        y[top:bottom, left:right] = fill


def _turned(y: Floats, sixths: np.float32) -> Floats:
    """HSV's hue, of which six are a turn, plus sixths in [-6, 6]."""
    most = y.max(-1)
    spread = most - y.min(-1)
    r, g, b = np.moveaxis(y, -1, 0)
    six = np.float32(6)
    divisor = np.where(spread > 0, spread, np.float32(1))
    hue = np.where(
        r == most,
        (g - b) / divisor,
        np.where(g == most, (b - r) / divisor + np.float32(2), (r - g) / divisor + np.float32(4)),
    )
    hue = hue + sixths
    hue = np.where(hue < 0, hue + six, hue)
    hue = np.where(hue >= six, hue - six, hue)
    turned = np.empty_like(y)
    for k in range(3):
        t = hue + np.float32(5 - 2 * k)
        t = np.where(t >= six, t - six, t)
        turned[..., k] = most - spread * np.clip(np.minimum(t, 4 - t), 0, 1)
    return np.where(spread[..., None] > 0, turned, y)
