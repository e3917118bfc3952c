"""Which implementation runs: native (C++), numba or reference (NumPy), and cuda for arrays on an NVIDIA device.

The choice is made at the first operation: TAPWISE_BACKEND, else the fastest installed. It holds for the process. Arrays
on a device need none: cuda computes with them whatever is in use, and is loaded by the first.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from .interface import Array, Backend, PlanFields, Update

if TYPE_CHECKING:  # mypy holds each module against the interface
    from . import native, numba, reference

    _native: Backend = native
    _numba: Backend = numba
    _reference: Backend = reference

__all__ = ["Array", "Backend", "PlanFields", "Update", "available", "current", "for_device", "name", "use"]

Watcher: TypeAlias = Callable[[Backend], Backend]
NEEDS = {"native": f"{__name__}._core", "numba": "numba", "reference": "numpy"}
ON_REQUEST = "cuda", "cuda-emulated"  # never chosen for a user

_lock = RLock()
_module: Backend | None = None
_current: Backend | None = None  # _module, or what watches it
_watch: Watcher | None = None
_threads: int | None = None


def available() -> tuple[str, ...]:
    """The backends that are installed, fastest first."""
    return tuple(name for name, needed in NEEDS.items() if find_spec(needed) is not None)


def name() -> str:
    """The backend in use; chooses it if nothing has run yet."""
    return current().name


def current() -> Backend:
    """The functions of the backend in use."""
    return _current or _start()


def for_device() -> Backend:
    """The functions for arrays on an NVIDIA device. Raises ValueError that says what is missing for them."""
    found = _load("cuda", "backend")
    return _watch(found) if _watch else found


class use:
    """Use the named backend from now on, in every thread; as a context manager, restore the former one at the end."""

    def __init__(self, name: str) -> None:
        self._former = _module
        _switch(_load(name, "backend"))

    def __enter__(self) -> use:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _switch(self._former)


def watch(watcher: Watcher | None, instead_of: Watcher | Literal["any"] | None = "any") -> bool:
    """Let current() return watcher(backend), or the backend itself again, if the former watcher is that one.

    Returns whether it was. For traces and recordings.
    """
    global _watch
    with _lock:
        if instead_of not in ("any", _watch):
            return False
        _watch = watcher
        _switch(_module)
        return True


def set_thread_count(wanted: int | None, now: int | None = None) -> tuple[int | None, int | None]:
    """Give `wanted` threads (None: as at the start) to every backend loaded from now on, and to this one, or it `now`.

    Returns the former pair, which restores it. For threads.
    """
    global _threads
    with _lock:
        former = _threads, _module.thread_count() if _module else None
        _threads = wanted
        if _module:
            _module.set_thread_count(now or wanted or _threads_of_environment())
        return former


def _load(name: str, argument: str) -> Backend:
    if name in ON_REQUEST:
        return _load_device(name, argument)
    if name not in NEEDS:
        raise ValueError(f"{argument} must be one of {', '.join(NEEDS)}, got {name!r}")
    if find_spec(NEEDS[name]) is None:
        reason = "the extension isn't built" if name == "native" else f"install it with: pip install {NEEDS[name]}"
        raise ValueError(f"{argument} must be one of {', '.join(available())} here, got {name!r}: {reason}")
    return cast(Backend, import_module(f"{__name__}.{name}"))


def _load_device(name: str, argument: str) -> Backend:
    try:
        module = import_module(f"{__name__}.{name.replace('-', '_')}")
    except ImportError as error:
        raise ValueError(f"{argument} must be one of {', '.join(available())} here, got {name!r}: {error}") from None
    return cast(Backend, module.backend)


def _switch(module: Backend | None) -> None:
    global _module, _current
    with _lock:
        if module is not None and module is not _module:
            module.set_thread_count(_threads or _threads_of_environment())
        _module = module
        _current = _watch(module) if _watch and module else module


def _start() -> Backend:
    with _lock:
        if _current is None:
            wanted = os.environ.get("TAPWISE_BACKEND")
            _switch(_load(wanted, "TAPWISE_BACKEND") if wanted else _fastest())
        return cast(Backend, _current)


@cache  # so it warns once
def _fastest() -> Backend:
    fastest = available()[0]
    if fastest == "reference":
        warnings.warn(
            "tapwise runs its NumPy reference, which is slow: build the extension (pip install tapwise with a C++20 "
            "compiler) or pip install numba",
            RuntimeWarning,
            stacklevel=5,
        )
    return _load(fastest, "backend")


def _threads_of_environment() -> int:
    text = os.environ.get("TAPWISE_THREADS", "")
    if text and not (text.isdecimal() and int(text) >= 1):
        raise ValueError(f"TAPWISE_THREADS must be an integer >= 1, got {text!r}")
    return int(text or 0)


# The extension takes 2 ms to load, which the first operation needn't pay. One that can't be loaded says so there.
if os.environ.get("TAPWISE_BACKEND") in (None, "native"):
    with suppress(ImportError):
        import_module(f"{__name__}.native")
