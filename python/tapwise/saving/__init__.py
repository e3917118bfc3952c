"""Files of models and of weights: our own, and those of Keras, PyTorch and NumPy. Nothing in a file is ever run."""

from .features import features
from .keras_model import load_keras
from .match import Mismatch
from .model import load_model, save_model
from .tensors import read_tensors
from .weights import load_weights, save_weights

__all__ = [
    "Mismatch",
    "features",
    "load_keras",
    "load_model",
    "load_weights",
    "read_tensors",
    "save_model",
    "save_weights",
]
