"""What `tapwise train --run FOLDER` leaves: the network, a line an epoch, the curves, the model; Ctrl-C keeps them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from .callbacks import CSVLogger, ModelCheckpoint
from .drawing import plot_model
from .model import Sequential


class RunFolder:
    """summary.txt and model.svg from the start, history.csv and model.tapwise from each epoch, history.png at the end.

    Raises ValueError if there is a run in it already, or if it can't be a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise ValueError(f"--run must name a folder, got the file {path}")
        if (path / "history.csv").exists():
            raise ValueError(f"--run must name a folder without a run, got {path}")
        path.mkdir(parents=True, exist_ok=True)

    def begin(self, model: Sequential) -> list[Any]:
        """What is known before training; the callbacks that write on."""
        lines: list[str] = []
        model.summary(print_fn=lines.append)
        self._write("\n".join(lines))
        plot_model(model, self.path / "model.svg", show_shapes=True)
        return [CSVLogger(self.path / "history.csv"), ModelCheckpoint(self.path / "model.tapwise")]

    def end(self, model: Sequential, result: str) -> int:
        """The curves where matplotlib is, and the result below the table; how many epochs are kept."""
        epochs = len(model.history.epoch) if model.history else 0
        self._write(f"{(self.path / 'summary.txt').read_text(encoding='utf-8')}\n{result} after {epochs} epochs")
        if epochs and model.history:
            with suppress(ImportError):
                model.history.plot(self.path / "history.png")
        return epochs

    def _write(self, text: str) -> None:
        (self.path / "summary.txt").write_text(f"{text}\n", encoding="utf-8")
