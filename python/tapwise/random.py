"""Where all randomness of a run comes from: numbered draws from one seed, so that a run can be repeated to the bit."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from threading import Lock

import numpy as np

WORD = 2**64


class SeedGenerator:
    """The seeds mix(seed + 1 * step), mix(seed + 2 * step), ... : 64-bit, each depends on seed and its number alone.

    Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators" (SplitMix64), 2014.
    Raises ValueError unless 0 <= seed < 2**64.
    """

    def __init__(self, seed: int) -> None:
        self.seed = operator.index(seed)
        if not 0 <= self.seed < WORD:
            raise ValueError(f"seed must be in [0, 2**64), got {seed}")
        # Neighbouring seeds would give the same numbers shifted if they weren't mixed first.
        self._start = _mix(self.seed)
        self._lock = Lock()
        self.drawn = 0  # how many numbers, so that a run can go on from here

    def next(self) -> int:
        with self._lock:
            self.drawn += 1
            return _mix((self._start + self.drawn * 0x9E3779B97F4A7C15) % WORD)


def _mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


_seeds = SeedGenerator(int.from_bytes(os.urandom(8), "little"))


def set_random_seed(seed: int) -> None:
    """Start weights, shuffling and dropout from seed: what follows has the same bits for any number of threads.

    NumPy's global generator is left alone. Raises ValueError unless 0 <= seed < 2**64.
    """
    global _seeds
    _seeds = SeedGenerator(seed)


def run_seeds() -> tuple[int, int]:
    """The run's seed and how many have been drawn from it."""
    return _seeds.seed, _seeds.drawn


def give_run_seeds(state: Sequence[int]) -> None:
    """Go on where run_seeds was."""
    global _seeds
    _seeds = SeedGenerator(state[0])
    _seeds.drawn = state[1]


def next_seed() -> int:
    """The next 64-bit seed of the run."""
    return _seeds.next()


def generator(seed: int | None = None) -> np.random.Generator:
    """A counter-based generator for seed, or for the run's next one."""
    return np.random.Generator(np.random.Philox(next_seed() if seed is None else seed))
