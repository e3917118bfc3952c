"""The networks whose training steps are timed, written once: k is tapwise or keras.

Each takes 10 classes and ends in a softmax. CIFAR forms: 32x32 inputs and a first convolution without stride.
"""

from typing import NamedTuple


class Task(NamedTuple):
    """A network, its input and how it is trained."""

    make: object
    image: tuple
    batch: int
    optimizer: str  # "adam", or "sgd" with momentum 0.9


def small_cnn(k):
    """Keras' MNIST example."""
    x = inputs = k.Input((28, 28, 1))
    x = k.layers.Conv2D(32, 3, activation="relu")(x)
    x = k.layers.Conv2D(64, 3, activation="relu")(x)
    x = k.layers.MaxPooling2D(2)(x)
    x = k.layers.Dropout(0.25)(x)
    x = k.layers.Flatten()(x)
    x = k.layers.Dense(128, activation="relu")(x)
    x = k.layers.Dropout(0.5)(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


def lenet(k):
    """LeNet-5 as it is built today: ReLU and maximum pooling."""
    x = inputs = k.Input((28, 28, 1))
    x = k.layers.Conv2D(6, 5, padding="same", activation="relu")(x)
    x = k.layers.MaxPooling2D(2)(x)
    x = k.layers.Conv2D(16, 5, activation="relu")(x)
    x = k.layers.MaxPooling2D(2)(x)
    x = k.layers.Flatten()(x)
    x = k.layers.Dense(120, activation="relu")(x)
    x = k.layers.Dense(84, activation="relu")(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


def padding(k, kernel):
    """PyTorch's networks pad both sides alike; Keras' word for a stride of 2 doesn't, which costs the same."""
    return "same" if k.__name__ == "keras" else kernel // 2


def convolution(k, x, filters, kernel, strides=1):
    """Without a bias, and normalized."""
    x = k.layers.Conv2D(filters, kernel, strides, padding=padding(k, kernel), use_bias=False)(x)
    return k.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def residual(k, x, filters, strides):
    """He et al., 2016: two convolutions beside a shortcut, which a 1x1 convolution fits to another size."""
    y = k.layers.ReLU()(convolution(k, x, filters, 3, strides))
    y = convolution(k, y, filters, 3)
    if strides > 1 or x.shape[-1] != filters:
        x = convolution(k, x, filters, 1, strides)
    return k.layers.ReLU()(k.layers.Add()([y, x]))


def resnet(k, widths, blocks):
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.ReLU()(convolution(k, x, widths[0], 3))
    for stage, filters in enumerate(widths):
        for block in range(blocks):
            x = residual(k, x, filters, 2 if stage and not block else 1)
    x = k.layers.GlobalAveragePooling2D()(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


def resnet20(k):
    return resnet(k, (16, 32, 64), 3)


def resnet18(k):
    return resnet(k, (64, 128, 256, 512), 2)


# expansion, filters, blocks, strides; the second and first stage keep their size, as is usual for CIFAR
MOBILE_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def bottleneck(k, x, expansion, filters, strides):
    """Sandler et al., 2018: wide depthwise convolutions between narrow tensors."""
    wide = x.shape[-1] * expansion
    y = k.layers.ReLU(6)(convolution(k, x, wide, 1)) if expansion > 1 else x
    y = k.layers.DepthwiseConv2D(3, strides, padding=padding(k, 3), use_bias=False)(y)
    y = k.layers.ReLU(6)(k.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y))
    y = convolution(k, y, filters, 1)
    return k.layers.Add()([y, x]) if strides == 1 and x.shape[-1] == filters else y


def mobilenet_v2(k):
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.ReLU(6)(convolution(k, x, 32, 3))
    for expansion, filters, blocks, strides in MOBILE_STAGES:
        for block in range(blocks):
            x = bottleneck(k, x, expansion, filters, 1 if block else strides)
    x = k.layers.ReLU(6)(convolution(k, x, 1280, 1))
    x = k.layers.GlobalAveragePooling2D()(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)  # filters; 0 is a pooling


def vgg11(k):
    """Simonyan & Zisserman, 2015, configuration A, with one dense layer behind the maps of 1x1."""
    x = inputs = k.Input((32, 32, 3))
    for filters in VGG11:
        if filters:
            x = k.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        else:
            x = k.layers.MaxPooling2D(2)(x)
    x = k.layers.Flatten()(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


TASKS = {
    "small CNN": Task(small_cnn, (28, 28, 1), 128, "adam"),
    "ResNet-20": Task(resnet20, (32, 32, 3), 128, "sgd"),
    "ResNet-18": Task(resnet18, (32, 32, 3), 32, "sgd"),
    "MobileNetV2": Task(mobilenet_v2, (32, 32, 3), 16, "sgd"),
    "VGG-11": Task(vgg11, (32, 32, 3), 16, "sgd"),
}
