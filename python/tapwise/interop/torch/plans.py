"""What a call needs beside its tensors' memory, found once for shapes, strides and parameters, and kept.

A plan is a function of the tensors, or the reason why PyTorch's kernel has to do the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from ..counts import torch_counts
from .layout import Tensor

Plan: TypeAlias = Callable[..., Any]

KEPT = 4096  # plans, about 2 KB each

_plans: dict[Any, Plan | str] = {}
_accuracy = "default"


def forget(accuracy: str) -> None:
    """Plan anew, with this accuracy."""
    global _accuracy
    _accuracy = accuracy
    _plans.clear()


def accuracy() -> str:
    return _accuracy


def served(name: str, key: tuple[Any, ...], make: Callable[..., Plan], tensors: Any, *parameters: Any) -> Any:
    """What the plan made by make(*tensors, *parameters) makes of the tensors, or None if PyTorch's kernel must."""
    plan = _plans.get(key)
    if plan is None:
        plan = _planned(make, tensors, parameters)
        if len(_plans) >= KEPT:
            _plans.clear()
        _plans[key] = plan
    if isinstance(plan, str):
        torch_counts.fall_back(name, plan)
        return None
    try:
        result = plan(*tensors)
    except ValueError as error:  # an address that isn't a multiple of 4, indices outside of their plane
        torch_counts.fall_back(name, first_line(error))
        return None
    torch_counts.ran[name] += 1
    return result


def need_float32(*tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None and tensor.dtype is not torch.float32:
            raise TypeError(str(tensor.dtype).removeprefix("torch."))


def first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _planned(make: Callable[..., Plan], tensors: tuple[Tensor | None, ...], parameters: tuple[Any, ...]) -> Plan | str:
    """What we refuse PyTorch may do, or it refuses it in its own words."""
    try:
        return make(*tensors, *parameters)
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        return first_line(error)
