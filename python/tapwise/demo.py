"""What `tapwise demo` shows: the digits, trained with five seeds, and the lecture's worked example."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import mean

import numpy as np

from . import ops, recipe
from .data import Dataset
from .random import set_random_seed

SEEDS = 5
EPOCHS = 10

T = np.zeros((7, 7), np.float32)
T[1, 2:5] = 1
T[2:6, 3] = 1
KERNEL = np.array([[-1, 2, 0]] * 3, np.float32)


def train_digits(sets: Sequence[Dataset]) -> float:
    """Train on each split with its own seed, print and return the mean accuracy on the test images."""
    train, test = len(sets[0].x_train), len(sets[0].x_test)
    print(f"A convolutional network on {train:,} handwritten digits of 8x8, tested on {test} others:")
    accuracies = []
    for seed, dataset in enumerate(sets):
        set_random_seed(seed)
        start = time.perf_counter()
        trained = recipe.train(recipe.network(dataset), dataset, epochs=EPOCHS, batch_size=32, verbose=0)
        accuracies.append(trained.accuracy)
        seconds = time.perf_counter() - start
        print(f"  seed {seed}: {trained.accuracy:.2%} right, {seconds:.1f} s", flush=True)
    print(f"mean test accuracy {mean(accuracies):.2%}\n")
    return mean(accuracies)


def worked_example() -> None:
    """A kernel slides over the image of a T: each output is the sum of kernel times window; ReLU drops negatives."""
    x, w = T[None, :, :, None], KERNEL[:, :, None, None]
    y, rectified = ops.conv(x, w)[0, :, :, 0], ops.conv(x, w, activation="relu")[0, :, :, 0]
    print("A 3x3 kernel slides over a 7x7 image:\n")
    columns = zip(*(rows(a) for a in (T, KERNEL, y, rectified)), strict=True)
    print(f"  {'image':<16}{'kernel':<12}{'convolved':<18}after ReLU")
    for image, kernel, convolved, relu in columns:
        print(f"  {image:<16}{kernel:<12}{convolved:<18}{relu}".rstrip())
    print()


def rows(a: np.ndarray) -> list[str]:
    """Seven lines, the numbers of a row in each."""
    width = max(len(f"{v:.0f}") for v in a.flat)
    lines = [" ".join(f"{v + 0:>{width}.0f}" for v in row) for row in a]
    return lines + [""] * (7 - len(lines))
