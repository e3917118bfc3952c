"""Measure the algorithms for a convolution, and remember the fastest: only a process that asks for it uses it.

The file holds one machine's winners: library version and CPU at its head, backend, instruction set and threads beside
each. One of another version or CPU, or a broken one, is ignored, and written anew by the next tune.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ._version import __version__
from .backend import current
from .geometry import ConvGeometry, Padding, Shape, Sizes, conv_geometry, frozen
from .ops.check import ALGORITHMS
from .ops.conv import conv, conv_grad_input, conv_grad_weight
from .ops.pack import pack
from .ops.tuned import Key, key, winners
from .plan import plan

MEASURED = 3  # candidates: the ones expected fastest
ROUNDS = 5
ROUND_SECONDS = 0.02
REMEMBERED = 4096  # the oldest go first


class Tuned(NamedTuple):
    """The winner, which "auto" takes from now on in this process, and the seconds that each one measured took."""

    algorithm: str
    seconds: dict[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {seconds * 1e6:,.1f} us" for name, seconds in self.seconds.items())
        return f"{self.algorithm} of {times}"


def tune(
    x_shape: Shape,
    w_shape: Shape,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    accuracy: str = "default",
    direction: str = "forward",
) -> Tuned:
    """Measure the candidates that accuracy admits, and remember the fastest, here and in the user's cache directory.

    "auto" takes it for this geometry, direction, accuracy, backend, instruction set and number of threads, in this
    process and in those that call load_tuned. That may change bits: another algorithm adds in another order.
    Raises ValueError on sizes that don't fit.
    """
    options = {
        "strides": strides, "padding": padding, "dilation": dilation, "groups": groups, "data_format": data_format,
    }  # fmt: skip
    candidates = plan(x_shape, w_shape, accuracy=accuracy, direction=direction, **options).candidates  # type: ignore[arg-type]
    able = sorted((c for c in candidates if not c.refused), key=lambda c: c.expected_seconds or 0.0)
    g = conv_geometry(x_shape, w_shape, strides, padding, dilation, groups, data_format)
    calls = [_Call(g, direction, c.algorithm, {**options, "accuracy": accuracy}) for c in able[:MEASURED]]
    for _ in range(ROUNDS):  # in turn, so that other load hits all
        for call in calls:
            call.measure()
    calls.sort(key=lambda call: call.seconds)
    winners[key(g, direction, accuracy, current())] = calls[0].algorithm
    _save()
    return Tuned(calls[0].algorithm, {call.algorithm: call.seconds for call in calls})


def load_tuned() -> int:
    """Let "auto" take the winners that tune remembered on this machine; returns how many there are."""
    found = _read(tuned_file())
    winners.update(found)
    return len(found)


def forget_tuned() -> None:
    """Let "auto" choose by itself again in this process; the file stays."""
    winners.clear()


def tuned_file() -> Path:
    """Where winners are remembered: the platform's directory for a user's caches."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tapwise" / "tuned.json"


class _Call:
    """One algorithm's call on random numbers, with weights packed before where that is possible."""

    def __init__(self, g: ConvGeometry, direction: str, algorithm: str, options: dict[str, Any]) -> None:
        self._run: Callable[..., Any]
        self._arguments: tuple[Any, ...]
        memory = current().memory
        self._wait = memory.wait if memory else None
        random = (np.random.default_rng(0).random(shape, np.float32) for shape in (g.x_shape, g.w_shape, g.y_shape))
        x, w, y = map(memory.put, random) if memory else random
        self.algorithm, self.seconds = algorithm, float("inf")
        options = {**options, "algorithm": algorithm}
        if direction == "grad_weight":
            self._run, self._arguments, out = conv_grad_weight, (x, y, g.w_shape), np.empty_like(w)
        else:
            packing = {name: value for name, value in options.items() if name != "accuracy"}
            packed = pack(w, x_shape=g.x_shape, direction=direction, **packing)
            if direction == "forward":
                self._run, self._arguments, out = conv, (x, packed), np.empty_like(y)
            else:
                self._run, self._arguments, out = conv_grad_input, (y, packed, g.x_shape), np.empty_like(x)
        self._options = {**options, "out": out}
        self._finish()

    def _finish(self) -> None:
        """Call, and wait for the device if there is one."""
        self._run(*self._arguments, **self._options)
        if self._wait:
            self._wait()

    def measure(self) -> None:
        """The least time of a call in a round."""
        end = perf_counter() + ROUND_SECONDS
        while True:
            start = perf_counter()
            self._finish()
            stop = perf_counter()
            self.seconds = min(self.seconds, stop - start)
            if stop > end:
                return


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _head() -> dict[str, str]:
    return {"version": __version__, "cpu": _cpu()}


def _read(path: Path) -> dict[Key, str]:
    """The file's winners; none if it isn't there, isn't of this version and CPU or isn't what tune writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if {name: content[name] for name in ("version", "cpu")} != _head():
            return {}
        entries = [entry for entry in content["winners"] if entry[-1] in ALGORITHMS]
        return {_key(*map(frozen, entry)): algorithm for *entry, algorithm in entries}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _key(g: Any, direction: str, accuracy: str, backend: str, isa: str, threads: int) -> Key:
    return ConvGeometry(*g), direction, accuracy, backend, isa, threads


def _save() -> None:
    """Written beside the file and renamed: a reader sees the former one or this one, whole."""
    path = tuned_file()
    kept = list({**_read(path), **winners}.items())[-REMEMBERED:]
    content = {**_head(), "winners": [[*entry, algorithm] for entry, algorithm in kept]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        json.dump(content, file)
    os.replace(file.name, path)
