"""Layers by Keras' names: each holds parameters and calls operations."""

from .activation import Activation, ReLU, Softmax
from .augment import (
    CutMix,
    MixUp,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from .augment_colour import RandomBrightness, RandomContrast, RandomErasing, RandomHue, RandomSaturation
from .conv import Conv1D, Conv2D, DepthwiseConv1D, DepthwiseConv2D
from .dense import Dense
from .dropout import Dropout
from .layer import Input, InputLayer, Layer, Parameter
from .merge import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from .norm import BatchNormalization, Rescaling
from .pool import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from .reshape import Flatten

__all__ = [
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "CutMix",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "MixUp",
    "Multiply",
    "Parameter",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomHue",
    "RandomRotation",
    "RandomSaturation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Softmax",
    "Subtract",
]
