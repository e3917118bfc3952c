"""Tapwise: a compiled convolution engine with a thin CNN training layer."""

from . import backend as backend
from . import callbacks as callbacks
from . import data as data
from . import datasets as datasets
from . import explain as explain
from . import initializers as initializers
from . import isa as isa
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import mixed_precision as mixed_precision
from . import optimizers as optimizers
from . import regularizers as regularizers
from . import threads as threads
from . import workspace as workspace
from ._version import __version__ as __version__
from .config import show_config as show_config
from .drawing import plot_model as plot_model
from .layers import Input as Input
from .model import Model as Model
from .model import Sequential as Sequential
from .ops import *  # noqa: F403
from .plan import Plan as Plan
from .plan import SeparablePlan as SeparablePlan
from .plan import plan as plan
from .plan import plan_separable as plan_separable
from .quantize import Quantized as Quantized
from .quantize import quantize as quantize
from .random import set_random_seed as set_random_seed
from .saving import load_model as load_model
from .scaling import TargetScaler as TargetScaler
from .trace import trace as trace
from .tune import Tuned as Tuned
from .tune import forget_tuned as forget_tuned
from .tune import load_tuned as load_tuned
from .tune import tune as tune
