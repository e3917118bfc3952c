"""Operators that move values or only name them anew: where no element moves, nothing is copied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .... import ops
from ..fusion import Padded, waiting
from ..graph import Node
from ..run import Run
from ..values import Array, Memory, NotOurs, Shape, Value, first_axes, last_axes, positive

FLOAT32 = np.dtype(np.float32)
PLAIN = "fiub"


def memory_axis(value: Value, axis: int) -> int:
    """Where ONNX' axis is in memory."""
    return last_axes(value.rank).index(axis) if value.last else axis


def reshaped(run: Run, x: Value, shape: Shape) -> Value:
    if shape == x.shape:
        return x
    return Value(run.first(x).view(shape))


def reshape(run: Run, node: Node, x: Value, shape: Value) -> Value:
    wanted = [int(size) for size in run.known(shape)]
    if not node.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = prod(x.shape) // rest if rest else 0
    if min(wanted, default=0) < 0 or prod(wanted) != prod(x.shape):
        raise ValueError(f"shape must hold the {prod(x.shape)} elements of {x.shape}, got {wanted}")
    return reshaped(run, x, tuple(wanted))


def flatten(run: Run, node: Node, x: Value) -> Value:
    axis = node.get("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    return reshaped(run, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def axes_of(run: Run, node: Node, axes: Value | None) -> list[int] | None:
    """From the input that newer versions have, or the attribute of older ones."""
    found = node.get("axes") if axes is None else run.known(axes).reshape(-1)
    return None if found is None else [int(axis) for axis in found]


def squeeze(run: Run, node: Node, x: Value, axes: Value | None = None) -> Value:
    given = axes_of(run, node, axes)
    gone = {i for i, n in enumerate(x.shape) if n == 1} if given is None else {positive(a, x.rank) for a in given}
    if any(x.shape[axis] != 1 for axis in gone):
        raise ValueError(f"axes must be those of size 1, got {sorted(gone)} of shape {x.shape}")
    return reshaped(run, x, tuple(size for axis, size in enumerate(x.shape) if axis not in gone))


def unsqueeze(run: Run, node: Node, x: Value, axes: Value | None = None) -> Value:
    given = axes_of(run, node, axes) or []
    rank = x.rank + len(given)
    new, sizes = {positive(axis, rank) for axis in given}, iter(x.shape)
    return reshaped(run, x, tuple(1 if axis in new else next(sizes) for axis in range(rank)))


def transpose(run: Run, node: Node, x: Value) -> Value:
    axes = tuple(node.get("perm") or range(x.rank)[::-1])
    if sorted(axes) != list(range(x.rank)):
        raise ValueError(f"perm must name each of {x.rank} axes once, got {axes}")
    return turned(run, x, axes)


def turned(run: Run, x: Value, axes: Shape) -> Value:
    """x with its axes in another order; from and to channels last no element moves, and what waits goes on waiting."""
    padded = x.pending
    if isinstance(padded, Padded):
        source = turned(run, padded.source, axes)
        pairs = tuple(padded.pairs[axis] for axis in axes)
        return padding(run, source, pairs, padded.filler)
    to_last, to_first = x.last and axes == last_axes(x.rank), not x.last and axes == first_axes(x.rank)
    if x.rank > 2 and (to_last or to_first):
        memory = x.memory if x.pending is not None else run.forced(x.memory)
        return Value(memory, last=to_first)
    memory = run.forced(x.memory)
    return Value(run.transposed(memory, tuple(memory_axis(x, axis) for axis in axes)))


def padding(run: Run, x: Value, pairs: tuple[tuple[int, int], ...], filler: Any) -> Value:
    """x with filler around it, which a convolution or pooling behind it can join."""
    sizes = tuple(size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True))
    run.check_size(sizes, x.dtype)
    pending = Padded(x, pairs, filler)
    if x.dtype != FLOAT32 or x.constant:
        memory = pending.launch(run)
        return Value(memory, x.last)
    shape = tuple(sizes[axis] for axis in last_axes(x.rank)) if x.last else sizes
    return waiting(pending, shape, x.last)


def pad(
    run: Run, node: Node, x: Value, pads: Value | None = None, filler: Value | None = None, axes: Value | None = None
) -> Value:
    run.need(x.dtype.kind in PLAIN, f"of {x.dtype}")
    amounts = [int(n) for n in (node.get("pads") if pads is None else run.known(pads).reshape(-1))]
    value = node.get("value", 0.0) if filler is None else run.known(filler).reshape(())[()]
    pairs = pad_pairs(amounts, None if axes is None else run.known(axes).tolist(), x.rank)
    mode = node.get("mode", "constant")
    if mode == "constant" and min(amounts, default=0) >= 0:
        return padding(run, x, pairs, value)
    shape = tuple(size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True))
    run.check_size(tuple(max(size, 0) for size in shape), x.dtype)
    crop = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, pairs, strict=True))
    grow = [(max(b, 0), max(a, 0)) for b, a in pairs]

    def step(a: Array) -> Array:
        a = a[crop]
        if mode == "constant":
            return np.pad(a, grow, constant_values=value)
        return np.pad(a, grow, mode=mode)

    run.need(mode in ("constant", "edge", "reflect", "wrap"), f"with mode {mode}")
    return Value(run.made(step, run.first(x)))


def pad_pairs(amounts: Sequence[int], axes: Sequence[int] | None, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, of those of the named axes, or of all."""
    pairs = [(0, 0)] * rank
    named = range(rank) if axes is None else [positive(int(axis), rank) for axis in axes]
    for number, axis in enumerate(named):
        pairs[axis] = int(amounts[number]), int(amounts[number + len(amounts) // 2])
    return tuple(pairs)


def concat(run: Run, node: Node, *values: Value) -> Value:
    run.need(all(value.dtype.kind in PLAIN for value in values), f"of {values[0].dtype}")
    axis = positive(node.get("axis", 1), values[0].rank)
    memories, last = run.one_layout(values)
    at = last_axes(values[0].rank).index(axis) if last else axis
    shape = list(memories[0].shape)
    shape[at] = sum(memory.shape[at] for memory in memories)

    kernels = all(memory.dtype == np.float32 for memory in memories)

    def step(*arrays: Array) -> None:
        if kernels:
            ops.concatenate(arrays[:-1], at, out=arrays[-1])
        else:
            np.concatenate(arrays[:-1], at, out=arrays[-1])

    return Value(run.call(step, memories, tuple(shape), memories[0].dtype, kernels=kernels), last)


def cut(run: Run, x: Value, pieces: tuple[slice, ...]) -> Value:
    """x[pieces], in x's layout."""
    order = last_axes(x.rank) if x.last else range(x.rank)
    at = tuple(pieces[axis] for axis in order)
    return Value(run.made(lambda a: a[at], x.memory), x.last)


def split(run: Run, node: Node, x: Value, sizes: Value | None = None) -> tuple[Value, ...]:
    axis = positive(node.get("axis", 0), x.rank)
    wanted = node.get("split") if sizes is None else [int(size) for size in run.known(sizes)]
    given = split_sizes(wanted, len(node.outputs), x.shape[axis])
    ends = np.cumsum(given).tolist()
    run.forced(x.memory)
    around = [slice(None)] * x.rank
    return tuple(
        cut(run, x, (*around[:axis], slice(end - size, end), *around[axis + 1 :]))
        for size, end in zip(given, ends, strict=True)
    )


def split_sizes(given: Sequence[int] | None, parts: int, total: int) -> Sequence[int]:
    if given is None:
        each = -(-total // parts)
        given = [each] * (parts - 1) + [total - each * (parts - 1)]
    if sum(given) != total or len(given) != parts:
        raise ValueError(f"split must be {parts} sizes with sum {total}, got {given}")
    return given


def cut_out(
    run: Run, node: Node, x: Value, starts: Value | None = None, ends: Value | None = None,
    axes: Value | None = None, steps: Value | None = None,
) -> Value:  # fmt: skip
    """Slice."""

    def numbers(value: Value | None, name: str) -> list[int] | None:
        found = node.get(name) if value is None else run.known(value).reshape(-1)
        return None if found is None else [int(n) for n in found]

    given = [
        numbers(value, name) for value, name in ((starts, "starts"), (ends, "ends"), (axes, "axes"), (steps, "steps"))
    ]
    return cut(run, x, slices_of(x.shape, *given))


def slices_of(
    shape: Shape,
    starts: Sequence[int] | None,
    ends: Sequence[int] | None,
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> tuple[slice, ...]:
    """What ONNX' Slice takes of each axis."""
    first, behind = starts or [], ends or []
    along, by = axes or range(len(first)), steps or [1] * len(first)
    pieces = [slice(None)] * len(shape)
    for start, end, axis, step in zip(first, behind, along, by, strict=True):
        at = positive(axis, len(shape))
        pieces[at] = slice(start, None if step < 0 and end < -shape[at] else end, step)
    return tuple(pieces)


def gather(run: Run, node: Node, x: Value, indices: Value) -> Value:
    axis = positive(node.get("axis", 0), x.rank)
    size = x.shape[axis]
    run.check_size((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)

    def step(a: Array, at: Array) -> Array:
        if at.size and not (-size <= at.min() and at.max() < size):
            raise ValueError(f"indices must be >= {-size} and < {size}, got {at.min()} to {at.max()}")
        return np.take(a, at, axis)

    return Value(run.made(step, run.first(x), run.first(indices)))


def gather_elements(run: Run, node: Node, x: Value, indices: Value) -> Value:
    axis = positive(node.get("axis", 0), x.rank)

    def step(a: Array, at: Array) -> Array:
        part = a[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(at.shape))]
        return np.take_along_axis(part, at, axis)

    return Value(run.made(step, run.first(x), run.first(indices)))


def scatter_elements(run: Run, node: Node, x: Value, indices: Value, updates: Value) -> Value:
    run.need(node.get("reduction", "none") == "none", "with a reduction")
    axis = positive(node.get("axis", 0), x.rank)

    def step(a: Array, at: Array, new: Array) -> Array:
        y = a.copy()
        part = y[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(at.shape))]
        np.put_along_axis(part, at, new, axis)
        return y

    return Value(run.made(step, run.first(x), run.first(indices), run.first(updates)))


def expand(run: Run, node: Node, x: Value, shape: Value) -> Value:
    wanted = np.broadcast_shapes(x.shape, tuple(int(size) for size in run.known(shape)))
    run.check_size(wanted, x.dtype)
    return Value(run.made(lambda a: np.broadcast_to(a, wanted), run.first(x)))


def tile(run: Run, node: Node, x: Value, repeats: Value) -> Value:
    times = tuple(int(n) for n in run.known(repeats))
    run.check_size([size * n for size, n in zip(x.shape, times, strict=True)], x.dtype)
    return Value(run.made(lambda a: np.tile(a, times), run.first(x)))


def shape_of(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype is not None, "of a sequence")
    return run.constant(np.array(x.shape[slice(node.get("start", 0), node.get("end"))], np.int64))


def size_of(run: Run, node: Node, x: Value) -> Value:
    run.need(x.dtype is not None, "of a sequence")
    return run.constant(np.array(prod(x.shape), np.int64))


def constant(run: Run, node: Node) -> Value:
    value, a = node.get("value"), node.attributes
    if value is None and "sparse_value" in a:
        value = a["sparse_value"]
    if value is None:
        kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        name = next((name for name in kinds if name in a), None)
        if name is None:
            raise NotOurs("of text")
        value = np.array(a[name], kinds[name])
    return run.constant(value)


def constant_of_shape(run: Run, node: Node, shape: Value) -> Value:
    wanted, value = tuple(int(size) for size in run.known(shape)), node.get("value", np.zeros(1, np.float32))
    if min(wanted, default=0) < 0:
        raise ValueError(f"shape must have sizes >= 0, got {wanted}")
    run.check_size(wanted, value.dtype)
    return run.constant(np.full(wanted, value.reshape(()), value.dtype))


def between(run: Run, node: Node, start: Value, limit: Value, delta: Value) -> Value:
    """Range."""
    run.need(start.dtype.kind in PLAIN, f"of {start.dtype}")
    first, end, step = (run.known(each).reshape(()) for each in (start, limit, delta))
    if step == 0:
        raise ValueError("delta must not be 0")
    run.need(start.dtype.itemsize >= 4 or start.dtype.kind != "f", f"of {start.dtype}")
    count = max(int(np.ceil((float(end) - float(first)) / float(step))), 0)
    run.check_size((count,), start.dtype)
    return run.constant((first + np.arange(count) * step).astype(start.dtype))


def cast(run: Run, node: Node, x: Value) -> Value:
    from onnx.helper import tensor_dtype_to_np_dtype

    return as_type(run, x, np.dtype(tensor_dtype_to_np_dtype(node.get("to"))))


def cast_like(run: Run, node: Node, x: Value, other: Value) -> Value:
    run.need(other.dtype is not None, "like a sequence")
    return as_type(run, x, other.dtype)


def as_type(run: Run, x: Value, dtype: Any) -> Value:
    run.need(x.dtype is not None and dtype.kind in PLAIN and x.dtype.kind in PLAIN, f"from {x.dtype} to {dtype}")
    run.need(dtype.name.startswith(("float", "int", "uint", "bool")) and dtype.isbuiltin == 1, f"to {dtype}")
    run.need(x.dtype.isbuiltin == 1, f"from {x.dtype}")
    return x if dtype == x.dtype else Value(run.made(lambda a: a.astype(dtype), x.memory), x.last)


def depth_to_space(run: Run, node: Node, x: Value) -> Value:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if c % (b * b):
        raise ValueError(f"blocksize squared must divide the {c} channels, got {b}")
    by_depth = node.get("mode", "DCR") == "DCR"
    shape = (n, b, b, c // b // b, h, w) if by_depth else (n, c // b // b, b, b, h, w)
    axes = (0, 3, 4, 1, 5, 2) if by_depth else (0, 1, 4, 2, 5, 3)
    return Value(run.transposed(run.first(x).view(shape), axes).view((n, c // b // b, h * b, w * b)))


def space_to_depth(run: Run, node: Node, x: Value) -> Value:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if h % b or w % b:
        raise ValueError(f"blocksize must divide height and width, got {b} for {h} and {w}")
    parts: Memory = run.first(x).view((n, c, h // b, b, w // b, b))
    run.need(node.get("mode", "DCR") == "DCR", f"with mode {node.get('mode')}")
    return Value(run.transposed(parts, (0, 3, 5, 1, 2, 4)).view((n, c * b * b, h // b, w // b)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transpose,
    "Pad": pad, "Concat": concat, "Split": split, "Slice": cut_out, "Gather": gather,
    "GatherElements": gather_elements, "ScatterElements": scatter_elements, "Scatter": scatter_elements,
    "Expand": expand, "Tile": tile, "Shape": shape_of, "Size": size_of, "Constant": constant,
    "ConstantOfShape": constant_of_shape, "Range": between, "Cast": cast, "CastLike": cast_like,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
}  # fmt: skip
