"""Where the time of a training step goes: `tapwise bench --profile`, or profile.step(model, x, y) for any model."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import numpy as np

from . import bench, layers
from .layers.layer import Array
from .model import Model, Sequential
from .trace import trace

BATCH = 128


class Share(NamedTuple):
    """Calls of an operation in a step, by one algorithm, and their time."""

    operation: str
    algorithm: str
    calls: int
    seconds: float


class Profile(NamedTuple):
    """seconds is the median of whole steps without a trace; what the operations don't take is Python's and NumPy's."""

    seconds: float
    shares: list[Share]
    images: int
    peak_bytes: int

    @property
    def rest(self) -> float:
        return self.seconds - sum(share.seconds for share in self.shares)

    def __str__(self) -> str:
        lines = [f"{'operation':<28} {'algorithm':<13} {'calls':>5} {'ms':>9} {'share':>7}"]
        rest = Share("between operations", "", 0, max(0.0, self.rest))
        for share in [*self.shares, rest]:
            lines.append(
                f"{share.operation:<28} {share.algorithm:<13} {share.calls or '':>5} {share.seconds * 1e3:>9.3f} "
                f"{share.seconds / self.seconds:>7.1%}"
            )
        lines.append(
            f"a step takes {self.seconds * 1e3:.1f} ms, {self.images / self.seconds:,.0f} images/s; "
            f"its arrays take {self.peak_bytes / 2**20:.1f} MiB"
        )
        return "\n".join(lines)


def step(model: Model, x: Array, y: Array, *, steps: int = 20) -> Profile:
    """Train a compiled model on x and y, a batch, that many times without and with a trace: medians of both."""
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    found: dict[tuple[str, str], list[float]] = {}
    calls: dict[tuple[str, str], int] = {}
    for _ in range(steps):
        with trace() as traced:
            model.train_on_batch(x, y)
        total: dict[tuple[str, str], float] = {}
        calls.clear()
        for record in traced.records:
            key = record.name, record.algorithm
            total[key] = total.get(key, 0.0) + record.seconds
            calls[key] = calls.get(key, 0) + 1
        for key, spent in total.items():
            found.setdefault(key, []).append(spent)
    shares = [Share(*key, calls[key], median(spent)) for key, spent in found.items() if key in calls]
    shares.sort(key=lambda share: -share.seconds)
    return Profile(median(seconds[2:]), shares, len(x), model.plan(len(x)).peak_bytes)


def small_cnn() -> Sequential:
    """Keras' MNIST example."""
    model = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def print_profile() -> None:
    """The small CNN on 128 images of noise, with Adam."""
    rng = np.random.default_rng(0)
    x, y = rng.random((BATCH, 28, 28, 1), np.float32), rng.integers(0, 10, BATCH)
    print(f"{bench.machine()}\n\nA training step of a small CNN, {BATCH} images of 28x28, Adam\n")
    print(step(small_cnn(), x, y))
