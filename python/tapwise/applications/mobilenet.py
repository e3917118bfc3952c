"""MobileNet: depthwise convolutions, each with one that mixes its channels. Howard et al., 2017."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from ..model import Model
from .ends import Ends, File
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]

WIDTHS = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
HALVING = (2, 4, 6, 12)  # the blocks that go to half the size


def normalized(x: Symbolic, name: str) -> Symbolic:
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    y: Symbolic = layers.ReLU(6.0, name=f"{name}_relu")(x)
    return y


def block(x: Symbolic, filters: int, depth_multiplier: int, number: int) -> Symbolic:
    strides, padding = 1, "same"
    if number in HALVING:
        strides, padding = 2, "valid"
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{number}")(x)
    name = f"conv_dw_{number}"
    x = layers.DepthwiseConv2D(3, strides, padding, depth_multiplier, use_bias=False, name=name)(x)
    x = normalized(x, name)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"conv_pw_{number}")(x)
    return normalized(x, f"conv_pw_{number}")


def MobileNet(
    input_shape: Sequence[int] | None = None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 1e-3,
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
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name or "mobilenet"
    )
    ends.name = name or f"mobilenet_{alpha:0.2f}_{ends.input.example[0]}"

    def features(x: Symbolic) -> Symbolic:
        x = layers.Conv2D(int(32 * alpha), 3, 2, "same", use_bias=False, name="conv1")(x)
        x = normalized(x, "conv1")
        for number, width in enumerate(WIDTHS, 1):
            x = block(x, int(width * alpha), depth_multiplier, number)
        return x

    def top(x: Symbolic) -> Symbolic:
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Conv2D(classes, 1, padding="same", name="conv_preds")(x)
        x = layers.Reshape((classes,), name="reshape_2")(x)
        y: Symbolic = layers.Activation(classifier_activation, name="predictions")(x)
        return y

    return ends.model(features, top)
