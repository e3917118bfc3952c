"""MobileNetV2: blocks widen by a 1x1 convolution, convolve by depth and narrow again. Sandler et al., 2018."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from ..model import Model
from .ends import Ends, File
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]

# Filters of each block, and its strides.
BLOCKS = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (96, 1), (96, 1), (96, 1),
    (160, 2), (160, 1), (160, 1), (320, 1),
)  # fmt: skip


def rounded(width: float) -> int:
    """A multiple of 8, the nearest one that isn't more than a tenth less."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


def halving(x: Symbolic, kernel: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is to be padded before a convolution with strides of 2: an even side is one short in front."""
    rows, columns = ((kernel // 2 - (size + 1) % 2, kernel // 2) for size in x.example[:2])
    return rows, columns


def normalized(x: Symbolic, name: str, relu: str | None = None) -> Symbolic:
    x = layers.BatchNormalization(momentum=0.999, name=name)(x)
    return layers.ReLU(6.0, name=relu)(x) if relu else x


def block(x: Symbolic, filters: int, strides: int, number: int) -> Symbolic:
    entry, width, name = x, x.example[-1], f"block_{number}_" if number else "expanded_conv_"
    if number:
        x = layers.Conv2D(6 * width, 1, padding="same", use_bias=False, name=f"{name}expand")(x)
        x = normalized(x, f"{name}expand_BN", f"{name}expand_relu")
    if strides == 2:
        x = layers.ZeroPadding2D(halving(x, 3), name=f"{name}pad")(x)
    padding = "valid" if strides == 2 else "same"
    x = layers.DepthwiseConv2D(3, strides, padding, use_bias=False, name=f"{name}depthwise")(x)
    x = normalized(x, f"{name}depthwise_BN", f"{name}depthwise_relu")
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{name}project")(x)
    x = normalized(x, f"{name}project_BN")
    return layers.Add(name=f"{name}add")([entry, x]) if strides == 1 and width == filters else x


def MobileNetV2(
    input_shape: Sequence[int] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: File | None = None,
    input_tensor: Symbolic | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> Model:
    """x (n, 224, 224, 3) -> (n, classes). alpha multiplies the width of all layers; the rest is as for the others."""
    ends = Ends(
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name or "mobilenetv2"
    )
    ends.name = name or f"mobilenetv2_{alpha:0.2f}_{ends.input.example[0]}"

    def features(x: Symbolic) -> Symbolic:
        x = layers.Conv2D(rounded(32 * alpha), 3, 2, "same", use_bias=False, name="Conv1")(x)
        x = normalized(x, "bn_Conv1", "Conv1_relu")
        for number, (filters, strides) in enumerate(BLOCKS):
            x = block(x, rounded(int(filters * alpha)), strides, number)
        x = layers.Conv2D(rounded(1280 * max(alpha, 1.0)), 1, use_bias=False, name="Conv_1")(x)
        return normalized(x, "Conv_1_bn", "out_relu")

    return ends.model(features)
