"""ONNX Runtime: the plain run and the one with bound inputs and outputs."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from peer_engines import Call, chain_weights, channels_first, channels_last, output_first

SETTINGS = {}


def start(settings):
    SETTINGS.update(settings)
    return {"version": onnxruntime.__version__}


def calls(row, a):
    if row.operation != "forward":
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = SETTINGS["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model(row, a), options, providers=["CPUExecutionProvider"])
    x = channels_first(a["x"])
    feed = {"y0": x}
    yield Call("onnxruntime", lambda: session.run(None, feed)[0], channels_last)
    y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(first(row.y_shape), np.float32))
    bound = session.io_binding()
    bound.bind_ortvalue_input("y0", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    bound.bind_ortvalue_output(f"y{row.chain}", y)
    yield Call("onnxruntime", lambda: session.run_with_iobinding(bound), lambda _: channels_last(y.numpy()))


def first(shape):
    return (shape[0], shape[-1], *shape[1:-1])


def model(row, a):
    """Convolutions y0 -> y1 -> ... with weights of their own."""
    attributes = {
        "strides": row.strides, "dilations": row.dilation, "group": row.groups,
        "pads": [pad[0] for pad in row.padding] + [pad[1] for pad in row.padding],
    }  # fmt: skip
    weights = chain_weights(row, output_first(a["w"]))
    nodes = [
        helper.make_node("Conv", [f"y{n}", f"w{n}", f"b{n}"], [f"y{n + 1}"], **attributes) for n in range(row.chain)
    ]
    constants = [numpy_helper.from_array(w, f"w{n}") for n, w in enumerate(weights)]
    constants += [numpy_helper.from_array(a["b"], f"b{n}") for n in range(row.chain)]
    x = helper.make_tensor_value_info("y0", TensorProto.FLOAT, first(row.x_shape))
    y = helper.make_tensor_value_info(f"y{row.chain}", TensorProto.FLOAT, first(row.y_shape))
    graph = helper.make_graph(nodes, "chain", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()
