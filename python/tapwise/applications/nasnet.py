"""NASNet-A: two kinds of cells that a search has found, each of which reads the two cells before. Zoph et al., 2018."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from ..model import Model
from .ends import Ends, File
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input
from .mobilenet_v2 import halving

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]


def relu(x: Symbolic) -> Symbolic:
    y: Symbolic = layers.Activation("relu")(x)
    return y


def norm(x: Symbolic, name: str) -> Symbolic:
    y: Symbolic = layers.BatchNormalization(momentum=0.9997, name=name)(x)
    return y


def pointwise(x: Symbolic, filters: int, name: str) -> Symbolic:
    conv = layers.Conv2D(filters, 1, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)
    y: Symbolic = conv(x)
    return y


def separable(x: Symbolic, filters: int, kernel: int, name: str, strides: int = 1) -> Symbolic:
    """ReLU, separable convolution and normalization, twice; strides are the first one's."""
    x = relu(x)
    if strides == 2:
        x = layers.ZeroPadding2D(halving(x, kernel), name=f"separable_conv_1_pad_{name}")(x)
    padding = "valid" if strides == 2 else "same"
    x = layers.SeparableConv2D(
        filters, kernel, strides, padding, use_bias=False, name=f"separable_conv_1_{name}"
    )(x)  # fmt: skip
    x = relu(norm(x, f"separable_conv_1_bn_{name}"))
    x = layers.SeparableConv2D(filters, kernel, padding="same", use_bias=False, name=f"separable_conv_2_{name}")(x)
    return norm(x, f"separable_conv_2_bn_{name}")


def average(x: Symbolic, name: str) -> Symbolic:
    y: Symbolic = layers.AveragePooling2D(3, strides=1, padding="same", name=name)(x)
    return y


def added(one: Symbolic, other: Symbolic, name: str | None = None) -> Symbolic:
    y: Symbolic = layers.Add(name=name)([one, other])
    return y


def adjusted(before: Symbolic, x: Symbolic, filters: int, name: str) -> Symbolic:
    """`before` in the size of x, with that many filters."""
    if before.example[1] != x.example[1]:
        before = layers.Activation("relu", name=f"adjust_relu_1_{name}")(before)
        shifted = layers.ZeroPadding2D(((0, 1), (0, 1)))(before)
        shifted = layers.Cropping2D(((1, 0), (1, 0)))(shifted)
        halves = []
        for number, part in enumerate((before, shifted), 1):
            part = layers.AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_{number}_{name}")(part)
            halves.append(pointwise(part, filters // 2, f"adjust_conv_{number}_{name}"))
        return norm(layers.Concatenate()(halves), f"adjust_bn_{name}")
    if before.example[-1] != filters:
        before = pointwise(relu(before), filters, f"adjust_conv_projection_{name}")
        return norm(before, f"adjust_bn_{name}")
    return before


def normal(x: Symbolic, before: Symbolic | None, filters: int, name: str) -> Symbolic:
    p = x if before is None else adjusted(before, x, filters, name)
    h = norm(pointwise(relu(x), filters, f"normal_conv_1_{name}"), f"normal_bn_1_{name}")
    left = separable(h, filters, 5, f"normal_left1_{name}")
    one = added(left, separable(p, filters, 3, f"normal_right1_{name}"), f"normal_add_1_{name}")
    left = separable(p, filters, 5, f"normal_left2_{name}")
    two = added(left, separable(p, filters, 3, f"normal_right2_{name}"), f"normal_add_2_{name}")
    three = added(average(h, f"normal_left3_{name}"), p, f"normal_add_3_{name}")
    four = added(average(p, f"normal_left4_{name}"), average(p, f"normal_right4_{name}"), f"normal_add_4_{name}")
    five = added(separable(h, filters, 3, f"normal_left5_{name}"), h, f"normal_add_5_{name}")
    y: Symbolic = layers.Concatenate(name=f"normal_concat_{name}")([p, one, two, three, four, five])
    return y


def reduction(x: Symbolic, before: Symbolic | None, filters: int, name: str) -> Symbolic:
    """To half the size."""
    p = x if before is None else adjusted(before, x, filters, name)
    h = norm(pointwise(relu(x), filters, f"reduction_conv_1_{name}"), f"reduction_bn_1_{name}")
    padded = layers.ZeroPadding2D(halving(h, 3), name=f"reduction_pad_1_{name}")(h)
    left = separable(h, filters, 5, f"reduction_left1_{name}", 2)
    one = added(left, separable(p, filters, 7, f"reduction_right1_{name}", 2), f"reduction_add_1_{name}")
    left = layers.MaxPooling2D(3, strides=2, name=f"reduction_left2_{name}")(padded)
    two = added(left, separable(p, filters, 7, f"reduction_right2_{name}", 2), f"reduction_add_2_{name}")
    left = layers.AveragePooling2D(3, strides=2, name=f"reduction_left3_{name}")(padded)
    three = added(left, separable(p, filters, 5, f"reduction_right3_{name}", 2), f"reduction_add3_{name}")
    four = added(two, average(one, f"reduction_left4_{name}"))
    left = separable(one, filters, 3, f"reduction_left4_{name}")
    right = layers.MaxPooling2D(3, strides=2, name=f"reduction_right5_{name}")(padded)
    five = added(left, right, f"reduction_add4_{name}")
    y: Symbolic = layers.Concatenate(name=f"reduction_concat_{name}")([two, three, four, five])
    return y


def cells(x: Symbolic, stem: int, repeats: int, filters: int, skips: bool) -> Symbolic:
    """filters are those of the first normal cells; skips: cells behind a reduction read the one two before it."""
    x = layers.Conv2D(stem, 3, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv1")(x)
    x = norm(x, "stem_bn1")
    before: Symbolic | None = None
    for number, width in enumerate((filters // 4, filters // 2), 1):
        x, before = reduction(x, before, width, f"stem_{number}"), x
    for stage in range(3):
        width, first = filters << stage, stage * repeats
        if stage:
            reduced = reduction(x, before, width, f"reduce_{first}")
            x, before = reduced, before if skips else x
        for number in range(first, first + repeats):
            x, before = normal(x, before, width, str(number + (stage > 0))), x
    return relu(x)


def NASNetMobile(
    input_shape: Sequence[int] | None = None,
    include_top: bool = True,
    weights: File | None = None,
    input_tensor: Symbolic | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "nasnet_mobile",
) -> Model:
    """x (n, 224, 224, 3) -> (n, classes)."""
    ends = Ends(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
    return ends.model(lambda x: cells(x, 32, 4, 44, skips=False))


def NASNetLarge(
    input_shape: Sequence[int] | None = None,
    include_top: bool = True,
    weights: File | None = None,
    input_tensor: Symbolic | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "nasnet_large",
) -> Model:
    """x (n, 331, 331, 3) -> (n, classes)."""
    ends = Ends(
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name, size=331
    )
    return ends.model(lambda x: cells(x, 96, 6, 168, skips=True))
