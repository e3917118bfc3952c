"""Inception-ResNet v2: what the branches make is scaled down and added to their input. Szegedy et al., 2016."""

from __future__ import annotations

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application
from .imagenet import decode_predictions
from .imagenet import scaled as preprocess_input
from .inception_v3 import Kernel, averaged, chain, conv, halved, joined, stem

__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]

# Each kind of block: the convolutions (filters, kernel) of its branches.
BRANCHES: dict[str, tuple[tuple[tuple[int, Kernel], ...], ...]] = {
    "block35": (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))),
    "block17": (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))),
    "block8": (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))),
}


def block(x: Symbolic, scale: float, kind: str, number: int, relu: bool = True) -> Symbolic:
    """x + scale * conv(the branches)."""
    name = f"{kind}_{number}"
    mixed = joined([chain(x, *convolutions) for convolutions in BRANCHES[kind]], f"{name}_mixed")
    y = layers.Conv2D(x.example[-1], 1, padding="same", name=f"{name}_conv")(mixed)
    y = layers.Rescaling(scale, name=f"{name}_scale")(y)
    total: Symbolic = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation("relu", name=f"{name}_ac")(total) if relu else total


def features(x: Symbolic) -> Symbolic:
    x = stem(x)
    branches = [chain(x, (96, 1)), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3)), averaged(x, 64)]
    x = joined(branches, "mixed_5b")
    for number in range(1, 11):
        x = block(x, 0.17, "block35", number)
    branches = [conv(x, 384, 3, 2, "valid"), conv(chain(x, (256, 1), (256, 3)), 384, 3, 2, "valid"), halved(x)]
    x = joined(branches, "mixed_6a")
    for number in range(1, 21):
        x = block(x, 0.1, "block17", number)
    one = conv(chain(x, (256, 1)), 384, 3, 2, "valid")
    two = conv(chain(x, (256, 1)), 288, 3, 2, "valid")
    three = conv(chain(x, (256, 1), (288, 3)), 320, 3, 2, "valid")
    x = joined([one, two, three, halved(x)], "mixed_7a")
    for number in range(1, 11):
        last = number == 10
        x = block(x, 1.0 if last else 0.2, "block8", number, relu=not last)
    x = layers.Conv2D(1536, 1, padding="same", use_bias=False, name="conv_7b")(x)
    x = layers.BatchNormalization(scale=False, name="conv_7b_bn")(x)
    y: Symbolic = layers.Activation("relu", name="conv_7b_ac")(x)
    return y


InceptionResNetV2 = Application("inception_resnet_v2", features, size=299, smallest=75)
