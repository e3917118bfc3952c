"""Run each kind of kernel of the Numba backend; print how many kernels were compiled and how many came from disk."""

import json
import sys

import numpy as np

import tapwise
from tapwise.backend import numba as backend

MODULES = [module for name, module in sys.modules.items() if name.startswith(f"{backend.__name__}.")]


def kernels():
    found = {id(value): value for module in MODULES for value in vars(module).values() if hasattr(value, "py_func")}
    return list(found.values())


def run():
    x, w = np.ones((1, 6, 6, 4), np.float32), np.ones((3, 3, 4, 16), np.float32)
    for algorithm in ("direct", "im2col"):
        y = tapwise.conv(x, w, algorithm=algorithm, activation="relu")
        tapwise.conv_grad_input(y, w, x.shape, algorithm=algorithm)
        tapwise.conv_grad_weight(x, y, w.shape, algorithm=algorithm)
    _, indices = tapwise.max_pool(x, 2, return_indices=True)
    tapwise.max_pool_grad(np.ones((1, 3, 3, 4), np.float32), indices, x.shape)


tapwise.backend.use("numba")
imported = sum(len(kernel.signatures) for kernel in kernels())
run()
counted = [kernel.stats for kernel in kernels()]
json.dump(
    {
        "imported": imported,
        "from disk": sum(sum(stats.cache_hits.values()) for stats in counted),
        "compiled": sum(sum(stats.cache_misses.values()) for stats in counted),
    },
    sys.stdout,
)
