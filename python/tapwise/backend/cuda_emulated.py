"""The CUDA kernels on the host, thread by thread on NumPy arrays: for tests, which build the module that it needs.

TAPWISE_CUDA_SEED orders threads and blocks: 0 as they are numbered, others at random. TAPWISE_CUDA_TILE is the rows of
a block's tile: 16 of the small kernels that are for tests, up to 128; 0 lets the plan choose.
"""

import os
from importlib import import_module

from .device import Device

try:
    extension = import_module("_tapwise_cuda_emulated")
except ModuleNotFoundError:
    raise ImportError("not built in this version: for tests, by TAPWISE_CUDA_EMULATED=ON") from None
extension.set_seed(int(os.environ.get("TAPWISE_CUDA_SEED", "0")))
extension.set_tile(int(os.environ.get("TAPWISE_CUDA_TILE", "0")))
backend = Device("cuda-emulated", extension, None)
