"""Inception v3: branches of different windows side by side, large ones as rows of small ones. Szegedy et al., 2015."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input

__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]

Kernel = int | tuple[int, int]
ROW, COLUMN = (1, 7), (7, 1)


def conv(x: Symbolic, filters: int, kernel: Kernel, strides: int = 1, padding: str = "same") -> Symbolic:
    x = layers.Conv2D(filters, kernel, strides, padding, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    y: Symbolic = layers.Activation("relu")(x)
    return y


def chain(x: Symbolic, *convolutions: tuple[int, Kernel]) -> Symbolic:
    """One after the other, each of (filters, kernel)."""
    for filters, kernel in convolutions:
        x = conv(x, filters, kernel)
    return x


def halved(x: Symbolic) -> Symbolic:
    y: Symbolic = layers.MaxPooling2D(3, strides=2)(x)
    return y


def averaged(x: Symbolic, filters: int) -> Symbolic:
    return conv(layers.AveragePooling2D(3, strides=1, padding="same")(x), filters, 1)


def joined(branches: Sequence[Symbolic], name: str | None = None) -> Symbolic:
    y: Symbolic = layers.Concatenate(name=name)(list(branches))
    return y


def stem(x: Symbolic) -> Symbolic:
    """To an eighth of the size, 192 maps."""
    x = conv(x, 32, 3, 2, "valid")
    x = conv(x, 32, 3, 1, "valid")
    x = halved(conv(x, 64, 3))
    x = conv(x, 80, 1, 1, "valid")
    return halved(conv(x, 192, 3, 1, "valid"))


def squares(x: Symbolic, pooled: int, name: str) -> Symbolic:
    branches = [
        chain(x, (64, 1)),
        chain(x, (48, 1), (64, 5)),
        chain(x, (64, 1), (96, 3), (96, 3)),
        averaged(x, pooled),
    ]
    return joined(branches, name)


def crosses(x: Symbolic, width: int, name: str) -> Symbolic:
    """7x7 as 1x7 and 7x1."""
    branches = [
        chain(x, (192, 1)),
        chain(x, (width, 1), (width, ROW), (192, COLUMN)),
        chain(x, (width, 1), (width, COLUMN), (width, ROW), (width, COLUMN), (192, ROW)),
        averaged(x, 192),
    ]
    return joined(branches, name)


def wide(x: Symbolic, number: int) -> Symbolic:
    """Two branches end in two convolutions side by side."""
    one = chain(x, (320, 1))
    two = chain(x, (384, 1))
    two = joined([conv(two, 384, (1, 3)), conv(two, 384, (3, 1))], f"mixed9_{number}")
    three = chain(x, (448, 1), (384, 3))
    three = joined([conv(three, 384, (1, 3)), conv(three, 384, (3, 1))])
    return joined([one, two, three, averaged(x, 192)], f"mixed{9 + number}")


def features(x: Symbolic) -> Symbolic:
    x = stem(x)
    for number, pooled in enumerate((32, 64, 64)):
        x = squares(x, pooled, f"mixed{number}")
    branches = [conv(x, 384, 3, 2, "valid"), conv(chain(x, (64, 1), (96, 3)), 96, 3, 2, "valid"), halved(x)]
    x = joined(branches, "mixed3")
    for number, width in enumerate((128, 160, 160, 192), 4):
        x = crosses(x, width, f"mixed{number}")
    one = conv(chain(x, (192, 1)), 320, 3, 2, "valid")
    two = conv(chain(x, (192, 1), (192, ROW), (192, COLUMN)), 192, 3, 2, "valid")
    x = joined([one, two, halved(x)], "mixed8")
    return wide(wide(x, 0), 1)


InceptionV3 = Application("inception_v3", features, size=299, smallest=75)
