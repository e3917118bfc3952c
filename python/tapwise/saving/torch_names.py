"""How PyTorch programs call the layers of networks whose modules stand in another order than ours.

torchvision's ResNets, and those for small images that follow them: conv1, bn1, layer1.0.conv1, layer1.0.bn1, ...,
layer2.0.downsample.0 or shortcut.0 for the projection, which comes last there and first here; fc or linear. The other
families of torchvision (AlexNet, VGG, DenseNet) have their modules in the order of our layers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

OURS = re.compile(r"conv(\d+)_block(\d+)_(\d)_(conv|bn)$")
ENDS = {"conv1_conv": ["conv1"], "conv1_bn": ["bn1"], "predictions": ["fc", "linear"]}


def foreign_network(layers: Collection[str], modules: Collection[str]) -> str | None:
    """Why modules whose arrays fit the layers are another network's; None if nothing is known against them."""
    if "expanded_conv_depthwise" in layers and {"features.1.conv.0.0", "features.2.conv.1.0"} <= set(modules):
        return (
            "torchvision's MobileNetV2 fits applications.MobileNetV2 tensor by tensor, but scores would be wrong: it "
            "pads both sides of maps where strides are 2 and has an epsilon of 1e-5, Keras' pads behind and has 1e-3"
        )
    return None


def resnet_names(layers: Iterable[str], modules: Collection[str]) -> dict[str, str] | None:
    """The module of each layer of applications.resnet; None if these are no modules of a ResNet."""
    if "layer1.0.conv1" not in modules:
        return None
    found: dict[str, str] = {}
    for layer in layers:
        known = next((name for name in possible(layer) if name in modules), None)
        if known is not None:
            found[layer] = known
    return found


def possible(layer: str) -> list[str]:
    match = OURS.match(layer)
    if match is None:
        return ENDS.get(layer, [])
    stage, block, number, kind = int(match[1]) - 1, int(match[2]) - 1, int(match[3]), match[4]
    place = f"layer{stage}.{block}"
    if number == 0:
        part = 0 if kind == "conv" else 1
        return [f"{place}.downsample.{part}", f"{place}.shortcut.{part}"]
    return [f"{place}.{kind}{number}"]
