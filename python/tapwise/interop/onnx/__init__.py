"""ONNX models on Tapwise: load runs one, load_layers makes layers of it, export writes one.

Backend is what ONNX' own tests call.
What isn't ours runs through onnx.reference, and report() of a model says so. Needs the package onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from ...model import Model as Network
    from .model import Model as Model

MOST_BYTES = 1 << 32


def load(model: Any, *, most_bytes: int = MOST_BYTES) -> Model:
    """A model from an ONNX file, its bytes or a ModelProto; weights outside the file must lie in its folder.

    most_bytes bounds each value that a node makes. Raises ValueError on a file that is corrupt, a graph with a cycle or
    a value that nobody makes, an operator or type that neither Tapwise nor onnx.reference has; ImportError where the
    package onnx is missing.
    """
    from .model import Model
    from .proto import Reader, read

    proto, folder = read(model)
    reader = Reader(proto, folder)
    return Model(reader.graph(), reader.versions, most_bytes)


def load_layers(model: Any, input_shape: Sequence[int] | None = None, *, dtype: DTypeLike = "float32") -> Network:
    """A functional tapwise.Model of the same results: it can be explained, trained further and saved.

    model: what load takes, or a model of load. input_shape: that of one example, as the file has it, where the file
    leaves sizes open. Layers have the names of the values that they make; the batch is free. Raises ValueError naming
    the operators that no layer stands for, and what load raises.
    """
    from .model import Model as Loaded
    from .rebuilt import rebuilt

    return rebuilt(model if isinstance(model, Loaded) else load(model), input_shape, dtype)


def export(model: Any, path: Any = None, *, opset: int = 17) -> Any:
    """A Tapwise model for prediction as an onnx.ModelProto, checked by onnx.checker; written to path if one is given.

    Inputs and outputs have the model's names and shapes, the batch is free. Layers that only train, such as Dropout,
    are left out. Raises TypeError on weights other than float32, ValueError naming a layer that ONNX can't say,
    ImportError where the package onnx is missing.
    """
    from .writer import exported

    return exported(model, path, opset)


def __getattr__(name: str) -> Any:
    if name == "Backend":  # its base class is onnx'
        from .backend import Backend

        return Backend
    if name == "Model":
        from .model import Model

        return Model
    if name == "LAYERS":  # those of load_layers that aren't in tapwise.layers, for load_model's custom_objects
        from .own_layers import LAYERS

        return LAYERS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
