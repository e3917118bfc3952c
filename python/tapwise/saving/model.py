"""A model in one file: a zip of config.json and .npy arrays, which NumPy alone reads; nothing in it is ever executed.

config.json: format, version, kind, model (layers and how they are connected), compile (optimizer, losses, metrics or
null) and training (steps done, rate, what a caller adds). weights/NAME.npy are in the order of get_weights,
optimizer/I/NAME.npy the optimizer's state for weight I.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import losses, metrics, optimizers
from ..configured import Configured, made_of, plain
from ..data.npz import bounded, read_member
from ..model import Model, Sequential
from ..model_config import made_of_config
from ..ops.memory import beside, to_host
from ..scaling import TargetScaler
from .keras_file import is_keras
from .keras_model import load_keras
from .weights import named_weights, replacing

FORMAT, VERSION = "tapwise-model", 1


def save_model(
    path: str | os.PathLike[str],
    model: Model,
    training: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write a built model, compiled or not, to path; a file that was there is replaced when the new one is complete.

    training and more are numbers and text, and arrays, of a caller's own.
    """
    arrays = {**(more or {}), **{f"weights/{name}": value for name, value in named_weights(model).items()}}
    config: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "Sequential" if isinstance(model, Sequential) else "Model",
        "model": model.get_config(),
        "compile": None,
        "training": dict(training or {}),
    }
    if model.compiled:
        chosen = {
            name: getattr(model, name)
            for name in ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "target_scaler")
        }
        config["compile"] = {name: plain(value, name) for name, value in chosen.items()}
        optimizer = model.optimizer
        config["training"] |= {"iterations": optimizer.iterations, "learning_rate": optimizer.learning_rate}
        for number, weight in enumerate(model.weights):
            for name, state in optimizer.state.get(weight, {}).items():
                arrays[f"optimizer/{number}/{name}"] = to_host(state)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", json.dumps(config, indent=1))
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)


def load_model(
    path: str | os.PathLike[str], custom_objects: Mapping[str, type[Any]] | None = None, compile: bool = True
) -> Model:
    """The model in path, compiled with its optimizer's state unless compile=False; of Keras' .keras and .h5 never, nor
    of an .onnx, which interop.onnx.load_layers reads.

    custom_objects: classes of one's own, by name. Raises ValueError naming the file if it is damaged, no such file, or
    written by a newer version.
    """
    if Path(path).suffix == ".onnx":
        from ..interop.onnx import load_layers

        return load_layers(path)
    if is_keras(path):
        return load_keras(path, custom_objects)
    config, arrays = read(path)
    own = dict(custom_objects or {})
    try:
        model = made_of_config(config["kind"], config["model"], own)
        if compile and config["compile"]:
            chosen = config["compile"]
            model.compile(
                made(chosen["optimizer"], optimizers.NAMES.values(), own),
                made(chosen["loss"], losses.CLASSES, own),
                loss_weights=chosen["loss_weights"],
                metrics=made(chosen["metrics"], metrics.CLASSES, own) or None,
                weighted_metrics=made(chosen.get("weighted_metrics"), metrics.CLASSES, own) or None,
                target_scaler=made(chosen.get("target_scaler"), [TargetScaler], own),
            )
        give_arrays(model, config, arrays)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{path}: {error}") from error
    return model


def give_arrays(model: Model, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Weights, and where the model is compiled the optimizer's state, to a model of the same layers."""
    names = [f"weights/{name}" for name in named_weights(model)]
    if sorted(names) != sorted(name for name in arrays if name.startswith("weights/")):
        raise ValueError(f"must hold the arrays {', '.join(names)}")
    model.set_weights([arrays[name] for name in names])
    training = config["training"]
    if not model.compiled or "iterations" not in training:
        return
    optimizer, weights = model.optimizer, model.weights
    optimizer.state.clear()
    optimizer.updates = None
    optimizer.iterations = int(training["iterations"])
    if optimizer.schedule is None:
        optimizer.learning_rate = float(training["learning_rate"])
    for name, value in arrays.items():
        if name.startswith("optimizer/"):
            _, number, key = name.split("/")
            weight = weights[int(number)]
            if value.shape != weight.shape:
                raise ValueError(f"{name} must have shape {weight.shape}, got {value.shape}")
            optimizer.state.setdefault(weight, {})[key] = beside(value.astype(weight.value.dtype), weight.value)


def made(value: Any, classes: Any, own: Mapping[str, type[Any]]) -> Any:
    """What `plain` wrote down, with its descriptions made into what they describe."""
    if isinstance(value, Mapping) and "class_name" in value:
        known = [*classes, *(cls for cls in own.values() if issubclass(cls, Configured))]
        return made_of(value, known, "class")
    if isinstance(value, Mapping):
        return {name: made(item, classes, own) for name, item in value.items()}
    return [made(item, classes, own) for item in value] if isinstance(value, list) else value


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and the arrays of a file that save_model wrote."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            bounded(path, archive)
            names = archive.namelist()
            if "config.json" not in names:
                raise ValueError(f"{path}: not a Tapwise model: it has no config.json")
            config = json.loads(archive.read("config.json"))
            if not isinstance(config, dict) or config.get("format") != FORMAT:
                raise ValueError(f"{path}: not a Tapwise model: another program wrote it")
            if not isinstance(config.get("version"), int) or config["version"] > VERSION:
                raise ValueError(
                    f"{path}: written by a newer Tapwise, format {config.get('version')}; this one reads {VERSION}"
                )
            members = [name for name in names if name.endswith(".npy")]
            return config, {name[:-4]: read_member(path, name[:-4], archive, name) for name in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged, truncated or not a Tapwise model: {error}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: config.json is not readable: {error}") from None
