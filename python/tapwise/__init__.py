"""Tapwise: a compiled convolution engine with a thin CNN training layer."""

import importlib
from typing import TYPE_CHECKING, Any

from . import backend as backend
from . import isa as isa
from . import threads as threads
from . import workspace as workspace
from ._version import __version__ as __version__
from .config import show_config as show_config
from .ops import *  # noqa: F403
from .plan import Plan as Plan
from .plan import SeparablePlan as SeparablePlan
from .plan import plan as plan
from .plan import plan_separable as plan_separable
from .trace import trace as trace
from .tune import Tuned as Tuned
from .tune import forget_tuned as forget_tuned
from .tune import load_tuned as load_tuned
from .tune import tune as tune

if TYPE_CHECKING:
    from . import activations as activations
    from . import applications as applications
    from . import callbacks as callbacks
    from . import constraints as constraints
    from . import data as data
    from . import datasets as datasets
    from . import explain as explain
    from . import initializers as initializers
    from . import interop as interop
    from . import layers as layers
    from . import losses as losses
    from . import metrics as metrics
    from . import mixed_precision as mixed_precision
    from . import models as models
    from . import optimizers as optimizers
    from . import regularizers as regularizers
    from . import saving as saving
    from . import utils as utils
    from .drawing import plot_model as plot_model
    from .layers import Input as Input
    from .model import Model as Model
    from .model import Sequential as Sequential
    from .quantization import Quantized as Quantized
    from .quantization import quantize as quantize
    from .random import set_random_seed as set_random_seed
    from .saving import load_model as load_model
    from .scaling import TargetScaler as TargetScaler

# The training layer is imported when it is first used: `import tapwise` for the operations alone takes half the time.
_MODULES = [
    "activations",
    "applications",
    "callbacks",
    "constraints",
    "data",
    "datasets",
    "explain",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "optimizers",
    "regularizers",
    "saving",
    "utils",
]
_NAMES = {
    "plot_model": "drawing",
    "Input": "layers",
    "Model": "model",
    "Sequential": "model",
    "Quantized": "quantization",
    "quantize": "quantization",
    "set_random_seed": "random",
    "load_model": "saving",
    "TargetScaler": "scaling",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})
