"""Layers by Keras' names: each holds parameters and calls operations."""

from .activation import Activation, ReLU, Softmax
from .conv import Conv1D, Conv2D
from .dense import Dense
from .dropout import Dropout
from .layer import Input, Layer, Parameter
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
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "Input",
    "Layer",
    "MaxPooling1D",
    "MaxPooling2D",
    "Parameter",
    "ReLU",
    "Rescaling",
    "Softmax",
]
