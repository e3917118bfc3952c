"""Reductions along axes, softmax and what picks the largest."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .... import ops
from ..graph import Node
from ..run import Run
from ..values import Array, Shape, Value, positive
from .shape import axes_of, memory_axis, reshaped

Function = Callable[..., Any]
FLOAT32 = np.dtype(np.float32)


def reduction(function: Function, kinds: str = "fiu") -> Function:
    """function(array, axes, keepdims) as an operator, with the axes as attribute or input."""

    def operator(run: Run, node: Node, x: Value, axes: Value | None = None) -> Value:
        run.need(x.dtype.kind in kinds and x.dtype != np.float16, f"of {x.dtype}")
        given = axes_of(run, node, axes)
        if not given and node.get("noop_with_empty_axes", 0):
            run.need(function in PLAIN_SUMS, "of no axes")
            return x
        at = tuple(sorted(positive(a, x.rank) for a in given)) if given else tuple(range(x.rank))
        keep = bool(node.get("keepdims", 1))
        if function is np.mean and is_over_maps(x, at):
            y = mean_of_maps(run, x)
            return y if keep else reshaped(run, y, tuple(n for axis, n in enumerate(y.shape) if axis not in at))
        run.need(all(x.shape[a] for a in at), "of nothing")
        dtype = x.dtype
        if x.last and keep:
            axes_there = tuple(memory_axis(x, a) for a in at)
            return Value(
                run.made(lambda a: np.asarray(function(a, axis=axes_there, keepdims=True)).astype(dtype), x.memory),
                True,
            )
        memory = run.first(x)
        return Value(run.made(lambda a: np.asarray(function(a, axis=at, keepdims=keep)).astype(dtype), memory))

    return operator


def is_over_maps(x: Value, axes: Shape) -> bool:
    """Whether the axes are those between the first and the last in memory, of float32."""
    there = sorted(memory_axis(x, axis) for axis in axes)
    return x.dtype == FLOAT32 and 3 <= x.rank <= 5 and 0 not in x.shape and there == list(range(1, x.rank - 1))


def mean_of_maps(run: Run, x: Value) -> Value:
    memory = run.forced(x.memory)

    def step(a: Array, y: Array) -> None:
        ops.global_average_pool(a, keepdims=True, out=y)

    shape = (memory.shape[0], *(1,) * (x.rank - 2), memory.shape[-1])
    return Value(run.call(step, (memory,), shape, x.dtype, kernels=True), x.last)


def norm1(a: Array, axis: Shape, keepdims: bool) -> Any:
    return np.abs(a).sum(axis, keepdims=keepdims)


def norm2(a: Array, axis: Shape, keepdims: bool) -> Any:
    return np.sqrt(squares(a, axis, keepdims))


def squares(a: Array, axis: Shape, keepdims: bool) -> Any:
    return np.square(a).sum(axis, keepdims=keepdims)


def log_sum(a: Array, axis: Shape, keepdims: bool) -> Any:
    return np.log(a.sum(axis, keepdims=keepdims))


def log_sum_exp(a: Array, axis: Shape, keepdims: bool) -> Any:
    top = a.max(axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    found = np.log(np.exp(a - top).sum(axis, keepdims=True)) + top
    return found if keepdims else found.squeeze(axis)


PLAIN_SUMS = (np.sum, np.mean, np.prod, np.max, np.min)


def picked(function: Function) -> Function:
    """ArgMax and ArgMin."""

    def operator(run: Run, node: Node, x: Value) -> Value:
        run.need(x.dtype.kind in "fiu", f"of {x.dtype}")
        axis, keep = positive(node.get("axis", 0), x.rank), bool(node.get("keepdims", 1))
        final = bool(node.get("select_last_index", 0))

        def step(a: Array) -> Array:
            at = a.shape[axis] - 1 - function(np.flip(a, axis), axis) if final else function(a, axis)
            return np.asarray(np.expand_dims(at, axis) if keep else at, np.int64)

        return Value(run.made(step, run.first(x)))

    return operator


def along(run: Run, node: Node, x: Value, step: Function) -> Value:
    """step(array, axis), along one axis, or before version 13 over all axes from that one on."""
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    if node.version >= 13:
        axis = memory_axis(x, positive(node.get("axis", -1), x.rank))
        return Value(run.made(lambda a: step(a, axis), x.memory), x.last)
    axis, shape = positive(node.get("axis", 1), x.rank), x.shape
    rows = run.first(x).view((prod(shape[:axis]), prod(shape[axis:])))
    return Value(run.made(lambda a: step(a, 1), rows).view(shape))


def softmax(run: Run, node: Node, x: Value) -> Value:
    if x.dtype != FLOAT32 or 0 in x.shape:
        return along(run, node, x, plain_softmax)
    if node.version < 13:
        axis, shape = positive(node.get("axis", 1), x.rank), x.shape
        rows = run.first(x).view((prod(shape[:axis]), prod(shape[axis:])))
        return Value(run.call(softmax_rows, (rows,), rows.shape, x.dtype, kernels=True).view(shape))
    axis = memory_axis(x, positive(node.get("axis", -1), x.rank))
    memory = run.forced(x.memory)
    if axis == x.rank - 1:
        return Value(run.call(softmax_rows, (memory,), memory.shape, x.dtype, kernels=True), x.last)
    return Value(run.made(lambda a: ops.softmax(a, axis=axis), memory), x.last)


def softmax_rows(a: Array, y: Array) -> None:
    ops.softmax(a, out=y)


def plain_softmax(a: Array, axis: int) -> Array:
    powers = np.exp(a - a.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def log_softmax(run: Run, node: Node, x: Value) -> Value:
    def step(a: Array, axis: int) -> Array:
        a = a - a.max(axis, keepdims=True)
        return np.asarray(a - np.log(np.exp(a).sum(axis, keepdims=True)))

    return along(run, node, x, step)


def hardmax(run: Run, node: Node, x: Value) -> Value:
    def step(a: Array, axis: int) -> Array:
        y = np.zeros_like(a)
        np.put_along_axis(y, np.expand_dims(a.argmax(axis), axis), 1, axis)
        return y

    return along(run, node, x, step)


def cumulative(run: Run, node: Node, x: Value, axis: Value) -> Value:
    """CumSum."""
    run.need(x.dtype.kind in "fi", f"of {x.dtype}")
    at = positive(int(run.known(axis).reshape(())), x.rank)
    back, without = bool(node.get("reverse", 0)), bool(node.get("exclusive", 0))

    def step(a: Array) -> Array:
        a = np.flip(a, at) if back else a
        y = np.cumsum(a, at, dtype=a.dtype)
        y = y - a if without else y
        return np.asarray(np.flip(y, at) if back else y)

    return Value(run.made(step, run.first(x)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "ReduceSum": reduction(np.sum), "ReduceMean": reduction(np.mean, "f"), "ReduceProd": reduction(np.prod),
    "ReduceMax": reduction(np.max), "ReduceMin": reduction(np.min), "ReduceL1": reduction(norm1),
    "ReduceL2": reduction(norm2, "f"), "ReduceSumSquare": reduction(squares), "ReduceLogSum": reduction(log_sum, "f"),
    "ReduceLogSumExp": reduction(log_sum_exp, "f"), "ArgMax": picked(np.argmax), "ArgMin": picked(np.argmin),
    "Softmax": softmax, "LogSoftmax": log_softmax, "Hardmax": hardmax, "CumSum": cumulative,
}  # fmt: skip
