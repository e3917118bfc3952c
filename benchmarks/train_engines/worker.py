"""One engine training one network in a process of its own; it steps when it is told and sleeps otherwise.

Messages are lines of JSON over standard input and output.
"""

import json
import resource
import sys
import time
from importlib import import_module
from statistics import median

import numpy as np

from networks import TASKS
from peer_engines.worker import answering, limit


def main():
    answer = answering()
    settings = json.loads(sys.stdin.readline())
    limit(settings["threads"])
    try:
        engine = import_module(f"train_engines.{settings['engine']}")
        facts = engine.start(settings)
    except ImportError as error:
        answer(missing=str(error))
        return
    before = peak_mb()
    task = TASKS[settings["network"]]
    rng = np.random.default_rng(0)
    images, labels = rng.random((task.batch, *task.image), np.float32), rng.integers(0, 10, task.batch)
    run = engine.step(settings["network"], images, labels)
    start = time.perf_counter()
    first = run()
    answer(facts={**facts, "first_seconds": time.perf_counter() - start, "loss": first, "imported_mb": before})
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "fma_peak":
            answer(value=engine.fma_peak())
        else:
            seconds = times(run, message["seconds"])
            answer(seconds=median(seconds), steps=len(seconds), peak_mb=peak_mb())


def peak_mb():
    """Of the process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(run, budget):
    """Of the steps that fit into so many seconds, two at least, after two to warm up."""
    clock = time.perf_counter
    run(), run()
    found, end = [], clock() + budget
    while len(found) < 2 or clock() < end:
        start = clock()
        run()
        found.append(clock() - start)
    return found


if __name__ == "__main__":
    main()
