"""ncnn: one image, float32 arithmetic and storage, its packed layouts and Winograd as it chooses them."""

import tempfile
from pathlib import Path

import ncnn
import numpy as np

from peer_engines import Call, channels_first, channels_last, output_first

SETTINGS = {}


def start(settings):
    SETTINGS.update(settings)
    return {"version": ncnn.__version__}


def calls(row, a):
    if row.operation != "forward" or row.x_shape[0] != 1 or row.rank == 3:
        return
    net = ncnn.Net()
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16")):
            setattr(net.opt, option, False)
    net.opt.num_threads = SETTINGS["threads"]
    net.opt.use_packing_layout = True
    with tempfile.TemporaryDirectory() as folder:
        param, weights = Path(folder, "chain.param"), Path(folder, "chain.bin")
        param.write_text(network(row))
        one = np.zeros(1, np.uint32).tobytes() + output_first(a["w"]).tobytes() + a["b"].tobytes()
        weights.write_bytes(one * row.chain)
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise RuntimeError("ncnn refused the network")
    image = np.ascontiguousarray(channels_first(a["x"])[0])

    def run():
        extractor = net.create_extractor()
        extractor.input("y0", ncnn.Mat(image))  # refers to the array
        return extractor.extract(f"y{row.chain}")[1]

    yield Call("ncnn", run, lambda y: channels_last(np.array(y)[None]))


def network(row):
    """ncnn's text: its magic number, layers and blobs, then a line a layer with numbered parameters."""
    grouped = "" if row.groups == 1 else "DepthWise"
    kind = f"Convolution{grouped}{'1D' if row.rank == 1 else ''}"
    size = np.prod(row.w_shape)
    numbers = {0: row.w_shape[-1], 1: row.kernel[-1], 2: row.dilation[-1], 3: row.strides[-1], 5: 1, 6: size}
    numbers |= {4: row.padding[-1][0], 15: row.padding[-1][1]}
    if row.rank == 2:
        numbers |= {11: row.kernel[0], 12: row.dilation[0], 13: row.strides[0]}
        numbers |= {14: row.padding[0][0], 16: row.padding[0][1]}
    if row.groups > 1:
        numbers[7] = row.groups
    stated = " ".join(f"{key}={value}" for key, value in numbers.items())
    lines = [f"{kind} c{n} 1 1 y{n} y{n + 1} {stated}" for n in range(row.chain)]
    return "\n".join(["7767517", f"{row.chain + 1} {row.chain + 1}", "Input y0 0 1 y0", *lines, ""])
