"""Callbacks that write: the model, the logs as a table, event files for TensorBoard."""

from __future__ import annotations

import csv
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .callback import Callback, Monitor


class ModelCheckpoint(Monitor):
    """Write the model to filepath after each epoch, or after each save_freq batches; complete or not at all.

    filepath may name {epoch:02d}, counted from 1, and entries of the logs, {val_loss:.3f}. save_best_only: only where
    `monitor` has improved, first on initial_value_threshold if given. save_weights_only: .npz or .safetensors.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq >= 1):
            raise ValueError(f'save_freq must be "epoch" or a number of batches >= 1, got {save_freq!r}')
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = self.worst if initial_value_threshold is None else initial_value_threshold
        self.batches = self.epoch = 0

    kept = "best", "batches", "epoch"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        if self.save_freq != "epoch" and self.batches % int(self.save_freq) == 0:
            self._save(self.epoch, {**logs, "batch": batch + 1})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Any) -> None:
        if self.save_best_only:
            value = self.watched(logs)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **logs)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class CSVLogger(Callback):
    """A line for each epoch: its number, counted from 0, and the logs by name. append goes on in a file that exists."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Any = None) -> None:
        self.columns: list[str] | None = None
        self.begun = False
        if self.append and self.filename.exists() and self.filename.stat().st_size:
            self.begun = True
            with self.filename.open(newline="") as file:
                self.columns = next(csv.reader(file, delimiter=self.separator))

    def get_state(self) -> dict[str, Any]:
        return {"columns": self.columns, "size": self.filename.stat().st_size if self.begun else 0}

    def set_state(self, state: dict[str, Any]) -> None:
        """Lines behind those of the state are of epochs that come again."""
        if self.filename.exists() and self.filename.stat().st_size >= state["size"] > 0:
            self.columns, self.begun = state["columns"], True
            os.truncate(self.filename, state["size"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        first = self.columns is None
        self.columns = self.columns or ["epoch", *sorted(logs)]
        with self.filename.open("a" if self.begun else "w", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if first:
                writer.writerow(self.columns)
            row = {"epoch": epoch, **logs}
            writer.writerow([row.get(name, "NA") for name in self.columns])
        self.begun = True


class TensorBoard(Callback):
    """Event files that TensorBoard opens, in log_dir/train and log_dir/validation: epoch_loss and what else is logged.

    update_freq: "epoch", "batch" or a number of batches adds batch_loss and the metrics so far. histogram_freq: every
    so many epochs histograms of the weights. Needs `pip install tensorboard`.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0, update_freq: int | str = "epoch"
    ) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError("callbacks.TensorBoard needs `pip install tensorboard`") from error
        self.log_dir, self.histogram_freq = Path(log_dir), histogram_freq
        self.every = {"epoch": 0, "batch": 1}.get(str(update_freq), update_freq)
        self.event, self.proto, self.open = event_pb2.Event, summary_pb2, EventFileWriter

    kept = ("batches",)

    def on_train_begin(self, logs: Any = None) -> None:
        self.files = ExitStack()
        self.writers: dict[str, Any] = {}
        self.batches = 0

    def _write(self, part: str, step: int, **value: Any) -> None:
        import time

        if part not in self.writers:
            self.writers[part] = self.open(str(self.log_dir / part))
            self.files.callback(self.writers[part].close)
        summary = self.proto.Summary(value=[self.proto.Summary.Value(**value)])
        self.writers[part].add_event(self.event(wall_time=time.time(), step=step, summary=summary))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        if self.every and self.batches % int(self.every) == 0:
            for name, number in scalars(logs):
                self._write("train", self.batches, tag=f"batch_{name}", simple_value=number)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, number in scalars(logs):
            part = "validation" if name.startswith("val_") else "train"
            self._write(part, epoch, tag=f"epoch_{name.removeprefix('val_')}", simple_value=number)
        self._write("train", epoch, tag="epoch_learning_rate", simple_value=self.model.optimizer.learning_rate)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for layer in self.model.layers:
                for weight in layer.weights:
                    self._write("train", epoch, tag=f"{layer.name}/{weight.name}", histo=self._histogram(weight.value))
        for writer in self.writers.values():
            writer.flush()

    def _histogram(self, values: Any) -> Any:
        values = np.asarray(values, np.float64).ravel()
        counts, edges = np.histogram(values, 30)
        return self.proto.HistogramProto(
            min=values.min(), max=values.max(), num=values.size, sum=values.sum(),
            sum_squares=(values**2).sum(), bucket_limit=edges[1:].tolist(), bucket=counts.tolist(),
        )  # fmt: skip

    def on_train_end(self, logs: Any = None) -> None:
        self.files.close()


def scalars(logs: Any) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in logs.items() if isinstance(value, (int, float))]
