"""Small passes over whole arrays, in parallel."""

from __future__ import annotations

from .compiled import Array, kernel, typed
from .threads import grain, parallel_for


def add(to: Array, by: Array) -> None:
    """to += by, both contiguous."""
    to, by = to.reshape(-1), by.reshape(-1)
    parallel_for(to.size, grain(to.size, 1), lambda begin, end: _add(to[begin:end], by[begin:end]))


def sum_of(a: Array, b: Array, y: Array) -> None:
    """y = a + b, all contiguous; y may be a or b."""
    a, b, y = typed(a).reshape(-1), typed(b).reshape(-1), y.reshape(-1)
    parallel_for(y.size, grain(y.size, 1), lambda begin, end: _sum(a[begin:end], b[begin:end], y[begin:end]))


def all_finite(a: Array) -> bool:
    """Whether no element of a, which is contiguous, is infinite or NaN."""
    a, found = a.reshape(-1), []

    def body(begin: int, end: int) -> None:
        if not _finite(a[begin:end]):
            found.append(begin)

    parallel_for(a.size, grain(a.size, 1), body)
    return not found


@kernel
def _add(to: Array, by: Array) -> None:
    for i in range(to.size):
        to[i] += by[i]


@kernel
def _sum(a: Array, b: Array, y: Array) -> None:
    for i in range(y.size):
        y[i] = a[i] + b[i]


@kernel
def _finite(a: Array) -> bool:
    wrong = False
    for i in range(a.size):
        wrong |= a[i] - a[i] != 0  # infinity minus itself is NaN
    return not wrong
