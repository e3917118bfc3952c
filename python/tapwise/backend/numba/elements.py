"""Small passes over whole arrays, in parallel."""

from __future__ import annotations

from .compiled import Array, kernel
from .threads import grain, parallel_for


def add(to: Array, by: Array) -> None:
    """to += by, both contiguous."""
    to, by = to.reshape(-1), by.reshape(-1)
    parallel_for(to.size, grain(to.size, 1), lambda begin, end: _add(to[begin:end], by[begin:end]))


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
def _finite(a: Array) -> bool:
    wrong = False
    for i in range(a.size):
        wrong |= a[i] - a[i] != 0  # infinity minus itself is NaN
    return not wrong
