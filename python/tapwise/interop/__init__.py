"""Other people's code on Tapwise's kernels; each module needs what it is named after, and is imported by its name.

keras, torch and onnx are there from the start: they import what they need when they are used.
"""

from . import keras as keras
from . import onnx as onnx
from . import torch as torch
