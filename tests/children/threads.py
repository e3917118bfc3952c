"""What an engine's threads are seen to do from outside; prints one JSON object. Linux only (/proc)."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

import tapwise

rng = np.random.default_rng(0)
X, W = rng.standard_normal((4, 96, 97, 16), np.float32), rng.standard_normal((3, 3, 16, 32), np.float32)


def passes():
    y = tapwise.conv(X, W, padding="same")
    dx = tapwise.conv_grad_input(y, W, X.shape, padding="same")
    return y, dx, tapwise.conv_grad_weight(X, y, W.shape, padding="same")


def threads_of_process():
    return len(os.listdir("/proc/self/task"))


def openmp_libraries():
    """Names of the OpenMP runtimes mapped into this process."""
    mapped = {Path(line.split()[-1]).name for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    return sorted(name for name in mapped if name.startswith(("libgomp", "libomp", "libiomp", "vcomp")))


def idle_seconds():
    """Processor time of all threads during one second without a call."""
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(1)
    return time.process_time() - before


def callers_at_once(count):
    """Largest number of threads while `count` Python threads convolve, and whether all bits were the same."""
    want = passes()
    start, most, equal = threading.Barrier(count + 1), [], []

    def caller():
        start.wait()
        for _ in range(5):
            equal.append(all(map(np.array_equal, passes(), want)))
            most.append(threads_of_process())

    callers = [threading.Thread(target=caller) for _ in range(count)]
    for thread in callers:
        thread.start()
    start.wait()
    for thread in callers:
        thread.join()
    return max(most), len(equal) == 5 * count and all(equal)


def main():
    tapwise.threads.set(1)
    passes()
    alone = threads_of_process()
    tapwise.threads.set(4)
    passes()
    seen = {"started": threads_of_process() - alone, "openmp": openmp_libraries(), "idle_seconds": idle_seconds()}
    most, seen["equal"] = callers_at_once(6)
    seen["oversubscribed"] = most - alone - 3 - 6
    json.dump(seen, sys.stdout)


main()
