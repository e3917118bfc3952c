"""AlexNet in one column, without normalization: 256 maps of 13x13 come last. Krizhevsky, 2014 (and et al., 2012)."""

from __future__ import annotations

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application, Ends
from .imagenet import decode_predictions
from .imagenet import standardized as preprocess_input

__all__ = ["AlexNet", "decode_predictions", "preprocess_input"]


def features(x: Symbolic) -> Symbolic:
    x = layers.Conv2D(64, 11, 4, 2, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = layers.Conv2D(192, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool2")(x)
    for number, filters in enumerate((384, 256, 256), 3):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
    y: Symbolic = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    return y


def top(ends: Ends, x: Symbolic) -> Symbolic:
    x = layers.AdaptiveAveragePooling2D(6, name="avg_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dropout(0.5)(x)
        x = layers.Dense(4096, activation="relu", name=name)(x)
    return ends.classifier(x)


AlexNet = Application("alexnet", features, top, smallest=63)
