"""EfficientNet-Lite0: EfficientNetB0 with ReLU6 and without weighed channels, for devices that compute in int8.

R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .efficientnet import Network, block_names, top
from .ends import Application
from .imagenet import Array, decode_predictions

__all__ = ["EfficientNetLite0", "decode_predictions", "preprocess_input", "pytorch_names"]

EfficientNetLite0 = Application("efficientnet_lite0", Network("relu6", weighs=False).features, top)


def preprocess_input(x: ArrayLike, data_format: str | None = None) -> Array:
    """x of any shape, 0..255 -> (x - 127) / 128, float32."""
    return (np.asarray(x, np.float32) - np.float32(127)) / np.float32(128)


def pytorch_names() -> dict[str, str]:
    """The module of each layer in state dicts of efficientnet_pytorch's kind, for saving.load_weights(names=...)."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    within = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1"}
    within |= {"project_conv": "_project_conv", "project_bn": "_bn2"}
    for number, block in enumerate(block_names()):
        some = {ours: theirs for ours, theirs in within.items() if number or not ours.startswith("expand")}
        names |= {f"{block}{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in some.items()}
    return names | {"predictions": "_fc"}
