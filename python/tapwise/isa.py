"""Which instruction set the kernels use: the best one of this CPU, TAPWISE_ISA, or what `use` names."""

from __future__ import annotations

from types import TracebackType

from .backend import current

__all__ = ["available", "fma_peak", "kernels", "name", "use"]


def available() -> list[str]:
    """The levels that this build has and this CPU runs, slowest first."""
    return current().isa_available()


def name() -> str:
    """The level in use."""
    return current().isa_name()


def kernels() -> list[str]:
    """The kernels of the level in use."""
    return current().isa_kernels()


def fma_peak(steps: int = 1 << 20, dtype: str = "float32") -> float:
    """GFLOP/s of multiply-adds in registers on all threads, measured now: what a kernel's speed is a share of.

    dtype: "float32", "bfloat16" or "int8"; each product and each sum is an operation. NaN where the backend has no such
    loop.
    """
    return current().fma_peak(steps, dtype)


class use:
    """Use the named level from now on; as a context manager, restore the former one at the end."""

    def __init__(self, name: str) -> None:
        self._backend = current()
        self._former = self._backend.isa_name()
        self._backend.isa_use(name)

    def __enter__(self) -> use:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.isa_use(self._former)
