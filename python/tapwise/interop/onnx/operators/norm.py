"""Normalizations and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..fusion import ByChannel, waiting
from ..graph import Node
from ..run import Run
from ..values import Array, Value, positive

FLOAT32 = np.dtype(np.float32)


def batch_normalization(
    run: Run, node: Node, x: Value, gain: Value, shift: Value, mean: Value, variance: Value
) -> Value | tuple[Value, ...]:
    epsilon = float(node.get("epsilon", 1e-5))
    parts = (gain, shift, mean, variance)
    if node.get("training_mode", 0):
        return in_training(run, node, x, parts, epsilon)
    run.need(sum(map(bool, node.outputs)) == 1 and node.get("spatial", 1) == 1, "in training, before version 14")
    ours = x.dtype == FLOAT32 and all(p.constant and p.dtype == FLOAT32 for p in parts) and x.rank >= 2
    if not ours or x.constant or 0 in x.shape:
        run.need(x.dtype.kind == "f", f"of {x.dtype}")
        return Value(run.made(lambda *a: normalized(*a, epsilon=epsilon), run.first(x), *map(run.first, parts)))
    g, b, m, v = (np.asarray(part.memory.array) for part in parts)
    root = np.sqrt(v.astype(np.float64) + epsilon)
    if x.pending is not None and (x.last or x.rank == 2):
        whole = (g / root).astype(np.float32)
        if x.pending.scaled(whole, (b - m * (g / root)).astype(np.float32)):
            return x
    memory = run.last(x)
    return waiting(ByChannel(memory, g, b, m, v, epsilon), memory.shape, x.rank > 2)


def by_channel(a: Array, rank: int) -> Array:
    return a.reshape(-1, *(1,) * (rank - 2))


def normalized(x: Array, gain: Array, shift: Array, mean: Array, variance: Array, *, epsilon: float) -> Array:
    g, b, m, v = (by_channel(each, x.ndim) for each in (gain, shift, mean, variance))
    return np.asarray((x - m) / np.sqrt(v + epsilon) * g + b).astype(x.dtype)


def in_training(run: Run, node: Node, x: Value, parts: tuple[Value, ...], epsilon: float) -> tuple[Value, ...]:
    """y by x's own statistics, and the moving ones."""
    run.need(x.dtype in (np.float32, np.float64), f"of {x.dtype}")
    keep = node.get("momentum", 0.9)
    axes = (0, *range(2, x.rank))
    memory, (g, b, m, v) = run.first(x), map(run.first, parts)
    y = run.made(lambda x, g, b: normalized(x, g, b, x.mean(axes), x.var(axes), epsilon=epsilon), memory, g, b)
    mean = run.made(lambda x, m: (m * keep + x.mean(axes) * (1 - keep)).astype(m.dtype), memory, m)
    variance = run.made(lambda x, v: (v * keep + x.var(axes) * (1 - keep)).astype(v.dtype), memory, v)
    return Value(y), Value(mean), Value(variance)


def instance_normalization(run: Run, node: Node, x: Value, gain: Value, shift: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    epsilon, axes = node.get("epsilon", 1e-5), tuple(range(2, x.rank))

    def step(a: Array, g: Array, b: Array) -> Array:
        centred = a - a.mean(axes, keepdims=True)
        scale = by_channel(g, a.ndim) / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
        return np.asarray(centred * scale + by_channel(b, a.ndim)).astype(a.dtype)

    return Value(run.made(step, run.first(x), run.first(gain), run.first(shift)))


def group_normalization(run: Run, node: Node, x: Value, gain: Value, shift: Value) -> Value:
    """gain and shift for each channel, before version 21 for each group."""
    run.need(x.dtype in (np.float32, np.float64), f"of {x.dtype}")
    epsilon, groups, channels = node.get("epsilon", 1e-5), int(node.get("num_groups")), x.shape[1]
    if channels % groups:
        raise ValueError(f"num_groups must divide the {channels} channels, got {groups}")

    def step(a: Array, g: Array, b: Array) -> Array:
        parts = a.reshape(a.shape[0], groups, -1)
        centred = parts - parts.mean(-1, keepdims=True)
        centred = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + epsilon)
        g, b = (by_channel(np.repeat(each, channels // each.size), a.ndim) for each in (g, b))
        return np.asarray(centred.reshape(a.shape) * g + b).astype(a.dtype)

    return Value(run.made(step, run.first(x), run.first(gain), run.first(shift)))


def layer_normalization(run: Run, node: Node, x: Value, gain: Value, shift: Value | None = None) -> Value:
    run.need(x.dtype in (np.float32, np.float64) and len(node.outputs) == 1, f"of {x.dtype} with statistics")
    epsilon = node.get("epsilon", 1e-5)
    axes = tuple(range(positive(node.get("axis", -1), x.rank), x.rank))

    def step(a: Array, g: Array, b: Any = 0) -> Array:
        centred = a - a.mean(axes, keepdims=True)
        scale = 1 / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
        return np.asarray(centred * scale * g + b).astype(a.dtype)

    return Value(run.made(step, run.first(x), run.first(gain), *([] if shift is None else [run.first(shift)])))


def local_response(run: Run, node: Node, x: Value) -> Value:
    """LRN: x / (bias + alpha / size * sum of the squares of size channels around)^beta."""
    run.need(x.dtype.kind == "f" and x.dtype != np.float16, f"of {x.dtype}")
    size, alpha = int(node.get("size")), node.get("alpha", 1e-4)
    beta, bias = node.get("beta", 0.75), node.get("bias", 1.0)
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    axis = x.rank - 1 if x.last else 1
    channels = x.shape[1]

    def step(a: Array, y: Array) -> None:
        square = np.square(np.moveaxis(a, axis, -1))
        total = square.copy()
        for shift in (*range(1, before + 1), *range(-after, 0)):
            if abs(shift) < channels:
                here, there = (slice(shift, None), slice(None, -shift)) if shift > 0 else (
                    slice(None, shift), slice(-shift, None)
                )  # fmt: skip
                total[..., here] += square[..., there]
        total *= alpha / size
        total += bias
        if beta == 0.75:  # two square roots take a tenth of a power's time
            np.sqrt(total, out=total)
            total *= np.sqrt(total)
        else:
            np.power(total, beta, out=total)
        np.divide(a, np.moveaxis(total, -1, axis), out=y)

    memory = run.forced(x.memory)
    return Value(run.call(step, (memory,), memory.shape, x.dtype), x.last)


def lp_normalization(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    axis, p = positive(node.get("axis", -1), x.rank), node.get("p", 2)

    def step(a: Array) -> Array:
        length = np.abs(a).sum(axis, keepdims=True) if p == 1 else np.sqrt(np.square(a).sum(axis, keepdims=True))
        return np.asarray(np.divide(a, length, out=np.zeros_like(a), where=length != 0))

    return Value(run.made(step, run.first(x)))


def dropout(
    run: Run, node: Node, x: Value, ratio: Value | None = None, training: Value | None = None
) -> Value | tuple[Value, ...]:
    """x: only training drops values, and that is for onnx.reference."""
    run.need(training is None or not bool(run.known(training)), "in training")
    if len(node.outputs) == 1 or not node.outputs[1]:
        return x
    dtype = np.dtype(bool) if node.version >= 10 else x.dtype
    run.forced(x.memory)
    return x, run.constant(np.ones(x.shape, dtype))


OPERATORS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_normalization, "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization, "LayerNormalization": layer_normalization, "LRN": local_response,
    "LpNormalization": lp_normalization, "Dropout": dropout,
}  # fmt: skip
