"""Files of models: one that holds all, and weights alone."""

from .model import load_model, save_model
from .weights import load_weights, save_weights

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]
