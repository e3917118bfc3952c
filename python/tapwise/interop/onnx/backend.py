"""onnx.backend.base.Backend: how ONNX' own tests, and programs written for any backend, run models here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import load
from .model import Model
from .proto import onnx_module

onnx_module()

from onnx.backend.base import Backend as Base  # noqa: E402
from onnx.backend.base import BackendRep, DeviceType  # noqa: E402


class Prepared(BackendRep):
    """A model that run() computes."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Outputs for a list of inputs, a mapping, or one array."""
        if not isinstance(inputs, (Mapping, list, tuple)):
            inputs = [inputs]
        return tuple(self.model.run(inputs))


class Backend(Base):
    """Tapwise as an ONNX backend; the only device is the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **options: Any) -> Prepared:
        """Raises ValueError on a model that load refuses, or another device."""
        if not cls.supports_device(device):
            raise ValueError(f"device must be CPU, got {device}")
        return Prepared(load(model))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Any, ...]:
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Sequence[Any] | None = None, **options: Any
    ) -> tuple[Any, ...]:
        """One operator on arrays; its version is opset_version, or the newest."""
        onnx = onnx_module()
        arrays = dict(zip(filter(None, node.input), inputs, strict=True))
        ports = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in arrays.items()
        ]
        ends = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        version = options.get("opset_version", onnx.defs.onnx_opset_version())
        graph = onnx.helper.make_graph([node], "node", ports, ends)
        made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.run_model(made, arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.partition(":")[0] == "CPU" and DeviceType.CPU is not None
