"""What ran: each operation's algorithm, shapes, time and bytes, while a trace is on.

A trace is on for the whole process. The backend in use is then seen through a Recorder; without a trace there is none,
so an operation pays nothing for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy as np

from . import backend
from .backend import Array, Backend

_lock = Lock()
_traces: tuple[trace, ...] = ()


class Record(NamedTuple):
    """One call of a backend function, named after it: a transposed convolution is a conv_grad_input.

    "widened" stands behind the algorithm where kernels of float32 computed bfloat16, in the scratch of each task.
    bytes counts each array once; copied_bytes is what was rearranged first: packed weights, rows for a softmax.
    """

    name: str
    algorithm: str
    shapes: dict[str, tuple[int, ...]]
    seconds: float
    bytes: int
    copied_bytes: int

    def __str__(self) -> str:
        shapes = " ".join(f"{name} {'x'.join(map(str, shape)) or '()'}" for name, shape in self.shapes.items())
        return (
            f"{self.name:<26} {self.algorithm:<9} {self.seconds * 1e6:>11.1f} {self.bytes:>12,} "
            f"{self.copied_bytes:>12,}  {shapes}"
        )


class trace:
    """Records what the engine does until the end of the with statement, in every thread; traces may be nested.

    Printing it gives a table; `records` is the list.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __enter__(self) -> trace:
        global _traces
        with _lock:
            _traces = (*_traces, self)
            backend.watch(recorder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _traces
        with _lock:
            _traces = tuple(other for other in _traces if other is not self)
            if not _traces:
                backend.watch(None)

    def __str__(self) -> str:
        head = f"{'operation':<26} {'algorithm':<9} {'us':>11} {'bytes':>12} {'copied':>12}  shapes"
        total = f"{len(self.records)} operations, {sum(record.seconds for record in self.records) * 1e3:.3f} ms"
        return "\n".join([head, *map(str, self.records), total])


class Recorder:
    """A backend whose operations are timed and put down in every trace that is on."""

    def __init__(self, module: Backend) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        declared = getattr(Backend, name, None)
        if inspect.isfunction(declared):
            value = self._timed(value, name, inspect.signature(declared))
        setattr(self, name, value)
        return value

    def _timed(self, function: Callable[..., Any], name: str, signature: inspect.Signature) -> Callable[..., Any]:
        direction = "forward" if name == "conv" else name.removeprefix("conv_").removeprefix("bf16_")

        def timed(*arguments: Any, **named: Any) -> Any:
            start = perf_counter()
            value = function(*arguments, **named)
            seconds = perf_counter() - start
            given = signature.bind(self, *arguments, **named).arguments
            arrays = {key: array for key, array in listed(given).items() if hasattr(array, "nbytes")}
            algorithm, copied_bytes = given.get("algorithm", ""), 0
            if name == "pack":
                copied_bytes = value.nbytes
            elif name == "separable_conv":
                algorithm = "fused" if given["middle"] is None else "two passes"
            elif arrays and algorithm:
                plan = self._module.plan(given["g"], direction, algorithm, given["accuracy"])
                algorithm = plan["algorithm"]
                packed = "w" in given and not isinstance(given["w"], np.ndarray)
                copied_bytes = 0 if packed else plan["packed_bytes"]
            if name == "conv_bf16":
                algorithm = self._module.bf16_algorithm(given["w"], given["g"])
            elif name != "cast" and any(is_bfloat16(array) for array in arrays.values()):
                algorithm = f"{algorithm} widened".strip()
            if arrays:
                record(name, algorithm, arrays, seconds, copied_bytes)
            return value

        return timed


def is_bfloat16(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "V"


def listed(given: dict[str, Any]) -> dict[str, Any]:
    """With the arrays of lists each by its own name: w0, w1, ..."""
    return {
        name: each
        for key, value in given.items()
        for name, each in (
            [(f"{key}{i}", a) for i, a in enumerate(value)] if isinstance(value, list) else [(key, value)]
        )
    }


def recorder(module: Backend) -> Backend:
    return cast(Backend, Recorder(module))


def record(name: str, algorithm: str, arrays: dict[str, Array], seconds: float, copied_bytes: int) -> None:
    shapes = {key: array.shape for key, array in arrays.items()}
    size = sum(array.nbytes for array in arrays.values())
    for each in _traces:
        each.records.append(Record(name, algorithm, shapes, seconds, size, copied_bytes))


def copied(view: Array, out: Array | None = None) -> Array:
    """A contiguous copy of a view, which traces show as an operation of its own."""
    start = perf_counter()
    y = np.empty(view.shape, view.dtype, like=view) if out is None else out
    np.copyto(y, view)
    if _traces:
        record("copy", "", {"x": view, "y": y}, perf_counter() - start, y.nbytes)
    return y
