"""How each layer is said in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from ... import layers
from ...geometry import conv_geometry, conv_transpose_geometry, pool_geometry
from ...layers.layer import Cast
from ...layers.noise import AlphaDropout, GaussianDropout, GaussianNoise
from ...layers.symbolic import Node
from .values import Array, last_axes
from .writer import Writer, one, pads

Layer = Any
SIMPLE = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus", "softsign": "Softsign",
    "selu": "Selu", "celu": "Celu", "exponential": "Exp", "hard_silu": "HardSwish", "hard_swish": "HardSwish",
}  # fmt: skip


def activated(w: Writer, x: str, kind: str | None, name: str, axis: int = -1) -> str:
    """x after an activation by its name; axis is that of softmax."""
    if kind is None:
        return x
    if kind in SIMPLE:
        return w.add(SIMPLE[kind], [x], f"{name}_{kind}")
    if kind in ("softmax", "log_softmax"):
        return w.add({"softmax": "Softmax"}.get(kind, "LogSoftmax"), [x], f"{name}_{kind}", axis=axis)
    if kind in ("relu6", "hard_tanh"):
        low, high = (0, 6) if kind == "relu6" else (-1, 1)
        bounds = [w.number(low, f"{name}_low"), w.number(high, f"{name}_high")]
        return w.add("Clip", [x, *bounds], f"{name}_{kind}")
    if kind == "leaky_relu":
        return w.add("LeakyRelu", [x], f"{name}_leaky_relu", alpha=0.2)
    if kind == "elu":
        return w.add("Elu", [x], f"{name}_elu", alpha=1.0)
    if kind == "hard_sigmoid":
        return w.add("HardSigmoid", [x], f"{name}_hard_sigmoid", alpha=1 / 6, beta=0.5)
    if kind in ("silu", "swish", "mish"):
        inner = [("Sigmoid", "gate")] if kind != "mish" else [("Softplus", "plus"), ("Tanh", "gate")]
        gate = x
        for operator, label in inner:
            gate = w.add(operator, [gate], f"{name}_{label}")
        return w.add("Mul", [x, gate], f"{name}_{kind}")
    if kind in ("hard_shrink", "soft_shrink"):
        return w.add("Shrink", [x], f"{name}_{kind}", lambd=0.5, bias=0.5 if kind == "soft_shrink" else 0.0)
    if kind == "tanh_shrink":
        return w.add("Sub", [x, w.add("Tanh", [x], f"{name}_tanh")], f"{name}_{kind}")
    if kind == "log_sigmoid":
        plus = w.add("Softplus", [w.add("Neg", [x], f"{name}_below")], f"{name}_plus")
        return w.add("Neg", [plus], f"{name}_{kind}")
    if kind == "gelu":
        scaled = w.add("Div", [x, w.number(sqrt(2), f"{name}_root")], f"{name}_scaled")
        share = w.add("Add", [w.add("Erf", [scaled], f"{name}_erf"), w.number(1, f"{name}_one")], f"{name}_share")
        half = w.add("Mul", [x, w.number(0.5, f"{name}_half")], f"{name}_halved")
        return w.add("Mul", [half, share], f"{name}_gelu")
    raise ValueError(f"activation of {name} must be one that ONNX can say, got {kind!r}")


def weights(w: Writer, kernel: Array, bias: Any, name: str) -> list[str]:
    """Constants for ONNX' Conv: kernel (*k, ci, co) turned to (co, ci, *k), and the bias."""
    made = [w.constant(np.moveaxis(kernel, (-1, -2), (0, 1)), f"{name}_kernel")]
    return made if bias is None else [*made, w.constant(bias.value, f"{name}_bias")]


def finish(w: Writer, node: Node, layer: Layer, y: str, channels_last: bool) -> None:
    """The activation at the end of an affine layer."""
    turned = channels_last and len(node.output.example) > 1
    axis = 1 if turned else -1
    w.give(node.output, activated(w, y, layer.activation, layer.name, axis), turned)


def window(geometry: Any) -> dict[str, Any]:
    return {"strides": geometry.strides, "dilations": geometry.dilation, "pads": pads(geometry.padding)}


def sizes(node: Node, layer: Layer, w_shape: Any) -> Any:
    g = layer.geometry
    return conv_geometry(
        one(node.inputs[0].example), w_shape, g["strides"], g["padding"], g["dilation"], g["groups"], g["data_format"]
    )


def conv(w: Writer, node: Node, layer: Layer) -> None:
    kernel = layer.kernel.value
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        kernel = kernel.reshape(*layer.kernel_size, 1, -1)
    g = sizes(node, layer, layer.as_weights(layer.kernel.value).shape)
    x = w.as_read(node.inputs[0], layer.channels_last)
    constants = weights(w, kernel, layer.bias, layer.name)
    y = w.add("Conv", [x, *constants], layer.name, group=g.groups, **window(g))
    finish(w, node, layer, y, layer.channels_last)


def separable(w: Writer, node: Node, layer: Layer) -> None:
    depthwise = layer.depthwise.value.reshape(*layer.kernel_size, 1, -1)
    g = sizes(node, layer, layer.depthwise_weights().shape)
    x = w.as_read(node.inputs[0], layer.channels_last)
    apart = weights(w, depthwise, None, f"{layer.name}_depthwise")
    middle = w.add("Conv", [x, *apart], f"{layer.name}_depthwise", group=g.groups, **window(g))
    mixed = weights(w, layer.kernel.value, layer.bias, layer.name)
    finish(w, node, layer, w.add("Conv", [middle, *mixed], layer.name), layer.channels_last)


def transposed(w: Writer, node: Node, layer: Layer) -> None:
    g = layer.geometry
    shape = layer.as_weights(layer.kernel.value).shape
    made = conv_transpose_geometry(
        one(node.inputs[0].example), shape, g["strides"], g["padding"], layer.output_padding, g["dilation"],
        g["groups"], g["data_format"],
    )  # fmt: skip
    longer = [max(-after, 0) for _, after in made.padding]
    around = pads([(before, max(after, 0)) for before, after in made.padding])
    x = w.as_read(node.inputs[0], layer.channels_last)
    constants = weights(w, layer.kernel.value, layer.bias, layer.name)
    y = w.add(
        "ConvTranspose", [x, *constants], layer.name, strides=made.strides, dilations=made.dilation, pads=around,
        output_padding=longer,
    )  # fmt: skip
    finish(w, node, layer, y, layer.channels_last)


def dense(w: Writer, node: Node, layer: Layer) -> None:
    x, name = w.in_our_order(node.inputs[0]), layer.name
    kernel = w.constant(layer.kernel.value, f"{name}_kernel")
    if len(node.inputs[0].example) == 1:
        bias = [] if layer.bias is None else [w.constant(layer.bias.value, f"{name}_bias")]
        y = w.add("Gemm", [x, kernel, *bias], name)
    else:
        y = w.add("MatMul", [x, kernel], name)
        if layer.bias is not None:
            y = w.add("Add", [y, w.constant(layer.bias.value, f"{name}_bias")], f"{name}_sum")
    finish(w, node, layer, y, False)


def pool(w: Writer, node: Node, layer: Layer) -> None:
    g, tensor = layer.geometry, node.inputs[0]
    made = pool_geometry(one(tensor.example), g["size"], g["strides"], g["padding"], 1, False, False, g["data_format"])
    last = g["data_format"] == "channels_last"
    operator = "MaxPool" if "Max" in type(layer).__name__ else "AveragePool"
    y = w.add(
        operator, [w.as_read(tensor, last)], layer.name, kernel_shape=made.size, strides=made.strides,
        pads=pads(made.padding),
    )  # fmt: skip
    w.give(node.output, y, last)


def global_pool(w: Writer, node: Node, layer: Layer) -> None:
    last = layer.data_format == "channels_last"
    operator = "GlobalMaxPool" if "Max" in type(layer).__name__ else "GlobalAveragePool"
    y = w.add(operator, [w.as_read(node.inputs[0], last)], layer.name)
    if layer.keepdims:
        w.give(node.output, y, last)
    else:
        w.give(node.output, w.add("Flatten", [y], f"{layer.name}_flat"), False)


def batch_norm(w: Writer, node: Node, layer: Layer) -> None:
    tensor, name = node.inputs[0], layer.name
    rank = len(tensor.example) + 1
    axis = layer.axis % rank
    if axis not in (1, rank - 1):
        raise ValueError(f"axis of {name} must be 1 or the last one, got {layer.axis}")
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    gamma = np.ones_like(mean) if layer.gamma is None else layer.gamma.value
    beta = np.zeros_like(mean) if layer.beta is None else layer.beta.value
    parts = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    last = axis == rank - 1
    constants = [w.constant(value, f"{name}_{part}") for part, value in parts.items()]
    y = w.add("BatchNormalization", [w.as_read(tensor, last), *constants], name, epsilon=layer.epsilon)
    w.give(node.output, y, last)


def layer_norm(w: Writer, node: Node, layer: Layer) -> None:
    example = node.inputs[0].example
    axis = min(axis % (len(example) + 1) for axis in layer.axis)
    gamma = np.ones(example[axis - 1 :], np.float32) if layer.gamma is None else layer.gamma.value
    given = [w.constant(gamma, f"{layer.name}_gamma")]
    if layer.beta is not None:
        given.append(w.constant(layer.beta.value, f"{layer.name}_beta"))
    x = w.in_our_order(node.inputs[0])
    w.give(node.output, w.add("LayerNormalization", [x, *given], layer.name, axis=axis, epsilon=layer.epsilon), False)


def group_norm(w: Writer, node: Node, layer: Layer) -> None:
    """Each group as a channel of InstanceNormalization, then gamma and beta."""
    tensor, name = node.inputs[0], layer.name
    rank, groups = len(tensor.example) + 1, layer.count
    if layer.axis % rank not in (1, rank - 1):
        raise ValueError(f"axis of {name} must be 1 or the last one, got {layer.axis}")
    last = layer.axis % rank == rank - 1
    example = (tensor.example[-1], *tensor.example[:-1]) if last else tensor.example
    shapes = [w.constant(np.array(s, np.int64), f"{name}_shape") for s in ((0, groups, -1), (0, *example))]
    ends = [w.constant(np.full(groups, v, np.float32), f"{name}_{v}") for v in (1, 0)]
    rows = w.add("Reshape", [w.as_read(tensor, last), shapes[0]], f"{name}_rows")
    y = w.add("InstanceNormalization", [rows, *ends], f"{name}_normal", epsilon=layer.epsilon)
    y = w.add("Reshape", [y, shapes[1]], f"{name}_maps")
    for operator, weight in (("Mul", layer.gamma), ("Add", layer.beta)):
        if weight is not None:
            constant = w.constant(weight.value.reshape(-1, *(1,) * (rank - 2)), f"{name}_{operator.lower()}")
            y = w.add(operator, [y, constant], f"{name}_{operator.lower()}")
    w.give(node.output, y, last)


def merge(operator: str) -> Callable[[Writer, Node, Layer], None]:
    def write(w: Writer, node: Node, layer: Layer) -> None:
        names, turned = w.any_order(node.inputs)
        y = names[0]
        for number, other in enumerate(names[1:], 1):
            y = w.add(operator, [y, other], layer.name if number == 1 else f"{layer.name}_{number}")
        w.give(node.output, y, turned)

    return write


def many(operator: str) -> Callable[[Writer, Node, Layer], None]:
    def write(w: Writer, node: Node, layer: Layer) -> None:
        names, turned = w.any_order(node.inputs)
        w.give(node.output, w.add(operator, names, layer.name), turned)

    return write


def concatenate(w: Writer, node: Node, layer: Layer) -> None:
    names, turned = w.any_order(node.inputs)
    rank = len(node.output.example) + 1
    axis = layer.axis % rank
    at = (1 if axis == rank - 1 else axis + 1) if turned and axis else axis
    w.give(node.output, w.add("Concat", names, layer.name, axis=at), turned)


def activation(w: Writer, node: Node, layer: Layer) -> None:
    rowwise = layer.activation in ("softmax", "log_softmax")
    (x,), turned = w.any_order(node.inputs)
    axis = 1 if turned and rowwise else -1
    w.give(node.output, activated(w, x, layer.activation, layer.name, axis), turned)


def relu(w: Writer, node: Node, layer: Layer) -> None:
    if layer.threshold:
        raise ValueError(f"threshold of {layer.name} must be 0, got {layer.threshold}")
    (x,), turned = w.any_order(node.inputs)
    y = w.add("LeakyRelu", [x], layer.name, alpha=layer.negative_slope) if layer.negative_slope else (
        activated(w, x, layer.activation or "relu", layer.name)
    )  # fmt: skip
    if layer.max_value is not None and layer.activation != "relu6":
        y = w.add("Min", [y, w.number(layer.max_value, f"{layer.name}_most")], f"{layer.name}_bounded")
    w.give(node.output, y, turned)


def elu(w: Writer, node: Node, layer: Layer) -> None:
    (x,), turned = w.any_order(node.inputs)
    w.give(node.output, w.add("Elu", [x], layer.name, alpha=layer.alpha), turned)


def prelu(w: Writer, node: Node, layer: Layer) -> None:
    x = w.in_our_order(node.inputs[0])
    y = w.add("PRelu", [x, w.constant(layer.alpha.value, f"{layer.name}_alpha")], layer.name)
    w.give(node.output, y, False)


def softmax(w: Writer, node: Node, layer: Layer) -> None:
    y = w.add("Softmax", [w.in_our_order(node.inputs[0])], layer.name, axis=layer.axis)
    w.give(node.output, y, False)


def nothing(w: Writer, node: Node, layer: Layer) -> None:
    """A layer that prediction doesn't see."""
    (x,), turned = w.any_order(node.inputs)
    w.give(node.output, x, turned)


def reshaped(w: Writer, node: Node, layer: Layer) -> None:
    x = w.in_our_order(node.inputs[0])
    if isinstance(layer, layers.Flatten) and not layer.channels_last and len(node.inputs[0].example) > 1:
        x = w.add("Transpose", [x], f"{layer.name}_last", perm=last_axes(len(node.inputs[0].example) + 1))
    shape = w.constant(np.array([0, *node.output.example], np.int64), f"{layer.name}_shape")
    w.give(node.output, w.add("Reshape", [x, shape], layer.name), False)


def permuted(w: Writer, node: Node, layer: Layer) -> None:
    y = w.add("Transpose", [w.in_our_order(node.inputs[0])], layer.name, perm=(0, *layer.dims))
    w.give(node.output, y, False)


def repeated(w: Writer, node: Node, layer: Layer) -> None:
    axes = w.constant(np.array([1], np.int64), f"{layer.name}_axis")
    x = w.add("Unsqueeze", [w.in_our_order(node.inputs[0]), axes], f"{layer.name}_one")
    times = w.constant(np.array([1, layer.n, 1], np.int64), f"{layer.name}_times")
    w.give(node.output, w.add("Tile", [x, times], layer.name), False)


def zero_padding(w: Writer, node: Node, layer: Layer) -> None:
    amounts = w.constant(np.array(pads(((0, 0), (0, 0), *layer.border)), np.int64), f"{layer.name}_pads")
    y = w.add("Pad", [w.as_read(node.inputs[0], layer.channels_last), amounts], layer.name)
    w.give(node.output, y, layer.channels_last)


def cropping(w: Writer, node: Node, layer: Layer) -> None:
    example = node.inputs[0].example
    inside = example[:-1] if layer.channels_last else example[1:]
    starts = [before for before, _ in layer.border]
    ends = [size - after for size, (_, after) in zip(inside, layer.border, strict=True)]
    numbers = {"starts": starts, "ends": ends, "axes": [axis + 2 for axis in range(layer.rank)]}
    given = [w.constant(np.array(value, np.int64), f"{layer.name}_{name}") for name, value in numbers.items()]
    y = w.add("Slice", [w.as_read(node.inputs[0], layer.channels_last), *given], layer.name)
    w.give(node.output, y, layer.channels_last)


def resized(w: Writer, node: Node, layer: Layer) -> None:
    if getattr(layer, "crops", False) or getattr(layer, "pads", False):
        raise ValueError(f"{layer.name} must keep all of x, got one that crops or pads")
    last, name, example = layer.first == 1, layer.name, node.output.example
    out, channels = (example[:-1], example[-1]) if last else (example[1:], example[0])
    x = w.as_read(node.inputs[0], last)
    ends = [w.constant(np.array([n], np.int64), f"{name}_{label}") for n, label in ((0, "start"), (1, "end"))]
    batch = w.add("Slice", [w.add("Shape", [x], f"{name}_x_shape"), *ends], f"{name}_batch")
    rest = w.constant(np.array([channels, *out], np.int64), f"{name}_rest")
    wanted = w.add("Concat", [batch, rest], f"{name}_sizes", axis=0)
    mode = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}[layer.interpolation]
    y = w.add(
        "Resize", [x, "", "", wanted], name, mode=mode, coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil" if mode == "nearest" else None,
    )  # fmt: skip
    w.give(node.output, y, last)


def rescaled(w: Writer, node: Node, layer: Layer) -> None:
    (x,), turned = w.any_order(node.inputs)
    scale, offset = np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
    y = w.add("Mul", [x, w.constant(scale, f"{layer.name}_scale")], f"{layer.name}_product")
    w.give(node.output, w.add("Add", [y, w.constant(offset, f"{layer.name}_offset")], layer.name), turned)


def normalization(w: Writer, node: Node, layer: Layer) -> None:
    mean, deviation = layer.statistics(np.dtype(np.float32))
    names = [w.constant(mean, f"{layer.name}_mean"), w.constant(deviation, f"{layer.name}_deviation")]
    x, order = w.in_our_order(node.inputs[0]), ["Mul", "Add"] if layer.invert else ["Sub", "Div"]
    for operator, given in zip(order, names[::-1] if layer.invert else names, strict=True):
        x = w.add(operator, [x, given], f"{layer.name}_{operator.lower()}")
    w.give(node.output, x, False)


def embedding(w: Writer, node: Node, layer: Layer) -> None:
    kind = w.onnx.TensorProto.INT64
    at = w.add("Cast", [w.in_our_order(node.inputs[0])], f"{layer.name}_numbers", to=kind)
    rows = w.constant(layer.embeddings.value, f"{layer.name}_embeddings")
    w.give(node.output, w.add("Gather", [rows, at], layer.name), False)


IN_ALL = ("1D", "2D", "3D")
LAYERS: dict[type, Callable[[Writer, Node, Any], None]] = {
    **{getattr(layers, f"Conv{d}"): conv for d in IN_ALL},
    **{getattr(layers, f"Conv{d}Transpose"): transposed for d in IN_ALL},
    **{getattr(layers, f"{kind}Pooling{d}"): pool for kind in ("Max", "Average") for d in IN_ALL},
    **{getattr(layers, f"Global{kind}Pooling{d}"): global_pool for kind in ("Max", "Average") for d in IN_ALL},
    **{getattr(layers, f"ZeroPadding{d}"): zero_padding for d in IN_ALL},
    **{getattr(layers, f"Cropping{d}"): cropping for d in IN_ALL},
    **{getattr(layers, f"UpSampling{d}"): resized for d in IN_ALL},
    **{getattr(layers, f"SpatialDropout{d}"): nothing for d in IN_ALL},
    layers.DepthwiseConv1D: conv, layers.DepthwiseConv2D: conv, layers.SeparableConv1D: separable,
    layers.SeparableConv2D: separable, layers.Dense: dense, layers.BatchNormalization: batch_norm,
    layers.LayerNormalization: layer_norm, layers.GroupNormalization: group_norm,
    layers.Add: merge("Add"), layers.Subtract: merge("Sub"),
    layers.Multiply: merge("Mul"), layers.Average: many("Mean"), layers.Maximum: many("Max"),
    layers.Minimum: many("Min"), layers.Concatenate: concatenate, layers.Activation: activation, layers.ReLU: relu,
    layers.LeakyReLU: relu, layers.ELU: elu, layers.PReLU: prelu, layers.Softmax: softmax, layers.Dropout: nothing,
    GaussianNoise: nothing, GaussianDropout: nothing, AlphaDropout: nothing, layers.Identity: nothing,
    layers.Flatten: reshaped, layers.Reshape: reshaped, layers.Permute: permuted, layers.RepeatVector: repeated,
    layers.Resizing: resized, layers.Rescaling: rescaled, layers.Normalization: normalization,
    layers.Embedding: embedding, Cast: nothing,
}  # fmt: skip
