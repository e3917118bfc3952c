"""An ONNX model as a functional Tapwise model: layers of the same names, weights and results, with gradients.

The graph is run once on zeros, which tells each value's shape and what depends on shapes alone; then each operator
becomes a layer. Maps have their channels last wherever an operator doesn't ask for ONNX' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ... import layers
from ...layers.symbolic import Symbolic
from ...model import Model as Network
from .as_layers import AS_LAYERS
from .builder import Builder, NotALayer, Seen, Tensor
from .graph import Node, Port
from .model import Model
from .values import Shape

BATCH = 2  # of the run where the file leaves it open
SHAPES = ("Shape", "Size")  # operators that read no values


def rebuilt(model: Model, input_shape: Sequence[int] | None, dtype: DTypeLike) -> Network:
    """The model's outputs of its inputs by layers; input_shape without the batch, where the file leaves sizes open."""
    examples = [example_of(port, input_shape) for port in model.inputs]
    batches = {port.shape[0] for port in model.inputs if port.shape and isinstance(port.shape[0], int)} or {BATCH}
    if len(batches) > 1:
        raise ValueError(f"the inputs must have one batch size, got {sorted(batches)}")
    (batch,) = batches
    zeros = [np.zeros((batch, *shape), port.dtype) for port, shape in zip(model.inputs, examples, strict=True)]
    builder = Builder(seen(model, zeros), batch, dtype)
    inputs = [layers.Input(shape, name=port.name) for port, shape in zip(model.inputs, examples, strict=True)]
    builder.tensors |= {port.name: Tensor(x) for port, x in zip(model.inputs, inputs, strict=True)}
    nodes = needed(model)
    refused = [reason for node in nodes if (reason := added(builder, node))]
    if refused:
        raise ValueError(f"model must be of operators that layers stand for, got {'; '.join(refused)}")
    outputs: list[Symbolic] = []
    for port in model.outputs:
        if port.name not in builder.tensors:
            raise ValueError(f"output {port.name!r} must depend on the inputs' values")
        found = builder.plain(builder.tensors[port.name])
        again = found in inputs or found in outputs  # each output is a layer's of its own
        outputs.append(layers.Identity(**builder.how(f"{port.name}_again"))(found) if again else found)
    return Network(inputs, outputs, name="onnx")


def example_of(port: Port, input_shape: Sequence[int] | None) -> Shape:
    """An input's shape without the batch. Raises ValueError where the file leaves it open and input_shape is None."""
    if port.dtype != np.float32:
        raise ValueError(f"input {port} must be float32")
    shape = port.shape
    if input_shape is not None:
        given = tuple(map(int, input_shape))
        fits = shape is None or (
            len(shape) == len(given) + 1
            and all(not isinstance(n, int) or n == m for n, m in zip(shape[1:], given, strict=True))
        )
        if not fits:
            raise ValueError(f"input_shape must fit input {port}, without the batch, got {given}")
        return given
    if not shape or not all(isinstance(size, int) for size in shape[1:]):
        raise ValueError(f"input_shape must be given for input {port}: the file leaves sizes open")
    return tuple(int(size) for size in shape[1:] if isinstance(size, int))


def seen(model: Model, arrays: Sequence[Any]) -> dict[str, Seen]:
    """Shapes of all values, and those that no input's values went into."""
    found: dict[str, Seen] = {}
    fed = {port.name for port in model.inputs}
    for node, run, values in model.walk(arrays):
        if node is not None and node.operator not in SHAPES and any(name in fed for name in node.reads):
            fed.update(values)
        for name, value in values.items():
            found[name] = Seen(value.shape, None if name in fed else run.first(value).array)
    return found


def needed(model: Model) -> list[Node]:
    """The nodes that the outputs depend on."""
    wanted = {port.name for port in model.outputs}
    kept = []
    for node in reversed(model.nodes):
        if any(name in wanted for name in node.outputs):
            kept.append(node)
            wanted.update(node.reads)
    return kept[::-1]


def added(b: Builder, node: Node) -> str | None:
    """Why no layer could be added for the node; None where one was, or where it isn't the first to be missing."""
    names = [name for name in node.outputs if name]
    if all(b.seen[name].array is not None for name in names):
        return None
    absent = [name for name in node.reads if b.seen[name].array is None and name not in b.tensors]
    if any(name in b.refused for name in absent):
        b.refused.update(names)
        return None
    try:
        b.node = node
        b.need(not absent, f"of {absent}, which no layer gives")
        for name in names:
            b.need(b.seen[name].shape[:1] == (b.batch,), f"whose result of shape {b.seen[name].shape} has no batch")
        make = AS_LAYERS.get(node.operator) if node.domain == "" else None
        if make is None:
            raise NotALayer("which no layer stands for")
        made = make(b, node)
    except (NotALayer, ValueError, TypeError) as error:
        b.refused.update(names)
        return f"{node.label}, {error}"
    results = [made] if isinstance(made, Tensor) else made
    b.tensors |= {name: tensor for name, tensor in zip(node.outputs, results, strict=False) if name}
    return None
