"""From an ONNX file to a Graph: sizes are checked against the bytes that are there before memory is taken for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .graph import Graph, Node, Port, plain
from .values import Array

OLDEST = 7
MOST_FILE_BYTES = 1 << 31  # what protobuf holds
STANDARD = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training")


def onnx_module() -> Any:
    """The package onnx. Raises ImportError with the way to get it."""
    try:
        import onnx
    except ImportError:
        raise ImportError('ONNX files need the package onnx: pip install "tapwise[onnx]"') from None
    return onnx


def read(model: Any) -> tuple[Any, Path | None]:
    """A ModelProto from a path, bytes or a ModelProto, and the folder that its external data may lie in."""
    onnx = onnx_module()
    if isinstance(model, onnx.ModelProto):
        return model, None
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if (size := path.stat().st_size) > MOST_FILE_BYTES:
            raise ValueError(f"model must be a file of at most {MOST_FILE_BYTES} bytes, got {size} in {path}")
        return parsed(path.read_bytes(), str(path)), path.parent
    if isinstance(model, (bytes, bytearray, memoryview)):
        return parsed(bytes(model), "bytes"), None
    raise TypeError(f"model must be a path, bytes or a ModelProto, got {type(model).__name__}")


def parsed(content: bytes, name: str) -> Any:
    from google.protobuf.message import DecodeError

    proto = onnx_module().ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"model must be an ONNX file, got {name}: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:
        raise ValueError(f"model must be an ONNX file with a graph and its operators' version, got {name}")
    return proto


class Reader:
    """Turns the parts of one model into a Graph."""

    def __init__(self, proto: Any, folder: Path | None) -> None:
        self.onnx = onnx_module()
        self.folder = folder
        if proto.functions:
            from onnx import inliner

            proto = inliner.inline_local_functions(proto)
        self.proto = proto
        self.versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
        newest = self.onnx.defs.onnx_opset_version()
        if not 1 <= self.versions.get("", newest) <= newest:
            raise ValueError(
                f"the operators' version must be >= 1 and <= {newest}, which the package onnx knows, "
                f"got {self.versions['']}"
            )

    def graph(self) -> Graph:
        proto = self.proto.graph
        constants = self.constants(proto)
        inputs = [self.port(each) for each in proto.input if each.name not in constants]
        return Graph(self.nodes(proto.node), constants, inputs, [self.port(each) for each in proto.output])

    def constants(self, proto: Any) -> dict[str, Array]:
        found = {each.name: self.tensor(each, f"initializer {each.name!r}") for each in proto.initializer}
        for each in proto.sparse_initializer:
            found[each.values.name] = self.sparse(each)
        return found

    def nodes(self, protos: Sequence[Any]) -> list[Node]:
        return [self.node(proto, number) for number, proto in enumerate(protos)]

    def node(self, proto: Any, number: int) -> Node:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        label = f"{proto.op_type} {proto.name or '#' + str(number)}"
        if domain not in self.versions and domain not in STANDARD:
            raise ValueError(f"node {label} must be of a domain that the model imports, got {domain!r}")
        attributes = {each.name: self.attribute(each, label) for each in proto.attribute}
        captured: dict[str, None] = {}
        for each in proto.attribute:
            for subgraph in [*([each.g] if each.HasField("g") else []), *each.graphs]:
                captured.update(dict.fromkeys(free_names(subgraph)))
        return Node(
            proto.op_type, domain, self.versions.get(domain, 1), tuple(proto.input), tuple(proto.output),
            plain(attributes), label, proto, tuple(captured),
        )  # fmt: skip

    def attribute(self, proto: Any, label: str) -> Any:
        kinds = self.onnx.AttributeProto
        if proto.ref_attr_name:
            raise ValueError(
                f"node {label} must have values for its attributes, got a reference {proto.ref_attr_name!r}"
            )
        if proto.type == kinds.TENSOR:
            return self.tensor(proto.t, f"attribute {proto.name} of node {label}")
        if proto.type == kinds.SPARSE_TENSOR:
            return self.sparse(proto.sparse_tensor)
        return self.onnx.helper.get_attribute_value(proto)

    def port(self, proto: Any) -> Port:
        kind = proto.type
        if not kind.HasField("tensor_type"):
            return Port(proto.name, None, None)
        number = kind.tensor_type.elem_type
        try:
            dtype = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(number)) if number else None
        except KeyError:
            raise ValueError(f"{proto.name!r} must be of a type that ONNX has, got number {number}") from None
        if not kind.tensor_type.HasField("shape"):
            return Port(proto.name, dtype, None)
        dims = kind.tensor_type.shape.dim
        return Port(
            proto.name, dtype, tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)
        )

    def tensor(self, proto: Any, name: str) -> Array:
        """A tensor's values. Raises ValueError unless the bytes that are there are those of its shape and type."""
        shape = tuple(proto.dims)
        if any(size < 0 for size in shape):
            raise ValueError(f"{name} must have sizes >= 0, got {shape}")
        try:
            dtype = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
        except KeyError:
            raise ValueError(f"{name} must be of a type that ONNX has, got number {proto.data_type}") from None
        if proto.data_location == self.onnx.TensorProto.EXTERNAL:
            return external(self.folder, {e.key: e.value for e in proto.external_data}, shape, dtype, name)
        try:
            array: Array = self.onnx.numpy_helper.to_array(proto)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} must hold the values of shape {shape}: {error}") from None
        return array

    def sparse(self, proto: Any) -> Array:
        shape = tuple(proto.dims)
        values = self.tensor(proto.values, "values of a sparse tensor")
        indices = self.tensor(proto.indices, "indices of a sparse tensor")
        if prod(shape) * values.itemsize > MOST_FILE_BYTES:
            raise ValueError(f"a sparse tensor must have at most {MOST_FILE_BYTES} bytes, got shape {shape}")
        dense = np.zeros(prod(shape), values.dtype)
        flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
        dense[flat] = values
        return dense.reshape(shape)


def external(folder: Path | None, entry: Mapping[str, str], shape: tuple[int, ...], dtype: Any, name: str) -> Array:
    """Values that lie in a file beside the model's, read where it lies, never anywhere else."""
    if folder is None:
        raise ValueError(f"{name} must be in the model where that isn't a file, got external data {entry}")
    location = entry.get("location", "")
    path = (folder / location).resolve()
    if not location or os.path.isabs(location) or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ValueError(f"{name} must lie in a file in the model's folder, got {location!r}")
    try:
        offset = int(entry.get("offset", 0))
        length = int(entry.get("length", prod(shape) * dtype.itemsize))
    except ValueError:
        raise ValueError(f"{name} must have whole numbers as offset and length, got {entry}") from None
    if length != prod(shape) * dtype.itemsize or not 0 <= offset <= path.stat().st_size - length:
        raise ValueError(
            f"{name} must be {prod(shape) * dtype.itemsize} bytes within {location}, got {length} at {offset} "
            f"of {path.stat().st_size}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return np.frombuffer(file.read(length), dtype).reshape(shape)


def free_names(graph: Any) -> list[str]:
    """What a subgraph reads from the graphs around it."""
    own = {each.name for each in (*graph.input, *graph.initializer)}
    own.update(each.values.name for each in graph.sparse_initializer)
    own.update(name for node in graph.node for name in node.output)
    found: dict[str, None] = {}
    for node in graph.node:
        found.update(dict.fromkeys(name for name in node.input if name and name not in own))
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                found.update(dict.fromkeys(name for name in free_names(inner) if name not in own))
    found.update(dict.fromkeys(each.name for each in graph.output if each.name not in own))
    return list(found)
