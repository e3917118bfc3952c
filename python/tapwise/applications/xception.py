"""Xception: separable convolutions with residual sums. Chollet, 2017."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input

__all__ = ["Xception", "decode_predictions", "preprocess_input"]


def convolution(x: Symbolic, filters: int, name: str, strides: int = 1) -> Symbolic:
    x = layers.Conv2D(filters, 3, strides, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    y: Symbolic = layers.Activation("relu", name=f"{name}_act")(x)
    return y


def separable(x: Symbolic, filters: int, name: str) -> Symbolic:
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    y: Symbolic = layers.BatchNormalization(name=f"{name}_bn")(x)
    return y


def block(x: Symbolic, filters: Sequence[int], name: str, *, relu_first: bool = True, pools: bool = True) -> Symbolic:
    """x + separable convolutions with a ReLU before each; where it pools, to half the size."""
    shortcut = x
    if pools:
        shortcut = layers.Conv2D(filters[-1], 1, 2, "same", use_bias=False)(x)
        shortcut = layers.BatchNormalization()(shortcut)
    for number, width in enumerate(filters, 1):
        if relu_first or number > 1:
            x = layers.Activation("relu", name=f"{name}_sepconv{number}_act")(x)
        x = separable(x, width, f"{name}_sepconv{number}")
    if pools:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    y: Symbolic = layers.Add()([x, shortcut])
    return y


def features(x: Symbolic) -> Symbolic:
    x = convolution(x, 32, "block1_conv1", strides=2)
    x = convolution(x, 64, "block1_conv2")
    for number, width in enumerate((128, 256, 728), 2):
        x = block(x, (width, width), f"block{number}", relu_first=number > 2)
    for number in range(5, 13):
        x = block(x, (728, 728, 728), f"block{number}", pools=False)
    x = block(x, (728, 1024), "block13")
    for number, width in enumerate((1536, 2048), 1):
        x = separable(x, width, f"block14_sepconv{number}")
        x = layers.Activation("relu", name=f"block14_sepconv{number}_act")(x)
    return x


Xception = Application("xception", features, size=299, smallest=71)
