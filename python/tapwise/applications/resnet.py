"""ResNet: each block adds to its input what three convolutions make of it. He et al., 2015.

ResNet18 and ResNet20 are the paper's networks of two convolutions a block, for small images: a 3x3 stem without
pooling, ResNet20 as for CIFAR-10, ResNet18 of four times its width.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application, Features
from .imagenet import centred_bgr as preprocess_input
from .imagenet import decode_predictions

__all__ = ["ResNet18", "ResNet20", "ResNet50", "ResNet101", "ResNet152", "decode_predictions", "preprocess_input"]

EPSILON = 1.001e-5


def stem(x: Symbolic) -> Symbolic:
    """To half the size, before normalization."""
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    y: Symbolic = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    return y


def pooled(x: Symbolic) -> Symbolic:
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    y: Symbolic = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    return y


def norm(x: Symbolic, name: str, *, relu: str | None = None) -> Symbolic:
    """Batch normalization, and a ReLU where `relu` names one."""
    x = layers.BatchNormalization(epsilon=EPSILON, name=name)(x)
    return layers.Activation("relu", name=relu)(x) if relu else x


def bottleneck(x: Symbolic, filters: int, strides: int, projected: bool, name: str) -> Symbolic:
    shortcut = x
    if projected:
        shortcut = layers.Conv2D(4 * filters, 1, strides, name=f"{name}_0_conv")(x)
        shortcut = norm(shortcut, f"{name}_0_bn")
    x = layers.Conv2D(filters, 1, strides, name=f"{name}_1_conv")(x)
    x = norm(x, f"{name}_1_bn", relu=f"{name}_1_relu")
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = norm(x, f"{name}_2_bn", relu=f"{name}_2_relu")
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    x = norm(x, f"{name}_3_bn")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    y: Symbolic = layers.Activation("relu", name=f"{name}_out")(x)
    return y


def resnet(depths: Sequence[int]) -> Features:
    """depths: how many blocks each of the four stages has."""

    def features(x: Symbolic) -> Symbolic:
        x = pooled(norm(stem(x), "conv1_bn", relu="conv1_relu"))
        for stage, depth in enumerate(depths):
            for block in range(depth):
                strides = 2 if stage and not block else 1
                x = bottleneck(x, 64 << stage, strides, not block, f"conv{stage + 2}_block{block + 1}")
        return x

    return features


def two_convolutions(x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
    shortcut = x
    if strides > 1:
        shortcut = layers.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_0_conv")(x)
        shortcut = norm(shortcut, f"{name}_0_bn")
    x = layers.Conv2D(filters, 3, strides, "same", use_bias=False, name=f"{name}_1_conv")(x)
    x = norm(x, f"{name}_1_bn", relu=f"{name}_1_relu")
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(x)
    x = norm(x, f"{name}_2_bn")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    y: Symbolic = layers.Activation("relu", name=f"{name}_out")(x)
    return y


def small(filters: int, depths: Sequence[int]) -> Features:
    def features(x: Symbolic) -> Symbolic:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name="conv1_conv")(x)
        x = norm(x, "conv1_bn", relu="conv1_relu")
        for stage, depth in enumerate(depths):
            for block in range(depth):
                strides = 2 if stage and not block else 1
                x = two_convolutions(x, filters << stage, strides, f"conv{stage + 2}_block{block + 1}")
        return x

    return features


ResNet50 = Application("resnet50", resnet((3, 4, 6, 3)))
ResNet101 = Application("resnet101", resnet((3, 4, 23, 3)))
ResNet152 = Application("resnet152", resnet((3, 8, 36, 3)))
ResNet18 = Application("resnet18", small(64, (2, 2, 2, 2)), size=32, smallest=8, classes=10)
ResNet20 = Application("resnet20", small(16, (3, 3, 3)), size=32, smallest=8, classes=10)
