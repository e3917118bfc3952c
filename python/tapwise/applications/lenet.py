"""LeNet-5, as it is taught: averages for its weighted subsampling, each map of the second layer reads all of the first.

LeCun et al., 1998.
"""

from __future__ import annotations

from .. import layers
from ..layers.symbolic import Symbolic
from .ends import Application, Ends
from .imagenet import scaled as preprocess_input

__all__ = ["LeNet5", "preprocess_input"]


def features(x: Symbolic) -> Symbolic:
    x = layers.Conv2D(6, 5, padding="same", activation="tanh", name="conv1")(x)
    x = layers.AveragePooling2D(name="pool1")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="conv2")(x)
    y: Symbolic = layers.AveragePooling2D(name="pool2")(x)
    return y


def top(ends: Ends, x: Symbolic) -> Symbolic:
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation="tanh", name="fc1")(x)
    x = layers.Dense(84, activation="tanh", name="fc2")(x)
    return ends.classifier(x)


LeNet5 = Application("lenet5", features, top, size=28, smallest=12, channels=1, classes=10)
