"""A model's weights in an .npz or .safetensors file, one array for each, named layer/weight."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..data.npz import read_arrays

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


def load_weights(path: str | os.PathLike[str], model: Model) -> None:
    """Give a built model the weights that save_weights wrote; on an error it keeps its own.

    Raises ValueError naming the file if it is no such file or comes from another model.
    """
    arrays = read_safetensors(path) if is_safetensors(path) else read_arrays(path)
    names = list(named_weights(model))
    if sorted(arrays) != sorted(names):
        raise ValueError(f"{path}: must hold the weights {', '.join(names)}, got {', '.join(arrays)}")
    try:
        model.set_weights([arrays[name] for name in names])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def named_weights(model: Model) -> dict[str, Any]:
    """The arrays by name, in the order of get_weights; a name that a layer has twice gets a number."""
    named: dict[str, Any] = {}
    for layer in model.layers:
        for weight in layer.weights:
            name, number = f"{layer.name}/{weight.name}", 1
            while name in named:
                name, number = f"{layer.name}/{weight.name}_{number}", number + 1
            named[name] = weight.value
    return named


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).endswith(".safetensors")


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    module = safetensors()
    try:
        return dict(module.load(Path(path).read_bytes()))
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path}: not a readable .safetensors file: {error}") from None


def safetensors() -> Any:
    try:
        import safetensors.numpy as module
    except ImportError as error:
        raise ImportError(".safetensors files need `pip install safetensors`") from error
    return module
