"""What fit tells how it gets on, by Keras' names: any object with some of these methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)
HIGHER_IS_BETTER = ("acc", "accuracy", "auc", "precision", "recall", "score", "io_u", "positives", "cosine_similarity")


class Callback:
    """epoch and batch count from 0; logs are an epoch's entries in History, or those so far. model is fit's."""

    model: Any = None
    params: dict[str, Any]
    runs_last = False  # behind all callbacks of which this isn't said
    kept: tuple[str, ...] = ()  # the attributes that a later fit needs to go on as if this one hadn't ended

    def get_state(self) -> dict[str, Any]:
        """What BackupAndRestore writes down after each epoch: numbers, text, lists of them, lists of arrays, None."""
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from get_state's; called after on_train_begin."""
        for name in self.kept:
            setattr(self, name, state[name])

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last one, not after an exception."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch's first batch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After validation; what is added to logs gets into History."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a step."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a step."""


class Calls:
    """Calls a hook of all callbacks that have it, in order; params["validates"] says whether there will be val_*."""

    def __init__(self, callbacks: Sequence[Any], model: Any, params: dict[str, Any]) -> None:
        callbacks = sorted(callbacks, key=lambda callback: bool(getattr(callback, "runs_last", False)))
        for callback in callbacks:
            for name, value in (("set_params", params), ("set_model", model)):
                if hasattr(callback, name):
                    getattr(callback, name)(value)
        self.hooks: dict[str, list[Any]] = {name: [] for name in HOOKS}
        for callback in callbacks:
            for name in HOOKS:
                method = getattr(callback, name, None)
                if method is not None and getattr(method, "__func__", None) is not getattr(Callback, name):
                    self.hooks[name].append(method)

    def __call__(self, hook: str, *arguments: Any) -> None:
        for method in self.hooks[hook]:
            method(*arguments)


class Monitor(Callback):
    """Watches an entry of the logs: mode "min", "max", or "auto" by its name."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be auto, min or max, got {mode!r}")
        self.monitor, self.mode = monitor, mode
        higher = mode == "max" or (mode == "auto" and monitor.endswith(HIGHER_IS_BETTER))
        self.sign = 1 if higher else -1
        self.min_delta = abs(min_delta)
        self.worst = -self.sign * float("inf")

    def improves(self, value: float, on: float) -> bool:
        return self.sign * (value - on) > self.min_delta

    def watched(self, logs: Any) -> float | None:
        """Its value in this epoch; None where validation_freq leaves it out."""
        if self.monitor not in (logs or {}):
            if self.monitor.startswith("val_") and self.params["validates"]:
                return None
            given = ", ".join(logs or {})
            raise ValueError(
                f"monitor must be one of {given}, got {self.monitor!r}: give fit validation data for val_*"
            )
        return float(logs[self.monitor])
