"""ResNetV2: normalization and ReLU come before the convolutions, so that sums are never cut off. He et al., 2016."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application, Features
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input
from .resnet import norm, pooled, stem

__all__ = ["ResNet50V2", "ResNet101V2", "ResNet152V2", "decode_predictions", "preprocess_input"]


def bottleneck(x: Symbolic, filters: int, strides: int, projected: bool, name: str) -> Symbolic:
    ready = norm(x, f"{name}_preact_bn", relu=f"{name}_preact_relu")
    if projected:
        shortcut = layers.Conv2D(4 * filters, 1, strides, name=f"{name}_0_conv")(ready)
    else:
        shortcut = layers.MaxPooling2D(1, strides)(x) if strides > 1 else x
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(ready)
    y = norm(y, f"{name}_1_bn", relu=f"{name}_1_relu")
    y = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(y)
    y = layers.Conv2D(filters, 3, strides, use_bias=False, name=f"{name}_2_conv")(y)
    y = norm(y, f"{name}_2_bn", relu=f"{name}_2_relu")
    y = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(y)
    total: Symbolic = layers.Add(name=f"{name}_out")([shortcut, y])
    return total


def resnet_v2(depths: Sequence[int]) -> Features:
    """depths: how many blocks each stage has; the last one of the first three goes to half the size."""

    def features(x: Symbolic) -> Symbolic:
        x = pooled(stem(x))
        for stage, depth in enumerate(depths):
            for block in range(depth):
                strides = 2 if stage < 3 and block == depth - 1 else 1
                x = bottleneck(x, 64 << stage, strides, not block, f"conv{stage + 2}_block{block + 1}")
        return norm(x, "post_bn", relu="post_relu")

    return features


ResNet50V2 = Application("resnet50v2", resnet_v2((3, 4, 6, 3)))
ResNet101V2 = Application("resnet101v2", resnet_v2((3, 4, 23, 3)))
ResNet152V2 = Application("resnet152v2", resnet_v2((3, 8, 36, 3)))
