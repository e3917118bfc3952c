"""Tapwise: train_on_batch, with all that it checks."""

import tapwise
from networks import TASKS
from tapwise import bench


def start(settings):
    tapwise.threads.set(settings["threads"])
    tapwise.set_random_seed(0)
    return {"version": tapwise.__version__, "machine": bench.machine()}


def step(name, x, y):
    task = TASKS[name]
    model = task.make(tapwise)
    optimizer = tapwise.optimizers.Adam() if task.optimizer == "adam" else tapwise.optimizers.SGD(0.01, 0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return lambda: model.train_on_batch(x, y)


def fma_peak():
    return tapwise.isa.fma_peak()
