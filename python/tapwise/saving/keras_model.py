"""A whole model of Keras' .keras or .h5 file: the architecture and the weights that belong to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..model import Model
from .keras_config import Builder, Leaf
from .keras_file import read_keras
from .match import Group, Pair, give


def load_keras(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, type[Any]] | None = None,
    *,
    input_shape: Sequence[int] | None = None,
) -> Model:
    """The model in a .keras or .h5 file with its weights, not compiled; nothing in the file is run.

    custom_objects: layers of one's own, by name. input_shape: of one example, where the file leaves sizes open. Raises
    ValueError naming the file and the layer that isn't one of ours, or what of the weights doesn't fit.
    """
    config, groups = read_keras(path)
    if config is None:
        raise ValueError(f"{path}: holds weights alone: make the model, then model.load_weights(path)")
    try:
        most = sum(array.size for group in groups for array in group.arrays.values())
        builder = Builder(custom_objects or {}, input_shape, most)
        model = builder.model(config)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: {error}") from error
    give(os.fspath(path), [placed(builder.leaves, groups)])
    return model


def placed(leaves: Sequence[Leaf], groups: Sequence[Group]) -> list[Pair]:
    """By the places where Keras writes the weights of each layer; what belongs to none has no partner."""
    left = dict(enumerate(groups))
    found: list[Pair] = []
    for leaf in leaves:
        if not leaf.layer.weights:
            continue
        mine = [left.pop(number) for number, group in list(left.items()) if belongs(leaf, group)]
        arrays = {name: array for group in mine for name, array in group.arrays.items()}
        found.append((leaf.layer, Group(leaf.name, None, arrays)))
    return found + [(None, group) for group in left.values()]


def belongs(leaf: Leaf, group: Group) -> bool:
    if group.kind is not None:
        return group.place == leaf.place or group.place.startswith(f"{leaf.place}/")
    top, _, inner = group.place.partition("/")
    return (top, inner) == (leaf.top, leaf.name) if leaf.top else top == leaf.name
