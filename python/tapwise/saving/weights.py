"""A model's weights to an .npz or .safetensors file, an array for each, named layer/weight; and from others' files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..layers.layer import Layer
from ..ops.memory import to_host
from .keras_file import read_keras
from .match import Group, Pair, give, pairings
from .tensors import kind_of, read_tensors
from .torch_layers import torch_pairings

if TYPE_CHECKING:
    from ..model import Model


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write; what was at path is replaced only when the new one is complete, and kept on an error."""
    path = Path(path).resolve()  # a link keeps pointing at the file that it points at
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def save_weights(path: str | os.PathLike[str], model: Model) -> None:
    """Write all weights, as .safetensors where the name ends so (`pip install safetensors`), else as .npz."""
    arrays = named_weights(model)
    content = safetensors().save(arrays) if is_safetensors(path) else None
    with replacing(path) as file:
        if content is None:
            np.savez(file, **arrays)
        else:
            file.write(content)


def load_weights(
    path: str | os.PathLike[str],
    model: Model,
    *,
    skip_mismatch: bool = False,
    ignore_extra: bool = False,
    names: Mapping[str, str] | None = None,
    flattened: str = "channels_first",
) -> None:
    """Give a built model the weights in a file of read_tensors' kinds; on an error it keeps its own.

    Layers are found by name where the file has their names, else in order. names and flattened are for files with
    PyTorch's modules: see torch_pairings. Raises Mismatch, a ValueError, that lists what is missing, unexpected and of
    another shape; with skip_mismatch layers that don't fit keep their weights, as in Keras; with ignore_extra the file
    may have layers behind the model's, a classifier.
    """
    kind = kind_of(path)
    if kind == "keras":
        possible = pairings(model, read_keras(path).groups)
    else:
        arrays = read_tensors(path)
        if kind == "tapwise":
            arrays = {name[8:]: array for name, array in arrays.items() if name.startswith("weights/")}
        if kind != "torch" and any("/" in name for name in arrays):
            possible = [own_pairs(model, arrays)]
        else:
            possible = torch_pairings(model, arrays, names, flattened)
    give(os.fspath(path), possible, skip_mismatch=skip_mismatch, ignore_extra=ignore_extra)


def own_pairs(model: Model, arrays: Mapping[str, Any]) -> list[Pair]:
    """By the names of named_weights."""
    left, found = dict(arrays), []
    for layer, names in layer_names(model):
        given = {name: left.pop(name) for name in names if name in left}
        found.append((layer, Group(layer.name, None, given)))
    return [*found, (None, Group(None, None, left))]


def named_weights(model: Model) -> dict[str, Any]:
    """The arrays by name, in the order of get_weights."""
    return {
        name: to_host(weight.value)
        for layer, names in layer_names(model)
        for name, weight in zip(names, layer.weights, strict=True)
    }


def layer_names(model: Model) -> list[tuple[Layer, list[str]]]:
    """The layers that have weights with their names, layer/weight; one that a layer has twice gets a number."""
    found: list[tuple[Layer, list[str]]] = []
    for layer in model.layers:
        names: list[str] = []
        for weight in layer.weights:
            name, number = f"{layer.name}/{weight.name}", 1
            while name in names:
                name, number = f"{layer.name}/{weight.name}_{number}", number + 1
            names.append(name)
        if names:
            found.append((layer, names))
    return found


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).endswith(".safetensors")


def safetensors() -> Any:
    try:
        import safetensors.numpy as module
    except ImportError as error:
        raise ImportError(".safetensors files need `pip install safetensors`") from error
    return module
