"""A model of ours as ONNX: operators that every runtime has, the input's layout kept, weights as they are.

Convolutions are ONNX' on (n, c, *spatial); a tensor is turned once, where a layer first needs the other order, so a
network has one Transpose behind its input and one where it flattens maps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...layers.layer import InputLayer
from ...layers.symbolic import Symbolic
from ...model import Model
from .proto import MOST_FILE_BYTES, onnx_module
from .values import Array, Shape, first_axes, last_axes

IR_VERSION = 8


def exported(model: Model, path: str | os.PathLike[str] | None, opset: int) -> Any:
    """What tapwise.interop.onnx.export gives; a file is written under another name and then renamed."""
    onnx = onnx_module()
    writer = Writer(opset)
    if not model.nodes:
        raise ValueError("model must have layers and a known input shape, got one without")
    proto = writer.written(model)
    if (size := proto.ByteSize()) >= MOST_FILE_BYTES:
        raise ValueError(f"model must fit a file of {MOST_FILE_BYTES} bytes, got {size}")
    onnx.checker.check_model(proto)
    if path is not None:
        target = Path(path)
        half = target.with_name(target.name + ".part")
        half.write_bytes(proto.SerializeToString())
        half.replace(target)
    return proto


class Writer:
    """Collects nodes; `plain` and `first` are the names of tensors in our order and in ONNX' (n, c, *spatial)."""

    def __init__(self, opset: int) -> None:
        self.onnx, self.opset = onnx_module(), opset
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.plain: dict[Symbolic, str] = {}
        self.first: dict[Symbolic, str] = {}
        self.names: set[str] = set()

    def written(self, model: Model) -> Any:
        from .writer_layers import LAYERS

        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        inputs = []
        for tensor in model.inputs:
            self.plain[tensor] = self.fresh(tensor.name)
            inputs.append(helper.make_tensor_value_info(self.plain[tensor], kind, ["n", *tensor.example]))
        for node in model.nodes:
            layer = node.layer
            if isinstance(layer, InputLayer):
                continue
            if type(layer) not in LAYERS:
                raise ValueError(f"{layer.name} must be a layer that ONNX can say, got {type(layer).__name__}")
            if any(dtype is not None and dtype != np.float32 for dtype in (layer.dtype, layer.compute_dtype)):
                raise TypeError(f"{layer.name} must compute in float32, got {layer.dtype} and {layer.compute_dtype}")
            LAYERS[type(layer)](self, node, layer)
        outputs = []
        for tensor in model.outputs:
            name = self.fresh(f"{tensor.name}_output")
            self.nodes.append(helper.make_node("Identity", [self.in_our_order(tensor)], [name]))
            outputs.append(helper.make_tensor_value_info(name, kind, ["n", *tensor.example]))
        constants = [self.onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, model.name, inputs, outputs, constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSION, producer_name="tapwise"
        )

    def fresh(self, name: str) -> str:
        """The name, with a number where it is taken."""
        free, number = name, 1
        while free in self.names:
            free, number = f"{name}_{number}", number + 1
        self.names.add(free)
        return free

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node; the name of its output."""
        output = self.fresh(name)
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [output], output, **given))
        return output

    def constant(self, array: Any, name: str) -> str:
        made = self.fresh(name)
        self.constants[made] = np.ascontiguousarray(array)
        return made

    def number(self, value: float, name: str) -> str:
        return self.constant(np.array(value, np.float32).reshape(()), name)

    def in_our_order(self, tensor: Symbolic) -> str:
        """The name of a tensor with its axes as the model has them."""
        if tensor not in self.plain:
            axes = last_axes(len(tensor.example) + 1)
            self.plain[tensor] = self.add("Transpose", [self.first[tensor]], f"{tensor.name}_last", perm=axes)
        return self.plain[tensor]

    def channels_first(self, tensor: Symbolic) -> str:
        """The name of a tensor with its last axis second."""
        if len(tensor.example) < 2:
            return self.in_our_order(tensor)
        if tensor not in self.first:
            axes = first_axes(len(tensor.example) + 1)
            self.first[tensor] = self.add("Transpose", [self.plain[tensor]], f"{tensor.name}_first", perm=axes)
        return self.first[tensor]

    def as_read(self, tensor: Symbolic, channels_last: bool) -> str:
        """What a layer with this data format reads, with the channels second."""
        return self.channels_first(tensor) if channels_last else self.in_our_order(tensor)

    def give(self, tensor: Symbolic, name: str, turned: bool) -> None:
        (self.first if turned and len(tensor.example) > 1 else self.plain)[tensor] = name

    def any_order(self, tensors: Sequence[Symbolic]) -> tuple[list[str], bool]:
        """Names of all in one order, and whether that is ONNX': for layers that don't care."""
        turned = any(tensor in self.first for tensor in tensors) and len({len(t.example) for t in tensors}) == 1
        read = self.channels_first if turned else self.in_our_order
        return [read(tensor) for tensor in tensors], turned


def pads(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """(before, after) of each axis as ONNX has them: all before, then all after."""
    return [before for before, _ in pairs] + [after for _, after in pairs]


def one(example: Shape) -> Shape:
    """The shape of a batch of one."""
    return (1, *example)
