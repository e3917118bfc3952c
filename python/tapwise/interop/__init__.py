"""Other people's code on Tapwise's kernels; each module needs what it is named after, and is imported by its name.

torch is there from the start: it imports PyTorch when it is enabled.
"""

from . import torch as torch
