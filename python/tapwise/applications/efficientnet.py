"""EfficientNet: MobileNetV2's blocks whose channels are weighed by what is in them. Tan & Le, 2019."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import initializers, layers
from ..layers.symbolic import Symbolic
from ..model import Model
from .ends import Application, Ends
from .imagenet import RGB_DEVIATION, decode_predictions
from .imagenet import unchanged as preprocess_input
from .mobilenet_v2 import halving

__all__ = ["EfficientNetB0", "decode_predictions", "preprocess_input"]

# Each stage: blocks, kernel, strides of the first block, how many times wider inside, filters.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
DROPPED = 0.2  # share of the features; and of the blocks, from 0 at the first on


def block_names() -> Iterator[str]:
    """block1a_, block2a_, block2b_, ..."""
    for stage, (blocks, *_) in enumerate(STAGES, 1):
        yield from (f"block{stage}{'abcd'[number]}_" for number in range(blocks))


class Network:
    """The body of the family: activation is that between layers; `weighs` channels or doesn't."""

    def __init__(self, activation: str, weighs: bool) -> None:
        self.activation, self.weighs = activation, weighs

    def conv(self, x: Symbolic, filters: int, name: str, activation: str | None = None) -> Symbolic:
        """1x1, with a bias where there is an activation and so no normalization."""
        conv = layers.Conv2D(
            filters, 1, padding="same", activation=activation, use_bias=activation is not None,
            kernel_initializer=initializers.VarianceScaling(2.0, "fan_out"), name=name,
        )  # fmt: skip
        y: Symbolic = conv(x)
        return y

    def normalized(self, x: Symbolic, norm: str, activation: str) -> Symbolic:
        x = layers.BatchNormalization(name=norm)(x)
        y: Symbolic = layers.Activation(self.activation, name=activation)(x)
        return y

    def weighed(self, x: Symbolic, filters: int, name: str) -> Symbolic:
        """Each channel times a number in [0, 1] that depends on the means of all. Hu et al., 2018."""
        width = x.example[-1]
        y = layers.GlobalAveragePooling2D(name=f"{name}se_squeeze")(x)
        y = layers.Reshape((1, 1, width), name=f"{name}se_reshape")(y)
        y = self.conv(y, filters, f"{name}se_reduce", self.activation)
        y = self.conv(y, width, f"{name}se_expand", "sigmoid")
        z: Symbolic = layers.Multiply(name=f"{name}se_excite")([x, y])
        return z

    def block(
        self, x: Symbolic, kernel: int, strides: int, wider: int, filters: int, dropped: float, name: str
    ) -> Symbolic:
        entry, width = x, x.example[-1]
        if wider > 1:
            x = self.conv(x, wider * width, f"{name}expand_conv")
            x = self.normalized(x, f"{name}expand_bn", f"{name}expand_activation")
        if strides == 2:
            x = layers.ZeroPadding2D(halving(x, kernel), name=f"{name}dwconv_pad")(x)
        x = layers.DepthwiseConv2D(
            kernel, strides, "valid" if strides == 2 else "same", use_bias=False,
            depthwise_initializer=initializers.VarianceScaling(2.0, "fan_out"), name=f"{name}dwconv",
        )(x)  # fmt: skip
        x = self.normalized(x, f"{name}bn", f"{name}activation")
        if self.weighs:
            x = self.weighed(x, max(1, width // 4), name)
        x = self.conv(x, filters, f"{name}project_conv")
        x = layers.BatchNormalization(name=f"{name}project_bn")(x)
        if strides > 1 or width != filters:
            return x
        x = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
        y: Symbolic = layers.Add(name=f"{name}add")([x, entry])
        return y

    def features(self, x: Symbolic) -> Symbolic:
        x = layers.ZeroPadding2D(halving(x, 3), name="stem_conv_pad")(x)
        first = initializers.VarianceScaling(2.0, "fan_out")
        x = layers.Conv2D(32, 3, 2, use_bias=False, kernel_initializer=first, name="stem_conv")(x)
        x = self.normalized(x, "stem_bn", "stem_activation")
        names = list(block_names())
        rest = iter(enumerate(names))
        for blocks, kernel, strides, wider, filters in STAGES:
            for number in range(blocks):
                place, name = next(rest)
                dropped = DROPPED * place / len(names)
                x = self.block(x, kernel, 1 if number else strides, wider, filters, dropped, name)
        x = self.conv(x, 1280, "top_conv")
        return self.normalized(x, "top_bn", "top_activation")


def top(ends: Ends, x: Symbolic) -> Symbolic:
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(DROPPED, name="top_dropout")(x)
    first = initializers.VarianceScaling(1 / 3, "fan_out", "uniform")
    y: Symbolic = layers.Dense(ends.classes, ends.activation, kernel_initializer=first, name="predictions")(x)
    return y


def with_pixels(x: Symbolic) -> Symbolic:
    """From 0..255, by means and variances that are part of the weights."""
    x = layers.Rescaling(1 / 255)(x)
    return Network("swish", weighs=True).features(layers.Normalization()(x))


def squared(model: Model) -> None:
    """Keras' published weights hold deviations where variances belong, so that it divides by their roots once more."""
    variance = next(layer for layer in model.layers if isinstance(layer, layers.Normalization)).weights[1].value
    if variance.shape == (3,) and np.allclose(variance, RGB_DEVIATION, rtol=0, atol=1e-3):
        variance *= variance


EfficientNetB0 = Application("efficientnetb0", with_pixels, top, loaded=squared)
