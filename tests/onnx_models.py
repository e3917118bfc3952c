"""Small ONNX models for tests, made with onnx.helper."""

import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def model(nodes, inputs, outputs, constants=None, opset=17, ir_version=8):
    """inputs and outputs are {name: shape}, constants {name: array}; nothing is checked."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def node(operator, inputs, outputs, name="", **attributes):
    return onnx.helper.make_node(operator, inputs.split(), outputs.split(), name, **attributes)
