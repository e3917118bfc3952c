"""How many threads an operation may use, the caller's included: one number for whichever backend runs.

TAPWISE_THREADS sets it at the start; else it is what the machine gives the process (affinity and cgroup quota).
"""

from __future__ import annotations

from importlib.util import find_spec
from types import TracebackType

from . import backend
from ._version import __version__
from .geometry import integer

__all__ = ["get", "set"]


def get() -> int:
    """Threads that an operation may use."""
    return backend.current().thread_count()


class set:
    """Use n threads from now on; as a context manager, restore the former number at the end."""

    def __init__(self, n: int) -> None:
        self._former = backend.set_thread_count(integer(n, "n", 1))

    def __enter__(self) -> set:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        backend.set_thread_count(*self._former)


def _register_with_threadpoolctl() -> None:
    """Let threadpoolctl see and limit the threads. It finds pools by libraries: NumPy's stands for every backend."""
    import threadpoolctl

    if not hasattr(threadpoolctl, "register"):  # before 3.3
        return

    class TapwiseController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = "tapwise"
        internal_api = "tapwise"
        filename_prefixes = ("_multiarray_umath",)

        def get_num_threads(self) -> int:
            return get()

        def set_num_threads(self, num_threads: int) -> None:
            set(num_threads)

        def get_version(self) -> str:
            return __version__

    threadpoolctl.register(TapwiseController)


if find_spec("threadpoolctl") is not None:
    _register_with_threadpoolctl()
