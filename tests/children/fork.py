"""Convolve in this process, then in 8 forked children at once, argv[1] times; exit 1 if a child's bits differ.

With argv[2] "busy" another thread convolves all the while, so that forks meet the pool at work.
"""

import os
import sys
import threading
import warnings

import numpy as np

import tapwise

CHILDREN = 8

# From 3.12 Python warns of any fork beside threads, which is what this is about.
warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)


def passes(x, w):
    y = tapwise.conv(x, w, padding="same")
    dx = tapwise.conv_grad_input(y, w, x.shape, padding="same")
    return y, dx, tapwise.conv_grad_weight(x, y, w.shape, padding="same")


def child(x, w, want):
    status = 2
    try:
        status = 0 if all(map(np.array_equal, passes(x, w), want)) else 1
    finally:
        os._exit(status)


def main():
    rounds, busy = int(sys.argv[1]), sys.argv[2] == "busy"
    tapwise.threads.set(4)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 16, 17, 16), np.float32), rng.standard_normal((3, 3, 16, 32), np.float32)
    want = passes(x, w)
    done = threading.Event()

    def keep_busy():
        while not done.is_set():
            passes(x, w)

    worker = threading.Thread(target=keep_busy)
    if busy:
        worker.start()
    try:
        for _ in range(rounds):
            passes(x, w)
            children = [os.fork() or child(x, w, want) for _ in range(CHILDREN)]
            statuses = [os.waitpid(pid, 0)[1] for pid in children]
            if any(statuses):
                sys.exit(f"statuses of the children: {statuses}")
    finally:
        done.set()
        if busy:
            worker.join()


main()
