"""VGG: blocks of 3x3 convolutions with poolings between. Simonyan & Zisserman, 2014."""

from __future__ import annotations

from collections.abc import Sequence

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Ends, Features


def blocks(depths: Sequence[int]) -> Features:
    """depths: how many convolutions each block has."""

    def features(x: Symbolic) -> Symbolic:
        for block, (depth, filters) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), 1):
            for number in range(1, depth + 1):
                name = f"block{block}_conv{number}"
                x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        return x

    return features


def top(ends: Ends, x: Symbolic) -> Symbolic:
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
    return ends.classifier(x)
