"""Whole training steps: forward, loss, backward, update, on a batch of images. Beside other engines: train_peers.py.

pytest benchmarks/bench_train.py --benchmark-enable --benchmark-json=train.json
python benchmarks/report.py train.json
"""

import numpy as np
import pytest

import tapwise
from networks import TASKS, Task, lenet

ALL = {**TASKS, "LeNet-5": Task(lenet, (28, 28, 1), 128, "adam")}
BACKENDS = [name for name in tapwise.backend.available() if name != "reference"]
CHECKED = 2  # images on which the loss is compared: the reference is slow


def start(network, batch):
    """A model with the same weights each time, and a batch."""
    task = ALL[network]
    tapwise.set_random_seed(0)
    model = task.make(tapwise)
    optimizer = "adam" if task.optimizer == "adam" else tapwise.optimizers.SGD(0.01, 0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    return model, rng.random((batch, *task.image), np.float32), rng.integers(0, 10, batch)


def loss(network, backend):
    """Of the first step; a deep network magnifies rounding differences from step to step."""
    with tapwise.backend.use(backend):
        model, x, y = start(network, CHECKED)
        return model.train_on_batch(x, y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network", ALL)
def bench_step(benchmark, network, backend):
    error = abs(loss(network, "reference") - loss(network, backend))
    assert error <= 1e-4
    batch = ALL[network].batch
    benchmark.group = f"step {network}"
    benchmark.extra_info.update(row=f"{network} n{batch}", direction="step", engine=backend, images=batch, error=error)
    with tapwise.backend.use(backend):
        model, x, y = start(network, batch)
        benchmark(model.train_on_batch, x, y)
