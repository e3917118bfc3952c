"""Layers that Keras has too: class, arguments, shape of one example."""

from typing import Any, NamedTuple

import numpy as np


class LayerCase(NamedTuple):
    name: str
    arguments: dict[str, Any]
    shape: tuple[int, ...] | list[tuple[int, ...]]

    def __str__(self):
        told = ", ".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.name}({told})"


FUNCTIONS = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "mish", "relu6", "selu", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sparsemax", "squareplus", "tanh_shrink",
]  # fmt: skip

CASES = [
    LayerCase("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, (7, 2)),
    LayerCase("Conv2D", {"filters": 4, "kernel_size": (2, 3), "strides": 2, "padding": "same", "groups": 2}, (5, 4, 2)),
    LayerCase("Conv3D", {"filters": 2, "kernel_size": 2, "activation": "tanh"}, (3, 4, 3, 2)),
    LayerCase("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, (4, 2)),
    LayerCase("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "activation": "silu"}, (3, 2, 2)),
    LayerCase("Conv2DTranspose", {"filters": 3, "kernel_size": 2, "strides": 3}, (3, 2, 2)),
    LayerCase("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "use_bias": False}, (3, 2, 2)),
    LayerCase("Conv2DTranspose",
              {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "data_format": "channels_first"},
              (2, 3, 3)),
    LayerCase("Conv3DTranspose", {"filters": 2, "kernel_size": 2, "strides": 2}, (2, 2, 3, 2)),
    LayerCase("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, (5, 2)),
    LayerCase("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "activation": "elu"}, (4, 4, 3)),
    LayerCase("SeparableConv1D", {"filters": 3, "kernel_size": 3, "depth_multiplier": 2}, (6, 2)),
    LayerCase("SeparableConv2D",
              {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"},
              (5, 5, 2)),
    LayerCase("SeparableConv2D", {"filters": 3, "kernel_size": 2, "data_format": "channels_first"}, (2, 4, 4)),
    LayerCase("Dense", {"units": 3, "activation": "selu"}, (4,)),
    LayerCase("Dense", {"units": 3, "activation": "log_softmax", "use_bias": False}, (2, 4)),
    LayerCase("Embedding", {"input_dim": 4, "output_dim": 3}, (5,)),
    LayerCase("BatchNormalization", {}, (3, 2, 2)),
    LayerCase("LayerNormalization", {}, (3, 4)),
    LayerCase("LayerNormalization", {"axis": [-2, -1], "scale": False}, (2, 3, 2)),
    LayerCase("GroupNormalization", {"groups": 2}, (3, 2, 4)),
    LayerCase("GroupNormalization", {"groups": -1, "axis": 1}, (3, 2, 4)),
    LayerCase("Normalization", {"mean": [0.5, -1.0], "variance": [4.0, 0.25]}, (3, 2)),
    LayerCase("Normalization", {"mean": 0.5, "variance": 4.0, "axis": None, "invert": True}, (3, 2)),
    LayerCase("Rescaling", {"scale": 0.5, "offset": -1.0}, (4,)),
    *(LayerCase(f"{kind}Pooling{len(shape) - 1}D", {"pool_size": 2, "padding": padding}, shape)
      for kind in ("Max", "Average") for padding in ("valid", "same") for shape in ((5, 2), (5, 4, 2), (3, 4, 5, 2))),
    *(LayerCase(f"Global{kind}Pooling{len(shape) - 1}D", {"keepdims": keepdims}, shape)
      for kind, keepdims in (("Max", False), ("Average", True)) for shape in ((5, 2), (5, 4, 2), (3, 4, 5, 2))),
    *(LayerCase(f"Adaptive{kind}Pooling{len(shape) - 1}D", {"output_size": 2}, shape)
      for kind in ("Max", "Average") for shape in ((5, 2), (5, 4, 2), (3, 4, 5, 2))),
    LayerCase("Flatten", {"data_format": "channels_first"}, (2, 3, 2)),
    LayerCase("Reshape", {"target_shape": (4, -1)}, (3, 2, 4)),
    LayerCase("Permute", {"dims": (3, 1, 2)}, (3, 2, 4)),
    LayerCase("RepeatVector", {"n": 3}, (4,)),
    LayerCase("ZeroPadding1D", {"padding": (1, 2)}, (3, 2)),
    LayerCase("ZeroPadding2D", {"padding": ((1, 0), (2, 1))}, (3, 2, 2)),
    LayerCase("ZeroPadding2D", {"padding": (1, 2), "data_format": "channels_first"}, (2, 3, 2)),
    LayerCase("ZeroPadding3D", {}, (2, 1, 3, 2)),
    LayerCase("Cropping1D", {"cropping": (1, 2)}, (5, 2)),
    LayerCase("Cropping2D", {"cropping": ((1, 0), (0, 2)), "data_format": "channels_first"}, (2, 3, 4)),
    LayerCase("Cropping3D", {}, (3, 4, 3, 2)),
    LayerCase("UpSampling1D", {"size": 3}, (3, 2)),
    LayerCase("UpSampling2D", {"size": (2, 3)}, (3, 2, 2)),
    LayerCase("UpSampling2D", {"interpolation": "bilinear", "data_format": "channels_first"}, (2, 3, 2)),
    LayerCase("UpSampling3D", {}, (2, 1, 2, 2)),
    LayerCase("Resizing", {"height": 5, "width": 2}, (3, 4, 2)),
    LayerCase("Resizing", {"height": 5, "width": 3, "interpolation": "nearest"}, (4, 7, 2)),
    LayerCase("Resizing", {"height": 7, "width": 3, "interpolation": "bicubic"}, (4, 5, 2)),
    LayerCase("Resizing", {"height": 4, "width": 4, "crop_to_aspect_ratio": True}, (6, 3, 2)),
    LayerCase("Resizing", {"height": 4, "width": 4, "pad_to_aspect_ratio": True}, (3, 7, 2)),
    LayerCase("CenterCrop", {"height": 3, "width": 2}, (6, 5, 2)),
    LayerCase("CenterCrop", {"height": 4, "width": 4}, (3, 6, 2)),
    *(LayerCase("Activation", {"activation": name}, (3, 4)) for name in FUNCTIONS),
    LayerCase("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, (4, 3)),
    LayerCase("LeakyReLU", {}, (4, 3)),
    LayerCase("ELU", {"alpha": 0.5}, (4, 3)),
    LayerCase("PReLU", {"shared_axes": [1]}, (4, 3)),
    LayerCase("Softmax", {"axis": 1}, (4, 3)),
    LayerCase("Add", {}, [(3, 2), (3, 2), (3, 2)]),
    LayerCase("Subtract", {}, [(3, 2), (3, 2)]),
    LayerCase("Multiply", {}, [(3, 2), (3, 2), (3, 2)]),
    LayerCase("Multiply", {}, [(1, 1, 2), (3, 4, 2), (1, 4, 1)]),
    LayerCase("Average", {}, [(3, 2), (3, 2)]),
    LayerCase("Maximum", {}, [(3, 2), (3, 2)]),
    LayerCase("Minimum", {}, [(3, 2), (3, 2)]),
    LayerCase("Concatenate", {"axis": 1}, [(3, 2), (4, 2)]),
]  # fmt: skip


def inputs(case, rng):
    """Examples of three; of whole numbers for Embedding."""
    many = isinstance(case.shape, list)
    shapes = case.shape if many else [case.shape]
    if case.name == "Embedding":
        return rng.integers(0, case.arguments["input_dim"], (3, *case.shape)).astype(np.float64)
    made = [rng.standard_normal((3, *shape)) for shape in shapes]
    return made if many else made[0]
