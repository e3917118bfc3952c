"""What Keras keeps under this name, from where it belongs here."""

from ..model import Model as Model
from ..model import Sequential as Sequential
from ..model_config import clone_model as clone_model
from ..saving import load_model as load_model
from ..saving import save_model as save_model
