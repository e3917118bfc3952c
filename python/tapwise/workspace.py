"""How many bytes of scratch a convolution may ask of each thread, packed weights apart: one limit for the process.

16 MiB at the start. Algorithms are cut to fit, with the same bits; one that can't is refused, and "auto" takes another.
Direct can do all shapes: it needs as much as one window of its input, where that is more.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType

from . import backend
from .geometry import integer

__all__ = ["get", "set"]


def get() -> int | None:
    """Bytes that a plan may ask of a thread; None where that can't be set."""
    limit = backend.current().workspace_limit
    return limit() if limit else None


class set:
    """Allow n bytes from now on, 2**20 at least; as a context manager, restore the former limit at the end."""

    def __init__(self, n: int) -> None:
        current, former = backend.current(), get()
        if current.set_workspace_limit is None or former is None:
            raise ValueError(f"workspace can be set on the native backend alone, got {n} on {current.name}")
        self._restore = partial(current.set_workspace_limit, former)
        current.set_workspace_limit(integer(n, "workspace", 1 << 20))

    def __enter__(self) -> set:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
