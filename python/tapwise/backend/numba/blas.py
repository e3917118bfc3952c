"""Matrix products by NumPy's BLAS, which a fork must not interrupt.

A child that is forked while another thread multiplies inherits OpenBLAS's lock held and hangs at its first product. So
a fork waits until no product runs, and none starts meanwhile.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from .compiled import Array


class _Gate:
    """Lets products in, except while a fork waits for those inside to leave, and while it happens."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = 0
        self.forks = 0

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


def multiply(a: Array, b: Array, product: Array) -> None:
    """product = a @ b; infinity and NaN are results, not something to warn of."""
    with _gate, np.errstate(all="ignore"):
        np.matmul(a, b, out=product)


def _renew() -> None:
    global _gate
    _gate = _Gate()


_gate = _Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _gate.close(), after_in_parent=lambda: _gate.open(), after_in_child=_renew)
