"""OpenVINO: float32, tuned for latency, tensors shared with NumPy."""

import numpy as np
import openvino
from openvino import opset13

from peer_engines import Call, chain_weights, channels_first, channels_last, output_first

SETTINGS = {}


def start(settings):
    SETTINGS.update(settings)
    return {"version": openvino.__version__.partition("-")[0]}


def calls(row, a):
    if row.operation != "forward":
        return
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": SETTINGS["threads"],
    }
    compiled = openvino.Core().compile_model(model(row, a), "CPU", options)
    request = compiled.create_infer_request()
    x, y = channels_first(a["x"]), channels_first(np.zeros(row.y_shape, np.float32))
    held = compiled, x, openvino.Tensor(x, shared_memory=True), openvino.Tensor(y, shared_memory=True)
    request.set_input_tensor(held[2])
    request.set_output_tensor(held[3])

    def run(_=held):  # a request keeps none of them alive
        request.infer()

    yield Call("openvino", run, lambda _: channels_last(y))


def model(row, a):
    rest = (row.strides, [p[0] for p in row.padding], [p[1] for p in row.padding], row.dilation)
    x_shape = (row.x_shape[0], row.channels, *row.x_shape[1:-1])
    x = y = opset13.parameter(x_shape, np.float32)
    bias = a["b"].reshape(1, -1, *(1,) * row.rank)
    for w in chain_weights(row, output_first(a["w"])):
        if row.groups == 1:
            y = opset13.convolution(y, w, *rest)
        else:
            grouped = w.reshape(row.groups, w.shape[0] // row.groups, *w.shape[1:])
            y = opset13.group_convolution(y, grouped, *rest)
        y = opset13.add(y, bias)
    return openvino.Model([y], [x], "chain")
