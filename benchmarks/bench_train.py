"""Whole training steps: forward, loss, backward, update, on a batch of images.

pytest benchmarks/bench_train.py --benchmark-enable --benchmark-json=train.json
python benchmarks/report.py train.json
"""

import numpy as np
import pytest

import tapwise
from tapwise import layers

BATCH = 128


def small_cnn():
    """The small CNN of Keras' MNIST example."""
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def lenet():
    """LeNet-5 as it is built today: ReLU and maximum pooling."""
    return [
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="relu"),
        layers.Dense(84, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


NETWORKS = {"small CNN": small_cnn, "LeNet-5": lenet}
BACKENDS = [name for name in tapwise.backend.available() if name != "reference"]


def start(network):
    """A model with the same weights each time, and a batch."""
    tapwise.set_random_seed(0)
    model = tapwise.Sequential([tapwise.Input((28, 28, 1)), *NETWORKS[network]()])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    return model, rng.random((BATCH, 28, 28, 1), np.float32), rng.integers(0, 10, BATCH)


def losses(network, backend, steps=3):
    """What the first steps give: the loss before each."""
    with tapwise.backend.use(backend):
        model, x, y = start(network)
        return [model.train_on_batch(x, y) for _ in range(steps)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network", NETWORKS)
def bench_step(benchmark, network, backend):
    want, got = losses(network, "reference"), losses(network, backend)
    error = max(abs(a - b) for a, b in zip(want, got, strict=True))
    # Adam's first steps have the size of the learning rate, whatever the gradient's last bits are.
    assert error <= 1e-4
    benchmark.group = f"step {network}"
    benchmark.extra_info.update(row=f"{network} n{BATCH}", direction="step", engine=backend, images=BATCH, error=error)
    with tapwise.backend.use(backend):
        model, x, y = start(network)
        benchmark(model.train_on_batch, x, y)
