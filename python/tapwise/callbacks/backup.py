"""The callback that lets an interrupted training go on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..random import SeedGenerator, give_run_seeds, run_seeds
from .callback import Callback


class BackupAndRestore(Callback):
    """After each epoch the whole training goes to backup_dir; the next fit with it goes on from there.

    Weights, the optimizer's state, the seeds of dropout and shuffling, and what other callbacks keep (get_state): the
    rest has the bits of an uninterrupted run. Callbacks are known again by class and order; one that the backup doesn't
    know starts anew. delete_checkpoint: the backup is removed once fit is complete.
    """

    runs_last = True

    def __init__(
        self, backup_dir: str | os.PathLike[str], save_freq: str = "epoch", *, delete_checkpoint: bool = True
    ) -> None:
        if save_freq != "epoch":
            raise ValueError(f'save_freq must be "epoch", got {save_freq!r}')
        self.folder, self.delete_checkpoint = Path(backup_dir), delete_checkpoint
        self.path = self.folder / "training.tapwise"

    def on_train_begin(self, logs: Any = None) -> None:
        from ..saving.model import give_arrays, read

        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        config, arrays = read(self.path)
        try:
            give_arrays(self.model, config, arrays)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        training = config["training"]
        self.model.first_epoch = training["epoch"] + 1
        give_run_seeds(training["run"])
        for generator, drawn in zip(self._generators(), training["layers"], strict=True):
            generator.drawn = drawn
        if training["shuffling"] is not None:
            self.model.batches.seed = training["shuffling"]
        states = training.get("callbacks", {})
        for name, callback in self._others().items():
            if name in states:
                callback.set_state({key: whole(value, arrays) for key, value in states[name].items()})
        if training.get("stopped"):
            self.model.first_epoch = self.params["epochs"]

    def _others(self) -> dict[str, Any]:
        """The callbacks with a state, by class and number."""
        found: dict[str, Any] = {}
        for callback in self.model.callbacks:
            if callback is not self and hasattr(callback, "get_state") and hasattr(callback, "set_state"):
                name = type(callback).__name__
                found[f"{name} {sum(key.startswith(f'{name} ') for key in found)}"] = callback
        return found

    def _generators(self) -> list[SeedGenerator]:
        """Those of layers with a seed of their own."""
        found = (getattr(getattr(layer, "next_seed", None), "__self__", None) for layer in self.model.layers)
        return [generator for generator in found if isinstance(generator, SeedGenerator)]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        from ..saving.model import save_model

        shuffling = getattr(self.model.batches, "seed", None)
        drawn = [generator.drawn for generator in self._generators()]
        arrays: dict[str, Any] = {}
        states = {
            name: {key: apart(value, f"callbacks/{name}/{key}", arrays) for key, value in callback.get_state().items()}
            for name, callback in self._others().items()
        }
        state = {"epoch": epoch, "run": run_seeds(), "layers": drawn, "shuffling": shuffling, "callbacks": states}
        save_model(self.path, self.model, {**state, "stopped": self.model.stop_training}, arrays)

    def on_train_end(self, logs: Any = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                shutil.rmtree(self.folder)


def apart(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """value as JSON has it; of a list of arrays their names, and themselves to `arrays`."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, np.ndarray) for each in value):
        names = [f"{name}/{i}" for i in range(len(value))]
        arrays.update(zip(names, value, strict=True))
        return {"arrays": names}
    return value.item() if isinstance(value, np.generic) else value


def whole(value: Any, arrays: dict[str, Any]) -> Any:
    """apart undone."""
    return [arrays[name] for name in value["arrays"]] if isinstance(value, dict) and "arrays" in value else value
