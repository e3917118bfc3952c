"""A model as numbers and text, its layers with their arguments and how they are connected, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import layers
from .configured import described, made_of
from .layers import Input, Layer
from .layers.layer import Cast
from .layers.symbolic import Symbolic

if TYPE_CHECKING:
    from .model import Model


def config_of(model: Model) -> dict[str, Any]:
    """name, inputs, layers, and nodes: which layer reads which tensors; those of the inputs count first."""
    own = [layer for layer in model.layers if not isinstance(layer, (layers.InputLayer, Cast))]
    numbers: dict[Symbolic, int] = {tensor: i for i, tensor in enumerate(model.inputs)}
    nodes = []
    for node in model.nodes:
        reads = [numbers[tensor] for tensor in node.inputs]
        if isinstance(node.layer, Cast):  # the layer behind it asks for one again
            numbers[node.output] = reads[0]
            continue
        nodes.append({"layer": own.index(node.layer), "reads": reads, "many": node.many})
        numbers[node.output] = len(model.inputs) + len(nodes) - 1
    inputs = [
        {"name": t.name, "shape": list(t.example), "dtype": None if t.dtype is None else t.dtype.name}
        for t in model.inputs
    ]
    outputs = [numbers[tensor] for tensor in model.outputs]
    made = [described(layer) for layer in own]
    return {"name": model.name, "inputs": inputs, "layers": made, "nodes": nodes, "outputs": outputs}


def clone_model(model: Model) -> Model:
    """A model of the same layers and connections with new weights, not compiled, as in Keras."""
    own = {type(layer).__name__: type(layer) for layer in model.layers}
    return made_of_config("Sequential" if hasattr(model, "add") else "Model", model.get_config(), own)


def made_of_config(kind: str, config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]]) -> Model:
    """A new model, with weights of its own; kind is "Sequential" or "Model"."""
    from .model import Model, Sequential

    known = {name: cls for name, cls in vars(layers).items() if isinstance(cls, type) and issubclass(cls, Layer)}
    own: list[Layer] = []
    for description in config["layers"]:
        name = description["class_name"]
        if name not in {**known, **custom_objects}:
            raise ValueError(f"{name} is no layer of Tapwise: give custom_objects={{{name!r}: {name}}}")
        own.append(made_of(description, [*known.values(), *custom_objects.values()], "layer"))
    inputs = [Input(each["shape"], dtype=each["dtype"], name=each["name"]) for each in config["inputs"]]
    if kind == "Sequential":
        return Sequential([*inputs, *own], name=config["name"])
    tensors: list[Any] = list(inputs)
    for node in config["nodes"]:
        read = [tensors[i] for i in node["reads"]]
        tensors.append(own[node["layer"]](read if node["many"] else read[0]))
    return Model(inputs, [tensors[i] for i in config["outputs"]], name=config["name"])
