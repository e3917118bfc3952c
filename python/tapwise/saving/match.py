"""Which arrays of a file belong to which layer of a model; all are given, or on a mismatch none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from ..layers.layer import Layer, snake_case

if TYPE_CHECKING:
    from ..model import Model

SHOWN = 12  # names of a kind that an error lists


class Group(NamedTuple):
    """A layer's arrays in a file, in the order of Keras, by the names that errors call them."""

    layer: str | None  # the layer's name where the file tells it
    kind: str | None  # "conv2d", where the file counts layers of a kind
    arrays: dict[str, NDArray[Any]]
    place: str = ""  # of a file of Keras: layers/conv2d_1, or the layer of the model or the nested model


Pair: TypeAlias = tuple[Layer | None, Group | None]


class Mismatch(ValueError):
    """What of a file and a model doesn't fit. Nothing has changed."""


def weighted(model: Model) -> list[Layer]:
    return [layer for layer in model.layers if layer.weights]


def pairings(model: Model, groups: Sequence[Group]) -> list[list[Pair]]:
    """How they may belong together: by name where the file tells names, and in order, of each kind where it counts
    kinds. None stands for what has no partner."""
    own = weighted(model)
    by_name = {layer.name: layer for layer in own}
    by_group = {group.layer: group for group in groups}
    found: list[list[Pair]] = []
    if any(name in by_name for name in by_group) and len(by_group) == len(groups):
        named: list[Pair] = [(layer, by_group.get(layer.name)) for layer in own]
        found.append(named + [(None, group) for group in groups if group.layer not in by_name])
    found.append(_by_kind(own, groups) if all(group.kind for group in groups) else _in_order(own, groups))
    return found


def _in_order(layers: Sequence[Layer], groups: Sequence[Group]) -> list[Pair]:
    count = min(len(layers), len(groups))
    found: list[Pair] = list(zip(layers, groups, strict=False))
    found += [(layer, None) for layer in layers[count:]]
    return found + [(None, group) for group in groups[count:]]


def _by_kind(layers: Sequence[Layer], groups: Sequence[Group]) -> list[Pair]:
    own: dict[str, list[Layer]] = defaultdict(list)
    given: dict[str, list[Group]] = defaultdict(list)
    for layer in layers:
        own[snake_case(type(layer).__name__)].append(layer)
    for group in groups:
        given[str(group.kind)].append(group)
    kinds = dict.fromkeys([*own, *given])
    return [pair for kind in kinds for pair in _in_order(own[kind], given[kind])]


class Fit:
    """What of pairs fits, and what doesn't, as an error tells it."""

    def __init__(self, found: Sequence[Pair]) -> None:
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.wrong: list[str] = []
        self.fitting: list[tuple[Layer, list[NDArray[Any]]]] = []
        for layer, group in found:
            self._add(layer, {} if group is None else group.arrays)

    def _add(self, layer: Layer | None, arrays: dict[str, NDArray[Any]]) -> None:
        weights = [] if layer is None else layer.weights
        names = [] if layer is None else [f"{layer.name}/{weight.name}" for weight in weights]
        some = min(len(arrays), len(weights))
        missing = [f"{name} {weight.shape}" for name, weight in zip(names[some:], weights[some:], strict=True)]
        unexpected = [f"{name} {array.shape}" for name, array in list(arrays.items())[some:]]
        wrong = [
            f"{name} must be {weight.shape}, got {array.shape} of {label}"
            for name, weight, (label, array) in zip(names, weights, arrays.items(), strict=False)
            if weight.shape != array.shape
        ]
        self.missing, self.unexpected, self.wrong = (
            self.missing + missing, self.unexpected + unexpected, self.wrong + wrong
        )  # fmt: skip
        if layer is not None and not (missing or unexpected or wrong):
            self.fitting.append((layer, list(arrays.values())))

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.wrong)

    def __str__(self) -> str:
        lists = [("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.wrong)]
        return "; ".join(f"{what}: {listing(names)}" for what, names in lists if names)


def give(
    owner: str, possible: Sequence[Sequence[Pair]], *, skip_mismatch: bool = False, ignore_extra: bool = False
) -> list[Layer]:
    """Each layer its partner's arrays, all in one go, by the first pairing in which all fit; the layers that got them.

    Raises Mismatch, a ValueError, that lists what is missing, unexpected and of another shape, unless skip_mismatch:
    then the layers that don't fit keep their weights, as in Keras. With ignore_extra what no layer wants may be there.
    """
    if ignore_extra:
        possible = [[pair for pair in found if pair[0] is not None] for found in possible]
    fit = min((Fit(found) for found in possible), key=lambda each: each.problems)
    if fit.problems and not skip_mismatch:
        raise Mismatch(f"{owner} doesn't fit the model, and nothing has changed; {fit}")
    for layer, values in fit.fitting:
        for weight, value in zip(layer.weights, values, strict=True):
            weight.assign(value)
    return [layer for layer, _ in fit.fitting]


def listing(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
