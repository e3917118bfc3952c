"""A PyTorch state dict's modules for the layers of a model: names, order and layouts.

convolution  weight (co, ci // groups, kh, kw)   -> kernel (kh, kw, ci // groups, co)
depthwise    weight (c * m, 1, kh, kw)           -> kernel (kh, kw, c, m)
transposed   weight (ci, co, kh, kw)             -> kernel (kh, kw, co, ci)
    linear       weight (co, ci)                     -> kernel (ci, co); behind a Flatten its rows turn to (h, w, c)
norms        weight, bias, running_mean, running_var -> gamma, beta, moving_mean, moving_variance
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..layers import Dense, Embedding, Flatten, PReLU
from ..layers.conv import Conv, DepthwiseConv
from ..layers.layer import Layer, Shape
from ..layers.separable import SeparableConv
from ..layers.symbolic import Node
from ..layers.transpose import ConvTranspose
from .match import Group, Mismatch, Pair, listing, weighted
from .torch_names import foreign_network, resnet_names

if TYPE_CHECKING:
    from ..model import Model

Arrays = dict[str, NDArray[Any]]
NORM = ("weight", "bias", "running_mean", "running_var")
KEEPS = ("Dropout", "Activation", "ReLU", "BatchNormalization", "Identity", "PReLU", "LeakyReLU", "ELU")
UNUSED = ("num_batches_tracked",)
AROUND = {"state_dict", "model_state_dict", "model", "module", "net", "network", "_orig_mod"}


def modules(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
    """The tensors by module, in the file's order: "features.0" -> {"weight": ..., "bias": ...}.

    Of a checkpoint the optimizer's state is left out, and of all names what a training program put around them.
    """
    named = {name: array for name, array in tensors.items() if not name.startswith("optim")}
    firsts = {name.partition(".")[0] for name in named}
    while len(firsts) == 1 and firsts <= AROUND:
        named = {name.partition(".")[2]: array for name, array in named.items()}
        firsts = {name.partition(".")[0] for name in named}
    found: dict[str, Arrays] = {}
    for name, array in named.items():
        module, _, last = name.rpartition(".")
        if last not in UNUSED:
            found.setdefault(module, {})[last] = array
    return found


def torch_pairings(
    model: Model,
    tensors: Mapping[str, NDArray[Any]],
    names: Mapping[str, str] | None = None,
    flattened: str = "channels_first",
) -> list[list[Pair]]:
    """Each layer of the model with its module's arrays in our layout, in the ways that are possible.

    names: the module of each layer, both by name; without it those that have the layers' names ("layer1.0.conv1" is
    layer1_0_conv1 too), else the modules in the file's order, whose kinds of arrays must be the layers'. flattened:
    the order of what Dense reads behind a Flatten in the PyTorch program, "channels_first" unless it permutes the axes.
    """
    if flattened not in ("channels_first", "channels_last"):
        raise ValueError(f"flattened must be channels_first or channels_last, got {flattened!r}")
    given = modules(tensors)
    if reason := foreign_network([layer.name for layer in model.layers], given):
        raise Mismatch(reason)
    rows = maps_before_dense(model) if flattened == "channels_first" else {}
    return [_paired(chosen, given, rows) for chosen in _choices(weighted(model), given, names)]


def _paired(
    chosen: Sequence[tuple[Layer, list[str]]], given: Mapping[str, Arrays], rows: Mapping[Layer, Shape]
) -> list[Pair]:
    left = dict.fromkeys(given)
    found: list[Pair] = []
    for layer, parts in chosen:
        arrays: Arrays = {}
        for number, part in enumerate(parts):
            left.pop(part, None)
            arrays |= translated(layer, part, given[part], rows.get(layer), number)
        found.append((layer, Group(layer.name, None, arrays) if parts else None))
    return found + [(None, Group(None, None, {f"{part}.{k}": v for k, v in given[part].items()})) for part in left]


def _choices(
    layers: Sequence[Layer], given: Mapping[str, Arrays], names: Mapping[str, str] | None
) -> list[list[tuple[Layer, list[str]]]]:
    """The names of each layer's modules: one, of a SeparableConv two, none if it is missing."""
    if names is not None:
        if unknown := [name for name in names if name not in {layer.name for layer in layers}]:
            raise ValueError(f"names must be of layers with weights, got {listing(unknown)}")
        return [[(layer, [part for part in [names.get(layer.name)] if part and part in given]) for layer in layers]]
    plain = {part.replace(".", "_"): part for part in given}
    by_name = [(layer, [part for part in [plain.get(layer.name.replace("/", "_"))] if part]) for layer in layers]
    if (known := resnet_names([layer.name for layer in layers], given)) is not None:
        return _choices(layers, given, known)
    waiting = list(given)
    in_order = [(layer, [waiting.pop(0) for _ in range(parts_of(layer)) if waiting]) for layer in layers]
    return [by_name, in_order] if any(parts for _, parts in by_name) else [in_order]


def parts_of(layer: Layer) -> int:
    return 2 if isinstance(layer, SeparableConv) else 1


def translated(layer: Layer, part: str, arrays: Arrays, maps: Shape | None, number: int) -> Arrays:
    """A module's arrays in our layout and order, by the file's names; what has no place keeps its own."""
    order = (*NORM, *(name for name in arrays if name not in NORM))
    made: Arrays = {}
    for name in order:
        if name in arrays:
            first = name == "weight"
            made[f"{part}.{name}"] = kernel(layer, arrays[name], maps, number) if first else arrays[name]
    return made


def kernel(layer: Layer, w: NDArray[Any], maps: Shape | None, number: int) -> NDArray[Any]:
    """w in the layer's layout; as it is where its axes are others than that kind of layer has."""
    target = layer.weights[min(number, len(layer.weights) - 1)].shape
    change = next((each for cls, each in LAYOUTS if isinstance(layer, cls)), None)
    if change is None or (isinstance(layer, (Conv, Dense)) and w.ndim < 2):
        return w
    if isinstance(layer, Dense) and maps is not None and w.ndim == 2 and w.shape[1] == np.prod(maps):
        w = w.reshape(len(w), maps[-1], *maps[:-1])  # (co, c, h, w)
        return np.moveaxis(w, 1, -1).reshape(len(w), -1).T
    return change(w, target)


def oihw_to_hwio(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    """(co, ci, *k), or (co, ci) of a linear module for a kernel of one tap."""
    w = w.reshape(*w.shape, *(1,) * (len(target) - 2)) if w.ndim == 2 else w
    return np.moveaxis(w, (0, 1), (-1, -2))


def depthwise(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    if w.ndim != len(target) or w.shape[1] != 1 or w.shape[0] != target[-1] * target[-2]:
        return oihw_to_hwio(w, target)
    return np.moveaxis(w.reshape(target[-2], target[-1], *w.shape[2:]), (0, 1), (-2, -1))


def separable(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    return (
        depthwise(w, target)
        if w.ndim > 2 and w.shape[1] == 1 and w.shape[2:] == target[:-2]
        else oihw_to_hwio(w, target)
    )


def linear(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    """(co, ci), or (co, ci, 1, 1) of a convolution of one tap."""
    return w.reshape(w.shape[:2]).T if w.size == w.shape[0] * w.shape[1] else w


def broadcast(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    """A slope for each channel, or one for all."""
    return w.reshape(target) if w.size == np.prod(target) else np.broadcast_to(w, target) if w.size == 1 else w


def same(w: NDArray[Any], target: Shape) -> NDArray[Any]:
    return w


LAYOUTS: list[tuple[type[Layer], Callable[[NDArray[Any], Shape], NDArray[Any]]]] = [
    (SeparableConv, separable),
    (DepthwiseConv, depthwise),
    (ConvTranspose, oihw_to_hwio),
    (Conv, oihw_to_hwio),
    (Dense, linear),
    (PReLU, broadcast),
    (Embedding, same),
]


def maps_before_dense(model: Model) -> dict[Layer, Shape]:
    """(h, w, c) of the maps whose flattened pixels a Dense reads, where a Flatten read them as they were made."""
    found: dict[Layer, Shape] = {}
    for node in model.nodes:
        if isinstance(node.layer, Dense):
            before: Node = node.inputs[0].node
            while type(before.layer).__name__ in KEEPS and before.inputs:
                before = before.inputs[0].node
            if isinstance(before.layer, Flatten) and len(before.inputs[0].example) > 1:
                found[node.layer] = before.inputs[0].example
    return found
