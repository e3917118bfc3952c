"""DenseNet: each block reads the maps of all blocks before it. Huang et al., 2017."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application, Features
from .imagenet import decode_predictions
from .imagenet import standardized as preprocess_input
from .resnet import norm

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]

GROWTH = 32  # maps that a block adds


def block(x: Symbolic, name: str) -> Symbolic:
    y = norm(x, f"{name}_0_bn", relu=f"{name}_0_relu")
    y = layers.Conv2D(4 * GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(y)
    y = norm(y, f"{name}_1_bn", relu=f"{name}_1_relu")
    y = layers.Conv2D(GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(y)
    joined: Symbolic = layers.Concatenate(name=f"{name}_concat")([x, y])
    return joined


def transition(x: Symbolic, name: str) -> Symbolic:
    """To half the maps of half the size."""
    x = norm(x, f"{name}_bn", relu=f"{name}_relu")
    x = layers.Conv2D(x.example[-1] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    y: Symbolic = layers.AveragePooling2D(name=f"{name}_pool")(x)
    return y


def densenet(depths: Sequence[int]) -> Features:
    """depths: how many blocks each stage has."""

    def features(x: Symbolic) -> Symbolic:
        x = layers.ZeroPadding2D(3)(x)
        x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
        x = norm(x, "conv1_bn", relu="conv1_relu")
        x = layers.ZeroPadding2D(1)(x)
        x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
        for stage, depth in enumerate(depths, 2):
            x = transition(x, f"pool{stage - 1}") if stage > 2 else x
            for number in range(1, depth + 1):
                x = block(x, f"conv{stage}_block{number}")
        return norm(x, "bn", relu="relu")

    return features


DenseNet121 = Application("densenet121", densenet((6, 12, 24, 16)))
DenseNet169 = Application("densenet169", densenet((6, 12, 32, 32)))
DenseNet201 = Application("densenet201", densenet((6, 12, 48, 32)))
