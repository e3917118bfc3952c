"""ONNX' operators on the kernels and NumPy, by their names.

Each takes the run, the node and its inputs (None where one is left out), and gives a value or several. What it doesn't
cover it refuses with NotOurs before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import conv, elementwise, norm, pool, quantized, reduce, resize, shape

OPERATORS: dict[str, Callable[..., Any]] = {
    **conv.OPERATORS, **elementwise.OPERATORS, **norm.OPERATORS, **pool.OPERATORS, **quantized.OPERATORS,
    **reduce.OPERATORS, **resize.OPERATORS, **shape.OPERATORS,
}  # fmt: skip
