"""Keras' files: .keras (a zip with config.json and HDF5 weights), .h5 of whole models and of weights, .weights.h5."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from ..data.idx import read_payload
from . import apart
from .hdf5 import UNFOLDED, Tree, h5py, open_tree
from .match import Group

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
NUMBERED = re.compile(r"^(.*?)(?:_(\d+))?$")


class KerasFile(NamedTuple):
    """config: the architecture as Keras wrote it, None in a file of weights alone."""

    config: dict[str, Any] | None
    groups: list[Group]


def read_keras(path: str | os.PathLike[str]) -> KerasFile:
    """Raises ValueError naming the file if it is damaged, none of Keras', or unfolds to far more than its size."""
    path = Path(path)
    h5py()
    try:
        apart.look(path, read_apart)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return read_here(path)


def read_apart(path: str, seconds: str) -> None:
    apart.bounded(read_here, path, seconds)


def read_here(path: str | os.PathLike[str]) -> KerasFile:
    """read_keras in this process, which a damaged file may end."""
    path = Path(path)
    size_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                with open_tree(path, size_bytes) as tree:
                    return read_tree(tree)
            with zipfile.ZipFile(file) as archive:
                config = json.loads(member(archive, CONFIG, size_bytes))
                weights = member(archive, WEIGHTS, size_bytes)
            with open_tree(io.BytesIO(weights), len(weights)) as tree:
                return KerasFile(checked(config), read_tree(tree).groups)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable file of Keras: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def is_keras(path: str | os.PathLike[str]) -> bool:
    with Path(path).open("rb") as file:
        head = file.read(len(HDF5_MAGIC))
    try:
        return head == HDF5_MAGIC or (head.startswith(b"PK") and WEIGHTS in zipfile.ZipFile(path).namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def member(archive: zipfile.ZipFile, name: str, size_bytes: int) -> bytes:
    """A member's bytes. Raises ValueError before reading one that is far larger than the archive."""
    if name not in archive.namelist():
        raise ValueError(f"not a file of Keras: it has no {name}")
    declared = archive.getinfo(name).file_size
    if declared > UNFOLDED * size_bytes:
        raise ValueError(
            f"refused: {name} unfolds to {declared} bytes, more than {UNFOLDED} times the file's {size_bytes}"
        )
    with archive.open(name) as stream:
        return bytes(read_payload(Path(name), stream, declared))


def checked(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str) or "config" not in config:
        raise ValueError("its config must describe a model: class_name and config")
    return config


def read_tree(tree: Tree) -> KerasFile:
    config = tree.attribute("", "model_config")
    if isinstance(config, str):
        root = "model_weights"
        if root not in tree:
            raise ValueError("damaged: it has a model_config and no model_weights")
        return KerasFile(checked(json.loads(config)), legacy(tree, root))
    if tree.texts("", "layer_names") is not None:
        return KerasFile(None, legacy(tree, ""))
    groups = by_kind(tree)
    if not groups:
        raise ValueError("not a file of Keras: it has no layers with vars and no layer_names")
    return KerasFile(None, groups)


def legacy(tree: Tree, root: str) -> list[Group]:
    """A group a layer, in the model's order; a nested model's arrays belong to the layers that their names tell."""
    groups: list[Group] = []
    for layer in tree.texts(root, "layer_names") or ():
        folder = f"{root}/{layer}".lstrip("/")
        if folder not in tree:
            raise ValueError(f"damaged: it has no group {folder}")
        names = tree.texts(folder, "weight_names") or []
        owners = [name.rpartition("/")[0] for name in names]
        parts = dict.fromkeys(owners)
        for owner in parts:
            arrays = {
                f"{folder}/{name}": tree.read(f"{folder}/{name}")
                for name, mine in zip(names, owners, strict=True)
                if mine == owner
            }
            inner = owner.rpartition("/")[2]
            groups.append(Group(layer if len(parts) == 1 else inner, None, arrays, f"{layer}/{inner}"))
    return groups


def by_kind(tree: Tree) -> list[Group]:
    """layers/conv2d_1/vars/0: what the second Conv2D has first. The state of random numbers is left out."""
    arrays: dict[str, list[str]] = {}
    for path in tree.arrays:
        owner, vars_, number = path.rpartition("/vars/")
        if vars_ and number.isdigit() and not (owner.endswith("seed_generator") or owner.startswith("optimizer")):
            arrays.setdefault(owner, []).append(path)
    groups = []
    for owner in sorted(arrays, key=numbered):
        paths = sorted(arrays[owner], key=lambda path: int(path.rpartition("/")[2]))
        kind = NUMBERED.match(owner.rpartition("/")[2])
        layer = tree.attribute(f"{owner}/vars", "name")
        named = {path: tree.read(path) for path in paths}
        groups.append(Group(layer if isinstance(layer, str) else None, kind[1] if kind else None, named, owner))
    return groups


def numbered(owner: str) -> list[tuple[str, int]]:
    """Keras counts conv2d, conv2d_1, ..., conv2d_10."""
    return [(m[1], int(m[2] or 0)) for part in owner.split("/") if (m := NUMBERED.match(part))]
