"""Calls of the backend put down once, to be made again on the same arrays without the operations' checks.

The caller answers for it that the arrays are still the same objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import ModuleType
from typing import Any, TypeAlias, cast

from .. import backend
from ..backend import Backend
from .tuned import winners

State: TypeAlias = tuple[Any, int]
QUESTIONS = {"bf16_algorithm", "isa_name", "plan", "plan_separable", "thread_count"}  # no array is written by these


def state() -> State | None:
    """What recorded calls depend on beside their arguments: the backend and what was tuned. None: it is watched."""
    module = backend.current()
    return (module, len(winners)) if isinstance(module, ModuleType) else None


class Calls:
    """What one thread has asked of the backend while it was recorded."""

    def __init__(self) -> None:
        self.made: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def again(self) -> None:
        for function, arguments, named in self.made:
            function(*arguments, **named)


class Watched:
    """A backend whose operations are put down, those of this thread."""

    def __init__(self, module: Backend, calls: Calls) -> None:
        self._module, self._calls, self._thread = module, calls, get_ident()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if inspect.isfunction(getattr(Backend, name, None)) and name not in QUESTIONS:
            value = self._recorded(value)
        setattr(self, name, value)
        return value

    def _recorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any, **named: Any) -> Any:
            if get_ident() == self._thread:
                self._calls.made.append((function, arguments, named))
            return function(*arguments, **named)

        return recorded


@contextmanager
def recording() -> Iterator[Calls | None]:
    """The calls made until the end of the with statement; None while a trace or another recording is on."""
    calls = Calls()

    def watcher(module: Backend) -> Backend:
        return cast(Backend, Watched(module, calls))

    if not backend.watch(watcher, instead_of=None):
        yield None
        return
    try:
        yield calls
    finally:
        backend.watch(None, instead_of=watcher)
