"""Layers of named networks, and the rows of the tables that peers are measured on.

A name says kernel, channels in-out, the input's size, the batch; s2 is stride 2.
"""

from tapwise.bench import Layer


def layer(name, n, size, kernel, ci, co, strides=1, padding="same", groups=1):
    """Square images and kernels; `size` of one number for a signal."""
    spatial = (size, size) if isinstance(size, int) else size
    k = (kernel,) * len(spatial)
    return Layer(name, (n, *spatial, ci), (*k, ci // groups, co), strides, padding)


def depthwise(name, n, size, channels, strides=1):
    return layer(name, n, size, 3, channels, channels, strides, groups=channels)


RESNET50 = [
    layer("ResNet-50 stem 7x7 s2 3-64 @224 n1", 1, 224, 7, 3, 64, 2, 3),
    layer("ResNet-50 3x3 64-64 @56 n1", 1, 56, 3, 64, 64),
    layer("ResNet-50 1x1 64-256 @56 n1", 1, 56, 1, 64, 256),
    layer("ResNet-50 3x3 128-128 @28 n1", 1, 28, 3, 128, 128),
    layer("ResNet-50 3x3 s2 128-128 @56 n1", 1, 56, 3, 128, 128, 2, 1),
    layer("ResNet-50 1x1 s2 256-512 @56 n1", 1, 56, 1, 256, 512, 2),
    layer("ResNet-50 3x3 256-256 @14 n1", 1, 14, 3, 256, 256),
    layer("ResNet-50 1x1 1024-256 @14 n1", 1, 14, 1, 1024, 256),
    layer("ResNet-50 3x3 512-512 @7 n1", 1, 7, 3, 512, 512),
    layer("ResNet-50 3x3 64-64 @56 n16", 16, 56, 3, 64, 64),
    layer("ResNet-50 3x3 256-256 @14 n16", 16, 14, 3, 256, 256),
    layer("ResNet-50 1x1 256-64 @56 n16", 16, 56, 1, 256, 64),
    layer("ResNet-50 3x3 s2 128-128 @56 n16", 16, 56, 3, 128, 128, 2, 1),
    layer("ResNet-50 1x1 1024-256 @14 n16", 16, 14, 1, 1024, 256),
    layer("ResNet-50 stem 7x7 s2 3-64 @224 n16", 16, 224, 7, 3, 64, 2, 3),
]
VGG16 = [
    layer("VGG-16 3x3 3-64 @224 n1", 1, 224, 3, 3, 64),
    layer("VGG-16 3x3 64-64 @224 n1", 1, 224, 3, 64, 64),
    layer("VGG-16 3x3 128-128 @112 n1", 1, 112, 3, 128, 128),
    layer("VGG-16 3x3 256-256 @56 n1", 1, 56, 3, 256, 256),
    layer("VGG-16 3x3 512-512 @28 n1", 1, 28, 3, 512, 512),
    layer("VGG-16 3x3 512-512 @14 n1", 1, 14, 3, 512, 512),
]
MOBILENETV2 = [
    depthwise("MobileNetV2 depthwise 3x3 144 @56 n1", 1, 56, 144),
    depthwise("MobileNetV2 depthwise 3x3 s2 96 @112 n1", 1, 112, 96, 2),
    depthwise("MobileNetV2 depthwise 3x3 384 @14 n1", 1, 14, 384),
    depthwise("MobileNetV2 depthwise 3x3 144 @56 n16", 16, 56, 144),
    layer("MobileNetV2 1x1 64-384 @14 n1", 1, 14, 1, 64, 384),
]
LENET = [
    layer("LeNet 5x5 1-6 @28 n64", 64, 28, 5, 1, 6),
    layer("LeNet 5x5 6-16 @14 n64", 64, 14, 5, 6, 16, padding="valid"),
    layer("LeNet wide 5x5 1-32 @28 n64", 64, 28, 5, 1, 32),
    layer("LeNet wide 5x5 32-64 @14 n64", 64, 14, 5, 32, 64),
]
OTHERS = [
    layer("CIFAR 3x3 32-64 @32 n64", 64, 32, 3, 32, 64),
    layer("conv1d k9 64-64 @16000 n1", 1, (16000,), 9, 64, 64),
]
# Groups of a few channels, and filters of one channel that are large or dilated.
GROUPED = [
    layer("ResNeXt 3x3 128-128 groups of 4 @56 n1", 1, 56, 3, 128, 128, groups=32),
    layer("3x3 128-128 groups of 2 @28 n4", 4, 28, 3, 128, 128, groups=64),
    layer("3x3 128-128 groups of 4 @28 n4", 4, 28, 3, 128, 128, groups=32),
    layer("3x3 128-128 groups of 8 @28 n4", 4, 28, 3, 128, 128, groups=16),
    layer("3x3 128-256 one channel to two @28 n4", 4, 28, 3, 128, 256, groups=128),
    layer("depthwise 5x5 240 @14 n1", 1, 14, 5, 240, 240, groups=240),
    layer("ConvNeXt depthwise 7x7 96 @56 n1", 1, 56, 7, 96, 96, groups=96),
    layer("RepLKNet depthwise 31x31 64 @56 n1", 1, 56, 31, 64, 64, groups=64),
]
# A whole call on these takes microseconds: what counts is its fixed cost.
TINY = [
    layer("tiny 3x3 3-8 @8 n1", 1, 8, 3, 3, 8),
    layer("tiny 5x5 1-6 @28 n1", 1, 28, 5, 1, 6),
    layer("tiny 1x1 16-16 @8 n1", 1, 8, 1, 16, 16),
    layer("tiny 3x3 32-32 @4 n1", 1, 4, 3, 32, 32),
]
LAYERS = [*RESNET50, *VGG16, *MOBILENETV2, *LENET, *OTHERS, *GROUPED, *TINY]
