"""The compiled backend without an extension: Numba kernels, float32 and float64.

Kernels are compiled when first called and kept on disk; importing compiles nothing. Threads are our own (threads.py),
the matrix products of im2col are NumPy's BLAS.
"""

from __future__ import annotations

import math

import llvmlite
import numba
import numpy as np

from ..separable import plan_separable
from .activation import activation, activation_grad, add, concatenate
from .conv import conv, conv_grad_input, conv_grad_weight, pack, separable_conv
from .dropout import dropout
from .loss import softmax, softmax_cross_entropy, softmax_cross_entropy_grad, softmax_grad
from .low_precision import (
    bf16_algorithm,
    cast,
    conv_bf16,
    conv_bf16_grad_input,
    conv_bf16_grad_weight,
    conv_int8,
    pack_words,
)
from .norm import (
    activation_grad_bias,
    batch_norm,
    batch_norm_grad,
    batch_norm_statistics,
    conv_grad_bias,
    group_norm,
    group_norm_grad,
)
from .optim import moving_average, optimizer_update, square_sums
from .plan import plan
from .pool import average_pool, average_pool_grad, max_pool, max_pool_grad
from .threads import machine_threads, set_thread_count, thread_count

__all__ = [
    "activation", "activation_grad", "activation_grad_bias", "add", "are_plain", "average_pool", "average_pool_grad",
    "batch_norm", "batch_norm_grad", "batch_norm_statistics", "bf16_algorithm", "build_info", "cast", "concatenate",
    "conv", "conv_bf16", "conv_bf16_grad_input", "conv_bf16_grad_weight", "conv_grad_bias", "conv_grad_input",
    "conv_grad_weight", "conv_int8", "dropout", "dtypes", "fma_peak", "group_norm", "group_norm_grad",
    "has_bfloat16", "isa_available", "isa_kernels",
    "isa_name", "isa_use", "machine_threads", "max_pool", "max_pool_grad", "memory", "moving_average", "name",
    "optimizer_update", "pack", "pack_words", "plan", "plan_separable", "separable_conv", "set_thread_count",
    "set_workspace_limit", "softmax", "softmax_cross_entropy", "softmax_cross_entropy_grad", "softmax_grad",
    "square_sums", "thread_count", "workspace_limit",
]  # fmt: skip

name = "numba"
dtypes = (np.dtype(np.float32), np.dtype(np.float64))
has_bfloat16 = False
memory = None
are_plain = workspace_limit = set_workspace_limit = None


def isa_available() -> list[str]:
    """Numba compiles for the CPU it runs on."""
    return ["host"]


def isa_name() -> str:
    return "host"


def isa_use(name: str) -> None:
    if name != "host":
        raise ValueError(f"isa must be host on the numba backend, got {name!r}")


def isa_kernels() -> list[str]:
    return []


def fma_peak(steps: int, dtype: str) -> float:
    return math.nan


def build_info() -> dict[str, str]:
    return {"numba": numba.__version__, "llvmlite": llvmlite.__version__, "numpy": np.__version__}
