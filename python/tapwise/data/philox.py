"""Random numbers of a sample: a function of (seed, epoch, sample, operation), whoever asks and in whatever order.

Philox4x32-10: Salmon, Moraes, Dror & Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint32]

ROUNDS = 10
FACTORS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """counter (4, ...) uint32 -> four random words each, (4, ...) uint32."""
    tail = (1,) * (counter.ndim - 1)
    multiplied, added = (
        counter[0::2].astype(np.uint64),
        counter[1::2].astype(np.uint64),
    )  # in place, two words at a time
    factors = FACTORS.reshape(2, *tail)
    for keys in round_keys(key):
        multiplied *= factors
        high = multiplied[::-1] >> SHIFT
        high ^= added
        high ^= keys.reshape(2, *tail)
        added, multiplied = multiplied[::-1] & LOW, high
    words = np.empty(counter.shape, np.uint32)
    words[0::2], words[1::2] = multiplied, added
    return words


@lru_cache(256)
def round_keys(key: tuple[int, int]) -> NDArray[np.uint64]:
    """(rounds, 2)."""
    words = [[(word + i * step) & 0xFFFFFFFF for word, step in zip(key, KEY_STEPS, strict=True)] for i in range(ROUNDS)]
    return np.array(words, np.uint64)


class Draws:
    """The numbers of one operation for some samples of an epoch; each call gives new ones."""

    def __init__(self, seed: int, epoch: int, samples: NDArray[np.intp], operation: int) -> None:
        self.key = (seed & 0xFFFFFFFF, seed >> 32)
        ids = np.asarray(samples).astype(np.uint64)
        self.counter = np.empty((4, len(ids)), np.uint32)
        self.counter[0] = operation << 16
        self.counter[1] = epoch & 0xFFFFFFFF
        self.counter[2], self.counter[3] = _low(ids), _high(ids)

    def __len__(self) -> int:
        return self.counter.shape[1]

    def words(self) -> Words:
        """(4, samples) uint32."""
        words = philox(self.counter, self.key)
        self.counter[0] += np.uint32(1)
        return words

    def uniform(self, *ranges: tuple[float, float]) -> list[Doubles]:
        """One array (samples,) for each of up to four ranges [low, high)."""
        unit = self.words() * 2.0**-32
        return [low + (high - low) * each for (low, high), each in zip(ranges, unit, strict=False)]

    def normal(self) -> Doubles:
        """(samples,), by Box and Muller."""
        u, v = (self.words()[:2] + 0.5) * 2.0**-32
        normal: Doubles = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
        return normal

    def gamma(self, alpha: Doubles) -> Doubles:
        """(samples,), shape alpha > 0. Marsaglia & Tsang, "A Simple Method for Generating Gamma Variables", 2000."""
        d = np.maximum(alpha, alpha + (alpha < 1)) - 1 / 3
        gamma = np.zeros(len(self))
        missing = np.ones(len(self), bool)
        while missing.any():
            x, u = self.normal(), self.words()[0] * 2.0**-32
            v = np.maximum(0, 1 + x / np.sqrt(9 * d)) ** 3
            with np.errstate(divide="ignore"):
                taken = missing & (v > 0) & (np.log(u) < 0.5 * x * x + d - d * v + d * np.log(v))
            gamma[taken] = (d * v)[taken]
            missing &= ~taken
        boost = (self.words()[0] + 0.5) * 2.0**-32
        return np.where(alpha < 1, gamma * boost ** (1 / alpha), gamma)

    def beta(self, alpha: Doubles) -> Doubles:
        """(samples,) in [0, 1], Beta(alpha, alpha)."""
        a, b = self.gamma(alpha), self.gamma(alpha)
        total = a + b
        beta: Doubles = np.divide(a, total, out=np.full(len(self), 0.5), where=total > 0)
        return beta


def _low(x: NDArray[np.uint64]) -> Words:
    return (x & LOW).astype(np.uint32)


def _high(x: NDArray[np.uint64]) -> Words:
    return (x >> SHIFT).astype(np.uint32)
