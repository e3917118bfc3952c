"""Resident KiB that 2,000 convolutions of random shapes add once the bounded caches are full; printed."""

import os
from pathlib import Path

import numpy as np

import tapwise

LARGEST, SMALL = (3, 24, 24, 24, 24, 3), (3, 6, 6, 6, 6, 3)


def resident_kib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def train_step(n, h, w, ci, co, k):
    x, weights = np.ones((n, h, w, ci), np.float32), np.ones((k, k, ci, co), np.float32)
    y = tapwise.conv(x, weights, padding="same")
    tapwise.conv_grad_input(y, weights, x.shape, padding="same")
    tapwise.conv_grad_weight(x, y, weights.shape, padding="same")


def random_steps(count, largest, rng):
    for _ in range(count):
        train_step(*(int(rng.integers(1, size + 1)) for size in largest))


rng = np.random.default_rng(0)
train_step(*LARGEST)
random_steps(6000, SMALL, rng)  # geometries are kept for 4,096 shapes
random_steps(300, LARGEST, rng)
before = resident_kib()
random_steps(2000, LARGEST, rng)
print(resident_kib() - before)
