"""Reductions along axes and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from .... import layers
from ..builder import Builder, Tensor
from ..graph import Node
from ..own_layers import Reduce
from ..values import positive
from .maps import POOL
from .order import memory_axis

REDUCTIONS = {
    "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min", "ReduceL1": "l1",
    "ReduceL2": "l2", "ReduceSumSquare": "square", "ReduceLogSum": "log_sum", "ReduceLogSumExp": "log_sum_exp",
}  # fmt: skip


def reduction(b: Builder, node: Node) -> Tensor:
    x, last = b.tensor()
    rank = len(x.shape)
    given = node.get("axes") if (a := b.optional(1)) is None else a.reshape(-1).tolist()
    if not given and node.get("noop_with_empty_axes", 0):
        return b.tensor()
    axes = sorted(positive(int(axis), rank) for axis in given or range(rank))
    b.need(axes[0] > 0, "over the batch")
    keeps = bool(node.get("keepdims", 1))
    how = b.how() if keeps else b.part("kept")
    there = sorted(memory_axis(axis, rank, last) for axis in axes)
    if node.operator == "ReduceMean" and 3 <= rank <= 5 and there == list(range(1, rank - 1)):
        y = b.call(POOL["GlobalAveragePool", rank - 2](keepdims=True, **how), x)
    else:
        y = b.call(Reduce(REDUCTIONS[node.operator], there, **how), x)
    if keeps:
        return Tensor(y, last)
    return Tensor(b.reshaped(b.plain(Tensor(y, last)), b.y_shape[1:], b.how()))


def softmax(b: Builder, node: Node) -> Tensor:
    """Before version 13 over all axes from one on."""
    if node.version < 13:
        axis = positive(node.get("axis", 1), len(b.shape()))
        b.need(axis > 0, "over the batch")
        shape = (*b.shape()[1:axis], prod(b.shape()[axis:]))
        if shape != b.shape()[1:]:
            flat = b.reshaped(b.first(), shape, b.part("rows"))
            return Tensor(b.reshaped(over(b, flat, -1, b.part("flat")), b.shape()[1:], b.how()))
    rank = len(b.shape())
    axis = positive(node.get("axis", -1 if node.version >= 13 else 1), rank)
    b.need(axis > 0, "over the batch")
    if node.operator == "LogSoftmax" and axis == rank - 1:
        return Tensor(over(b, b.first(), -1, b.how()))
    x, last = b.tensor()
    there = memory_axis(axis, rank, last)
    return Tensor(over(b, x, -1 if there == rank - 1 else there, b.how()), last)


def over(b: Builder, x: Any, axis: int, how: dict[str, Any]) -> Any:
    if b.node.operator == "Softmax":
        return b.call(layers.Softmax(axis, **how), x)
    b.need(axis == -1, f"over axis {axis}")
    return b.call(layers.Activation("log_softmax", **how), x)


AS_LAYERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(REDUCTIONS, reduction), "Softmax": softmax, "LogSoftmax": softmax,
}  # fmt: skip
