"""The line that shows how a training gets on: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

WIDTH = 20
REDRAW_SECONDS = 0.1


class Progress:
    """`with Progress(...) as progress:` start(epoch), step(done, logs) after each batch, finish(logs, note) at its end.

    verbose as in Keras: 0 nothing, 1 a bar that moves (on a terminal; elsewhere as 2), 2 one line an epoch, "auto" 1.
    With epochs None (evaluate, predict) 1 shows nothing where there is no terminal.
    """

    def __init__(self, steps: int, *, epochs: int | None, verbose: int | str, stream: TextIO | None = None) -> None:
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f'verbose must be 0, 1, 2 or "auto", got {verbose!r}')
        self.steps, self.epochs = steps, epochs
        self.stream = stream or sys.stdout
        self.bar = verbose in (1, "auto") and self.stream.isatty()
        self.line = verbose == 2 or (verbose in (1, "auto") and not self.bar and epochs is not None)
        self.heading = ""
        self.drawn = 0
        self.began = self.redrawn = time.perf_counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.drawn:
            self._write("\n")

    def start(self, epoch: int) -> None:
        """epoch counts from 0."""
        self.began = self.redrawn = time.perf_counter()
        self.heading = f"Epoch {epoch + 1}/{self.epochs}"
        if self.bar:
            self._write(f"{self.heading}\n")

    def step(self, done: int, logs: Mapping[str, float]) -> None:
        if self.bar and time.perf_counter() - self.redrawn >= REDRAW_SECONDS:
            self.redrawn = time.perf_counter()
            columns = shutil.get_terminal_size().columns
            self._draw(self._text(done, logs)[: columns - 1])

    def finish(self, logs: Mapping[str, float], note: str = "") -> None:
        if self.bar:
            self._draw(self._text(self.steps, logs, note))
            self._write("\n")
            self.drawn = 0
        elif self.line:
            self._write(" - ".join([self.heading or f"{self.steps}/{self.steps}", self._facts(logs, note)]) + "\n")

    def _text(self, done: int, logs: Mapping[str, float], note: str = "") -> str:
        full, empty = ("━", "─") if _can_show("━─", self.stream) else ("=", "-")
        filled = WIDTH * done // max(1, self.steps)
        return f"{done}/{self.steps} {full * filled}{empty * (WIDTH - filled)} {self._facts(logs, note)}"

    def _facts(self, logs: Mapping[str, float], note: str) -> str:
        numbers = [f"{name}: {_number(value)}" for name, value in logs.items()]
        return " - ".join([_seconds(time.perf_counter() - self.began), *numbers, *([note] if note else [])])

    def _draw(self, text: str) -> None:
        self._write("\r" + text.ljust(self.drawn))
        self.drawn = len(text)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _number(value: float) -> str:
    return f"{value:.4e}" if 0 < abs(value) <= 1e-3 else f"{value:.4f}"


def _seconds(elapsed: float) -> str:
    minutes, seconds = divmod(round(elapsed), 60)
    return f"{minutes}:{seconds:02d}" if minutes else f"{seconds}s"
