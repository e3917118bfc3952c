"""Tapwise: a compiled convolution engine with a thin CNN training layer."""

from . import backend as backend
from . import isa as isa
from . import threads as threads
from ._version import __version__ as __version__
from .config import show_config as show_config
from .ops import *  # noqa: F403
from .plan import Plan as Plan
from .plan import plan as plan
from .trace import trace as trace
