"""Poolings: float32 by the kernels, the rest by windows in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ....geometry import dilated, pool_geometry
from ..fusion import Pairs
from ..graph import Node
from ..run import Run
from ..values import Array, Shape, Value
from ..windows import windows
from .geometry import Window, spatial, together, unpadded, window

FLOAT32 = np.dtype(np.float32)


def output_sizes(sizes: Shape, g: Window, ceil_mode: bool, skips: bool = True) -> Shape:
    """Windows along each axis; one that ceil_mode adds must start in the input or before it (from version 19 on)."""
    outputs = []
    for size, extent, s, (before, after) in zip(sizes, dilated(g.kernel, g.dilation), g.strides, g.pairs, strict=True):
        room = size + before + after - extent
        o = (-(-room // s) if ceil_mode else room // s) + 1
        outputs.append(o - (ceil_mode and skips and (o - 1) * s >= size + before))
    return tuple(outputs)


def pooling(run: Run, node: Node, x: Value, filler: float) -> tuple[Value, Window, Shape]:
    """x without padding that joins this pooling, the window, and the output's sizes."""
    x, more = unpadded(x, filler)
    around = tuple(size + sum(pair) for size, pair in zip(spatial(x.shape), more, strict=True))
    g = window(node, around, tuple(map(int, node.get("kernel_shape"))))
    g = g._replace(pairs=together(g.pairs, more))
    if any(side < 0 for pair in g.pairs for side in pair):
        raise ValueError(f"pads of a pooling must be >= 0, got {g.pairs}")
    outputs = output_sizes(spatial(x.shape), g, bool(node.get("ceil_mode", 0)))
    if any(output < 1 for output in outputs):
        raise ValueError(f"kernel_shape must fit the padded input, got {g.kernel} for {spatial(x.shape)}")
    return x, g, outputs


def reaching(sizes: Shape, g: Window, outputs: Shape) -> Pairs:
    """Padding that reaches as far as the last window does, no further."""
    pairs = []
    for size, extent, s, (before, _), o in zip(
        sizes, dilated(g.kernel, g.dilation), g.strides, g.pairs, outputs, strict=True
    ):
        pairs.append((before, (o - 1) * s + extent - before - size))
    return tuple(pairs)


def by_kernels(x: Value, g: Window, outputs: Shape, pairs: Pairs) -> bool:
    """Whether the kernels give these outputs: float32, no window outside the input."""
    if x.dtype != FLOAT32 or not 3 <= x.rank <= 5 or 0 in x.shape:
        return False
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    try:
        p = pool_geometry(shape, g.kernel, g.strides, pairs, g.dilation, False, False, "channels_last")
    except ValueError:
        return False
    return p.y_shape[1:-1] == outputs


def seen(x: Array, g: Window, pairs: Pairs, filler: Any) -> Array:
    """Windows of x; where the last one ends before the input does, the rest is cut off."""
    inside = tuple(slice(0, size + min(after, 0)) for size, (_, after) in zip(x.shape[2:], pairs, strict=True))
    kept = tuple((before, max(after, 0)) for before, after in pairs)
    return windows(x[(slice(None), slice(None), *inside)], g.kernel, g.strides, kept, g.dilation, filler)


def max_pool(run: Run, node: Node, x: Value) -> Value | tuple[Value, ...]:
    run.need(x.dtype.kind in "fiu", f"of {x.dtype}")
    indexed = len(node.outputs) > 1 and bool(node.outputs[1])
    low: Any = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    x, g, outputs = pooling(run, node, x, low)
    pairs = reaching(spatial(x.shape), g, outputs)
    if indexed:
        return with_indices(run, node, x, g, pairs, low)
    if not by_kernels(x, g, outputs, pairs):
        axes = tuple(range(x.rank, 2 * x.rank - 2))
        return Value(run.made(lambda a: seen(a, g, pairs, low).max(axes), run.first(x)))

    def step(a: Array, y: Array) -> None:
        ops.max_pool(a, g.kernel, strides=g.strides, padding=pairs, dilation=g.dilation, out=y)

    shape = (x.shape[0], *outputs, x.shape[1])
    return Value(run.call(step, (run.last(x),), shape, x.dtype, kernels=True), True)


def with_indices(run: Run, node: Node, x: Value, g: Window, pairs: Pairs, low: Any) -> tuple[Value, ...]:
    """The largest, and where each lies in x: flat, by rows or with storage_order 1 by columns."""
    memory = run.first(x)
    n, c, *sizes = x.shape
    rank = len(sizes)
    places = np.arange(np.prod(sizes)).reshape(sizes) if not node.get("storage_order", 0) else (
        np.arange(np.prod(sizes)).reshape(sizes[::-1]).T
    )  # fmt: skip
    planes = np.arange(n * c).reshape(n, c, *(1,) * rank) * int(np.prod(sizes))
    at = seen(places[None, None], g, pairs, -1)
    at = at.reshape(1, 1, *at.shape[2 : 2 + rank], -1)

    def values(a: Array) -> Array:
        return seen(a, g, pairs, low).reshape(n, c, *at.shape[2:-1], -1)

    def where(a: Array) -> Array:
        flat = np.where(at < 0, low, values(a)) if x.dtype.kind == "f" else values(a)
        best = flat.argmax(-1)[..., None]
        return np.asarray(np.take_along_axis(np.broadcast_to(at, flat.shape), best, -1)[..., 0] + planes)

    return Value(run.made(lambda a: values(a).max(-1), memory)), Value(run.made(where, memory))


def average_pool(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    counted = bool(node.get("count_include_pad", 0))
    x, g, outputs = pooling(run, node, x, 0) if counted else pooling(run, node, x, np.nan)
    pairs = reaching(spatial(x.shape), g, outputs)
    whole = (
        not counted
        or pairs == g.pairs
        or all(after <= given for (_, after), (_, given) in zip(pairs, g.pairs, strict=True))
    )
    if whole and set(g.dilation) <= {1} and by_kernels(x, g, outputs, pairs):

        def step(a: Array, y: Array) -> None:
            ops.average_pool(a, g.kernel, strides=g.strides, padding=pairs, count_include_pad=counted, out=y)

        shape = (x.shape[0], *outputs, x.shape[1])
        return Value(run.call(step, (run.last(x),), shape, x.dtype, kernels=True), True)
    axes = tuple(range(x.rank, 2 * x.rank - 2))
    ones = np.ones((1, 1, *spatial(x.shape)), np.float32)
    if counted:  # the given padding counts, what ceil_mode adds behind it doesn't
        ones = np.pad(ones, ((0, 0), (0, 0), *g.pairs), constant_values=1)
        behind = tuple((0, after - given) for (_, after), (_, given) in zip(pairs, g.pairs, strict=True))
        counts = seen(ones, g, behind, 0).sum(axes)
    else:
        counts = seen(ones, g, pairs, 0).sum(axes)
    return Value(run.made(lambda a: (seen(a, g, pairs, 0).sum(axes) / counts).astype(a.dtype), run.first(x)))


def lp_pool(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    p = node.get("p", 2)
    x, g, outputs = pooling(run, node, x, 0)
    pairs, axes = reaching(spatial(x.shape), g, outputs), tuple(range(x.rank, 2 * x.rank - 2))

    def step(a: Array) -> Array:
        return np.asarray((seen(np.abs(a) ** p, g, pairs, 0).sum(axes)) ** (1 / p)).astype(a.dtype)

    return Value(run.made(step, run.first(x)))


def whole(run: Run, x: Value, kernels: Callable[..., Any], plain: Callable[..., Any]) -> Value:
    """A pooling over all of each image and channel: (n, c, *spatial) -> (n, c, 1, ...)."""
    run.need(x.dtype.kind == "f" and x.rank > 2, f"of {x.dtype} with {x.rank} axes")
    if x.dtype != FLOAT32 or x.rank > 5 or 0 in x.shape:
        axes = tuple(range(2, x.rank))
        return Value(run.made(lambda a: plain(a, axis=axes, keepdims=True), run.first(x)))

    def step(a: Array, y: Array) -> None:
        kernels(a, keepdims=True, out=y)

    shape = (x.shape[0], *(1,) * (x.rank - 2), x.shape[1])
    return Value(run.call(step, (run.last(x),), shape, x.dtype, kernels=True), True)


def global_average_pool(run: Run, node: Node, x: Value) -> Value:
    return whole(run, x, ops.global_average_pool, np.mean)


def global_max_pool(run: Run, node: Node, x: Value) -> Value:
    return whole(run, x, ops.global_max_pool, np.max)


def global_lp_pool(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype.kind == "f", f"of {x.dtype}")
    p, axes = node.get("p", 2), tuple(range(2, x.rank))
    return Value(run.made(lambda a: (np.abs(a) ** p).sum(axes, keepdims=True) ** a.dtype.type(1 / p), run.first(x)))


def max_unpool(run: Run, node: Node, x: Value, indices: Value, output_shape: Value | None = None) -> Value:
    """The inverse of max_pool: x at the flat indices, 0 elsewhere."""
    n, c, *sizes = x.shape
    if output_shape is not None:
        shape = tuple(map(int, run.known(output_shape)))
    g = window(node, tuple(sizes), tuple(map(int, node.get("kernel_shape"))))
    smallest = (n, c, *(
        (size - 1) * s - sum(pair) + k for size, s, k, pair in zip(sizes, g.strides, g.kernel, g.pairs, strict=True)
    ))  # fmt: skip
    shape = smallest if output_shape is None else shape
    run.check_size(shape, x.dtype)

    def step(a: Array, at: Array) -> Array:
        y = np.zeros(smallest, a.dtype)
        y.reshape(-1)[at.reshape(-1)] = a.reshape(-1)
        if shape != smallest:
            whole = np.zeros(shape, a.dtype)
            whole[tuple(map(slice, smallest))] = y
            return whole
        return y

    return Value(run.made(step, run.first(x), run.first(indices)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "MaxPool": max_pool, "AveragePool": average_pool, "LpPool": lp_pool, "MaxUnpool": max_unpool,
    "GlobalAveragePool": global_average_pool, "GlobalMaxPool": global_max_pool, "GlobalLpPool": global_lp_pool,
}  # fmt: skip
