"""Matrix products by NumPy's BLAS, shared out over our threads.

While a convolution runs, OpenBLAS stays on the thread that calls it. Its own threads would spin for a while after each
product, on cores that ours need, and tapwise.threads would not govern them. Where NumPy has another BLAS, or OpenBLAS
can't be reached (on Windows), a product is one call and has what threads it takes.

A child that is forked while another thread multiplies inherits OpenBLAS's locks held and hangs at its first product. So
a fork waits until no product runs, and none starts meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.linalg import _umath_linalg

from .compiled import Array
from .threads import parallel_for

SIDE = 128  # rows or columns of a part at least: each part packs the other factor again, 1/8 of its time with 128
REGULAR_WORK = 1 << 23  # multiply-adds of a part at least: below 7 * 10^6, OpenBLAS may sum in another order

NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
PTHREADS = 1  # what get_parallel says of an OpenBLAS with threads of its own, not OpenMP's


class Control(NamedTuple):
    """OpenBLAS's number of threads."""

    get: Callable[[], int]
    set: Callable[[int], None]


@cache
def control() -> Control | None:
    """The control of the OpenBLAS that NumPy is linked to, if it is one that we can reach."""
    library = ctypes.CDLL(_umath_linalg.__file__)
    for name in NAMES:
        functions = [name.format(f) for f in ("get_parallel", "get_num_threads", "set_num_threads")]
        if all(hasattr(library, function) for function in functions):
            parallel, get, set_ = (getattr(library, function) for function in functions)
            return Control(get, set_) if parallel() == PTHREADS else None
    return None


class _Alone:
    """Keeps OpenBLAS on one thread while somebody is inside."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside, self.former = 0, 1

    def __enter__(self) -> None:
        if threads := control():
            with self.lock:
                if not self.inside:
                    self.former = threads.get()
                    threads.set(1)
                self.inside += 1

    def __exit__(self, *error: object) -> None:
        if threads := control():
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    threads.set(self.former)


class _Gate:
    """Lets products in, except while a fork waits for those inside to leave, and while it happens."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = self.forks = 0

    def __enter__(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not self.forks)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.changed:
            self.inside -= 1
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.forks += 1
            self.changed.wait_for(lambda: not self.inside)

    def open(self) -> None:
        with self.changed:
            self.forks -= 1
            self.changed.notify_all()


def alone() -> _Alone:
    """A context in which OpenBLAS stays on the threads that call it."""
    return _alone


def multiply(a: Array, b: Array, product: Array) -> None:
    """product (m, n) = a (m, k) @ b (k, n), in a power of two of parts along the longer of m and n."""
    (m, n), k = product.shape, a.shape[1]
    parts = min(max(m, n) // SIDE, m * n * k // REGULAR_WORK) if control() else 1
    step = -(-max(m, n) >> max(0, parts.bit_length() - 1))
    step += -step % 16

    def body(begin: int, end: int) -> None:
        rows, columns = (slice(begin, end), slice(None)) if m >= n else (slice(None), slice(begin, end))
        with _gate, np.errstate(all="ignore"):  # infinity and NaN are results
            np.matmul(a[rows], b[:, columns], out=product[rows, columns])

    parallel_for(max(m, n), step, body)


def _renew() -> None:
    """In a forked child nobody is inside."""
    global _alone, _gate
    if _alone.inside and (threads := control()):
        threads.set(_alone.former)
    _alone, _gate = _Alone(), _Gate()


_alone, _gate = _Alone(), _Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _gate.close(), after_in_parent=lambda: _gate.open(), after_in_child=_renew)
