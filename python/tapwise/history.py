"""What fit saw, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np


class History:
    """history["loss"][i] belongs to epoch[i], counted from 0; val_* stand for the validation data."""

    def __init__(self, **params: Any) -> None:
        self.params = params
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}
        self.epochs: dict[str, list[int]] = {}  # in which each was logged: validation_freq may leave some out

    def add(self, epoch: int, logs: dict[str, Any]) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
            self.epochs.setdefault(name, []).append(epoch)

    def plot(self, path: Any = None) -> Any:
        """Curves of the cost and of each metric, training and validation, the best epoch marked.

        Gives matplotlib's figure, and writes it to path if given. Needs `pip install matplotlib`.
        """
        from matplotlib.figure import Figure

        names = [name for name in self.history if not name.startswith("val_") and self._is_curve(name)]
        if not names:
            raise ValueError("the history must have at least one epoch to plot, got none")
        figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in self.history:
                    axes.plot(np.add(self.epochs[key], 1), self.history[key], label=label, marker=".")
            key = f"val_{name}" if f"val_{name}" in self.history else name
            watched = self.history[key]
            pick = min if "loss" in name or "error" in name else max
            finite = [value for value in watched if value == value]
            if finite and name != "learning_rate":
                best = watched.index(pick(finite))
                at = self.epochs[key][best] + 1
                axes.axvline(at, color="gray", linestyle=":", label=f"best: {watched[best]:.4g} in epoch {at}")
            axes.set(xlabel="epoch", title=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure

    def _is_curve(self, name: str) -> bool:
        return all(isinstance(value, (int, float)) for value in self.history[name])
