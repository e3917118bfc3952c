"""A model from the description of its layers that Keras 2 or 3 wrote, where all of them are ours.

What a description asks for and a layer here hasn't got is an error that names both, unless it says "none". Programs
(Lambda, functions as activations) are refused. Weights begin as zeros, which take no memory before the file's replace
them, so that a description of more weights than the file has is found in time.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import initializers, layers
from ..layers import Input, Layer
from ..layers.activation import NAMES as ACTIVATIONS
from ..layers.layer import snake_case
from ..model import Model, Sequential

MODELS = ("Functional", "Model", "Sequential")
MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
CLASSES = {name: cls for name, cls in vars(layers).items() if isinstance(cls, type) and issubclass(cls, Layer)}
OLD_CLASSES = {"BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization"}
OLD_NAMES = {"LeakyReLU": {"alpha": "negative_slope"}, "Dropout": {"p": "rate"}}
MEANINGLESS = {
    *("batch_input_shape", "batch_shape", "input_shape", "build_input_shape", "sparse", "ragged", "optional"),
    *("implementation", "fused", "renorm_momentum", "autocast", "seed", "shared_object_id"),
}  # fmt: skip
NONE: tuple[Any, ...] = (None, False, [], {}, "")
SHARED = inspect.signature(Layer).parameters


class Leaf(NamedTuple):
    """A layer, and where Keras' files have its weights: layers/..., and the layer of the model or its nested model."""

    layer: Layer
    place: str
    top: str
    name: str


class Builder:
    """Makes layers by their descriptions; `leaves` are those made, in the order of Keras.

    most: numbers that the file has for weights; a model with over twice as many is refused.
    """

    def __init__(self, custom_objects: Mapping[str, type[Any]], input_shape: Sequence[int] | None, most: int) -> None:
        self.classes = {**CLASSES, **custom_objects}
        self.input_shape = input_shape
        self.most = 2 * most + 1_000_000
        self.leaves: list[Leaf] = []
        self.taken: set[str] = set()

    def model(self, description: Any, place: str = "", top: str = "") -> Model:
        """Of {"class_name": "Functional" or "Sequential", "config": ...}."""
        kind, config = described(description)
        if kind not in MODELS:
            raise ValueError(f"{kind} is no model that can be made of a description: one of {', '.join(MODELS)} is")
        if kind == "Sequential":
            return self._row(config, place, top)
        config = mapping(config, "config")
        return self._graph(config, place, top)

    def _row(self, config: Any, place: str, top: str) -> Model:
        entries = config if isinstance(config, list) else listed(mapping(config, "config"), "layers")
        name = "sequential" if isinstance(config, list) else str(config.get("name", "sequential"))
        first, own = described(entries[0])[1] if entries else {}, entries
        if entries and described(entries[0])[0] == "InputLayer":
            own = entries[1:]
        shape = next((first[key] for key in ("batch_input_shape", "batch_shape") if first.get(key)), None)
        shape = shape or (config.get("build_input_shape") if isinstance(config, dict) else None)
        if shape is None:
            raise ValueError(f"{name} must tell the shape of its input: it was saved before it had one")
        x = y = Input(self._shape(shape, name, top), name=str(first.get("name", "input")))
        made = [self.layer(entry, each, top) for entry, each in zip(own, places(own, place), strict=True)]
        if all(isinstance(each, Layer) for each in made):
            model = Sequential([x], name=name)
            for each in made:
                model.add(each)
                self.check()
            return model
        for each in made:
            y = each(y)
            self.check()
        return Model(x, y, name=name)

    def _graph(self, config: dict[str, Any], place: str, top: str) -> Model:
        entries = listed(config, "layers")
        tensors: dict[tuple[str, int], Any] = {}
        waiting: list[tuple[str, int, Any, Any]] = []
        for entry, each in zip(entries, places(entries, place), strict=True):
            kind, inner = described(entry)
            name = str(entry.get("name", mapping(inner, "config").get("name")))
            if kind == "InputLayer":
                shape = inner.get("batch_shape") or inner.get("batch_input_shape")
                tensors[name, 0] = Input(self._shape(shape, name, top), name=name)
                continue
            calls = listed(entry, "inbound_nodes")
            made = None if is_operation(entry) else self.layer(entry, each, top)
            waiting += [(name, number, made or entry, call) for number, call in enumerate(calls)]
        self.connect(tensors, waiting)
        ends = [[pick(tensors, end) for end in ends_of(config, key)] for key in ("input_layers", "output_layers")]
        return Model(ends[0], ends[1], name=str(config.get("name", "functional")))

    def check(self) -> None:
        count = sum(leaf.layer.count_params() for leaf in self.leaves)
        if count > self.most:
            raise ValueError(f"refused: the layers have {count} weights, the file holds far fewer")

    def connect(self, tensors: dict[tuple[str, int], Any], waiting: list[tuple[str, int, Any, Any]]) -> None:
        """Call each layer when what it reads is there. Raises ValueError on a circle or a name that isn't there."""
        while waiting:
            later = []
            for name, number, made, call in waiting:
                try:
                    arguments = read(tensors, call)
                except KeyError:
                    later.append((name, number, made, call))
                    continue
                except (TypeError, IndexError) as error:
                    raise ValueError(f"{name} must have inbound nodes as Keras writes them: {error}") from None
                tensors[name, number] = operation(made, arguments) if isinstance(made, dict) else made(*arguments)
                self.check()
            if len(later) == len(waiting):
                names = ", ".join(name for name, *_ in later)
                raise ValueError(f"each layer must read what others give, without a circle, got {names}, which don't")
            waiting = later

    def _shape(self, shape: Any, name: str, top: str) -> tuple[int, ...]:
        if not isinstance(shape, (list, tuple)) or not shape:
            raise ValueError(f"{name} must have a shape, got {shape!r}")
        sizes = tuple(shape[1:])
        if self.input_shape is not None and not top:
            given = tuple(self.input_shape)
            if len(given) != len(sizes) or any(a not in (None, b) for a, b in zip(sizes, given, strict=True)):
                raise ValueError(f"input_shape must fit {name}'s {sizes}, got {given}")
            return given
        if None in sizes:
            raise ValueError(f"{name} has open sizes, {sizes}: give input_shape")
        return sizes

    def layer(self, entry: Any, place: str, top: str) -> Any:
        """A Layer, or a Model in a model."""
        kind, config = described(entry)
        if kind in MODELS:
            inner = config if isinstance(config, list) else mapping(config, "config")
            name = str(entry.get("name") or (inner.get("name") if isinstance(inner, dict) else "") or kind)
            return self.model(entry, f"{place}/", top or name)
        config = mapping(config, f"{kind}'s config")
        name = str(config.get("name") or snake_case(kind))
        own, number = name, 1
        while own in self.taken:
            own, number = f"{top or name}_{name}" if number == 1 else f"{name}_{number}", number + 1
        self.taken.add(own)
        made = self.made(kind, {**config, "name": own})
        self.leaves.append(Leaf(made, place, top, name))
        return made

    def made(self, kind: str, config: dict[str, Any]) -> Layer:
        cls = self.classes.get(OLD_CLASSES.get(kind, kind))
        if cls is None:
            why = "it holds a program, which is never run" if kind == "Lambda" else "it is none of Tapwise's"
            raise ValueError(
                f"{config['name']}, a layer {kind}, can't be made: {why}; custom_objects={{{kind!r}: ...}}"
            )
        accepted = {**SHARED, **inspect.signature(cls).parameters}
        renamed = OLD_NAMES.get(kind, {})
        given: dict[str, Any] = {}
        for key, value in config.items():
            name = renamed.get(key, key)
            if name in MEANINGLESS or (name.endswith("_initializer") and not is_ours(value)):
                continue
            if name in accepted:
                given[name] = self.value(name, value)
            elif not any(value is none or value == none for none in NONE) and not unused(kind, name):
                raise ValueError(f"{config['name']}: {kind} has no {name} here, got {value!r}")
        layer: Layer = cls(**given)
        for name in [name for name in vars(layer) if name.endswith("_initializer")]:
            setattr(layer, name, initializers.Zeros())
        return layer

    def value(self, name: str, value: Any) -> Any:
        """An argument: a name of a type or an activation, a description, another layer."""
        if not isinstance(value, Mapping) or "class_name" not in value:
            return value
        kind, config = described(value)
        if name == "dtype":
            return mapping(config, "dtype").get("name", "float32")
        if kind in self.classes:
            return self.made(kind, {"name": snake_case(kind), **mapping(config, kind)})
        if "activation" in name:
            raise ValueError(f"{name} must be a name, got {value!r}: a function is a program, which is never run")
        known = {key: each for key, each in mapping(config, kind).items() if each not in NONE or key in ("l1", "l2")}
        return {"class_name": kind, "config": known}


def is_ours(initializer: Any) -> bool:
    kind = initializer.get("class_name") if isinstance(initializer, dict) else None
    return kind in {cls.__name__ for cls in initializers.NAMES.values()}


def unused(kind: str, name: str) -> bool:
    """What Keras 2 writes of a base class's arguments."""
    return kind.startswith(("Separable", "Depthwise")) and name in (
        "groups", "filters", "kernel_regularizer", "kernel_constraint", "dilation_rate"
    )  # fmt: skip


def described(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str) or "config" not in entry:
        raise ValueError(f"a layer's description must have class_name and config, got {str(entry)[:200]}")
    return entry["class_name"], entry["config"]


def mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object, got {str(value)[:200]}")
    return value


def listed(config: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(found := config.get(name), list):
        raise ValueError(f"a description must have a list of {name}, got {str(found)[:200]}")
    return found


def is_operation(entry: dict[str, Any]) -> bool:
    """x + y, x * 2 and keras.ops: no layers in Keras 3, and in its .h5 files told by what every layer has."""
    if "module" in entry:
        return str(entry["module"]).startswith(("keras.src.ops", "keras.ops"))
    nodes, config = entry.get("inbound_nodes") or [None], described(entry)[1]
    return isinstance(nodes[0], dict) and not {"dtype", "trainable"} & set(config)


def places(entries: Sequence[Any], place: str) -> list[str]:
    """layers/conv2d, layers/conv2d_1: Keras numbers the layers of a class by their order in the model."""
    counts: dict[str, int] = {}
    found = []
    for entry in entries:
        kind = snake_case("".join(filter(str.isalnum, described(entry)[0])))
        if is_operation(entry):
            found.append("")
            continue
        number = counts[kind] = counts.get(kind, -1) + 1
        found.append(f"{place}layers/{kind}_{number}" if number else f"{place}layers/{kind}")
    return found


def ends_of(config: dict[str, Any], key: str) -> list[Any]:
    """[name, node, tensor], or a list of such."""
    ends = config.get(key)
    if isinstance(ends, dict):
        ends = list(ends.values())
    if not isinstance(ends, list) or not ends:
        raise ValueError(f"a description must have {key}, got {ends!r}")
    return [ends] if isinstance(ends[0], str) else ends


def pick(tensors: dict[tuple[str, int], Any], history: Any) -> Any:
    """The tensor of [layer, node, number, ...]. Raises KeyError while it isn't made yet."""
    name, node, number = history[:3]
    found = tensors[str(name), int(node)]
    return found[number] if isinstance(found, (list, tuple)) else found


def read(tensors: dict[tuple[str, int], Any], call: Any) -> list[Any]:
    """The arguments of a call, of Keras 3 {"args": [...]} or of Keras 2 [[name, node, tensor, {}], ...]."""
    if isinstance(call, dict):
        return [argument(tensors, each) for each in listed(call, "args")]
    call = [call] if isinstance(call[0], str) else call
    found = [pick(tensors, each) for each in call]
    return [found[0] if len(found) == 1 else found]


def argument(tensors: dict[tuple[str, int], Any], value: Any) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return pick(tensors, value["config"]["keras_history"])
    if isinstance(value, (list, tuple)):
        return [argument(tensors, each) for each in value]
    return value


def operation(entry: dict[str, Any], arguments: list[Any]) -> Any:
    """What an operator or keras.ops is as a layer: a merge of tensors, a change of scale, an activation."""
    kind = described(entry)[0]
    name = str(entry.get("name", kind))
    constants = [each for each in arguments if isinstance(each, (int, float))]
    if kind in MERGES and len(arguments) == 2 and not constants:
        return CLASSES[kind](name=name)(arguments)
    if len(arguments) == 2 and len(constants) == 1 and isinstance(arguments[1], (int, float)):
        value = float(arguments[1])
        scales = {"Multiply": (value, 0.0), "Add": (1.0, value), "Subtract": (1.0, -value)}
        if value and kind in ("Divide", "TrueDivide"):
            scales[kind] = 1 / value, 0.0
        if kind in scales:
            return layers.Rescaling(*scales[kind], name=name)(arguments[0])
    if snake_case(kind) in ACTIVATIONS and len(arguments) == 1:
        return layers.Activation(snake_case(kind), name=name)(arguments[0])
    raise ValueError(f"{name}, the operation {kind}, is no layer of Tapwise")
