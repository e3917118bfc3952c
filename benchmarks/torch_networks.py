"""The networks of networks.py in PyTorch, layer by layer in the same order; take_weights gives them Tapwise's."""

import torch
from torch import nn

from networks import MOBILE_STAGES, VGG11


class Residual(nn.Module):
    def __init__(self, main, shortcut, end):
        super().__init__()
        self.main, self.shortcut, self.end = main, shortcut, end

    def forward(self, x):
        return self.end(self.main(x) + self.shortcut(x))


def convolution(ci, filters, kernel, strides=1, groups=1):
    conv = nn.Conv2d(ci, filters, kernel, strides, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(filters)]


def relu(kind=nn.ReLU):
    return kind(inplace=True)


def small_cnn():
    features = [nn.Conv2d(1, 32, 3), relu(), nn.Conv2d(32, 64, 3), relu(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    head = [nn.Flatten(), nn.Linear(9216, 128), relu(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*features, *head)


def resnet(widths, blocks):
    layers, ci = [*convolution(3, widths[0], 3), relu()], widths[0]
    for stage, filters in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            main = nn.Sequential(*convolution(ci, filters, 3, strides), relu(), *convolution(filters, filters, 3))
            fits = strides == 1 and ci == filters
            shortcut = nn.Identity() if fits else nn.Sequential(*convolution(ci, filters, 1, strides))
            layers.append(Residual(main, shortcut, relu()))
            ci = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ci, 10))


def mobilenet_v2():
    layers, ci = [*convolution(3, 32, 3), relu(nn.ReLU6)], 32
    for expansion, filters, blocks, first in MOBILE_STAGES:
        for block in range(blocks):
            strides, wide = 1 if block else first, ci * expansion
            main = [*convolution(ci, wide, 1), relu(nn.ReLU6)] if expansion > 1 else []
            main += [*convolution(wide, wide, 3, strides, wide), relu(nn.ReLU6), *convolution(wide, filters, 1)]
            main = nn.Sequential(*main)
            layers.append(Residual(main, nn.Identity(), nn.Identity()) if strides == 1 and ci == filters else main)
            ci = filters
    layers += [*convolution(ci, 1280, 1), relu(nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10)]
    return nn.Sequential(*layers)


def vgg11():
    layers, ci = [], 3
    for filters in VGG11:
        layers += [nn.Conv2d(ci, filters, 3, 1, 1), relu()] if filters else [nn.MaxPool2d(2)]
        ci = filters or ci
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


NETWORKS = {
    "small CNN": small_cnn,
    "ResNet-20": lambda: resnet((16, 32, 64), 3),
    "ResNet-18": lambda: resnet((64, 128, 256, 512), 2),
    "MobileNetV2": mobilenet_v2,
    "VGG-11": vgg11,
}


def parts_of(module):
    """Layers in Keras' order: of those equally far from the end the main way's before the shortcut's."""
    if isinstance(module, Residual):
        main, shortcut = list(parts_of(module.main)), list(parts_of(module.shortcut))
        beside = len(main) - len(shortcut)
        yield from main[:beside]
        for pair in zip(main[beside:], shortcut, strict=True):
            yield from pair
    elif isinstance(module, nn.Sequential):
        for part in module:
            yield from parts_of(part)
    else:
        yield module


def weights_of(module):
    """Parameters and running statistics in Keras' order, a tensor each with the way to Keras' axes."""
    found = []
    for part in parts_of(module):
        if isinstance(part, nn.BatchNorm2d):
            found += [(t, None) for t in (part.weight, part.bias, part.running_mean, part.running_var)]
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            found.append((part.weight, (2, 3, 1, 0) if isinstance(part, nn.Conv2d) else (1, 0)))
            found += [] if part.bias is None else [(part.bias, None)]
    return found


def take_weights(module, arrays):
    """Arrays as Tapwise's get_weights gives them; none may lie behind a Flatten of maps larger than 1x1."""
    with torch.no_grad():
        for (tensor, axes), array in zip(weights_of(module), arrays, strict=True):
            given = torch.from_numpy(array)
            if axes:
                order = [axes.index(i) for i in range(len(axes))]
                given = given.permute(order)
            tensor.copy_(given.reshape(tensor.shape))
