"""What moves values: shapes, parts of an axis, several axes into one, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import layers
from ....layers.symbolic import Symbolic
from ..builder import Builder, Tensor
from ..graph import Node
from ..operators.resize import resize_plans, taps, transformation_of, upsample_plans
from ..operators.shape import pad_pairs, slices_of, split_sizes
from ..own_layers import Along, Padding
from ..values import Array, Shape, first_axes, last_axes, positive
from .elementwise import one_order
from .maps import PAD


def reshape(b: Builder, node: Node) -> Tensor:
    """Reshape, Flatten, Squeeze and Unsqueeze: the run has found the new shape."""
    if b.y_shape == b.shape():
        return b.tensor()
    return Tensor(b.reshaped(b.first(), b.y_shape[1:], b.how()))


def transpose(b: Builder, node: Node) -> Tensor:
    """From and to channels last no value moves."""
    x, last = b.tensor()
    rank = len(x.shape)
    axes = tuple(node.get("perm") or range(rank)[::-1])
    b.need(axes[0] == 0, f"that moves the batch, perm {axes}")
    if rank > 2 and axes == (last_axes(rank) if last else first_axes(rank)):
        return Tensor(x, not last)
    there = tuple(memory_axis(axis, rank, last) for axis in axes)
    return Tensor(x if there == tuple(range(rank)) else b.permuted(x, there, b.how()))


def memory_axis(axis: int, rank: int, last: bool) -> int:
    return last_axes(rank).index(axis) if last else axis


def concat(b: Builder, node: Node) -> Tensor:
    rank = len(b.shape())
    axis = positive(node.get("axis", 1), rank)
    b.need(axis > 0, "along the batch")
    x, last = one_order(b, len(node.inputs))
    return Tensor(b.call(layers.Concatenate(memory_axis(axis, rank, last), **b.how()), x), last)


def picked(b: Builder, at: dict[int, Array], name: str) -> Tensor:
    """The input with those of an axis' values that `at` names for it, by ONNX' axes."""
    x, last = b.tensor()
    rank = len(x.shape)
    at = {axis: each for axis, each in at.items() if not np.array_equal(each, np.arange(b.shape()[axis]))}
    b.need(0 not in at, "along the batch")
    for number, (axis, each) in enumerate(at.items(), 1):
        how = b.how(name if number == len(at) else f"{name}_{number}")
        x = b.call(Along(memory_axis(axis, rank, last), each.tolist(), **how), x)
    return Tensor(x, last)


def split(b: Builder, node: Node) -> list[Tensor]:
    axis = positive(node.get("axis", 0), len(b.shape()))
    given = node.get("split") if (a := b.optional(1)) is None else a.tolist()
    sizes = split_sizes(given, len(node.outputs), b.shape()[axis])
    parts = zip(sizes, np.cumsum(sizes).tolist(), node.outputs, strict=True)
    return [picked(b, {axis: np.arange(end - size, end)}, name) for size, end, name in parts]


def cut_out(b: Builder, node: Node) -> Tensor:
    """Slice."""
    starts, ends, axes, steps = (
        node.get(name) if (a := b.optional(i)) is None else a.reshape(-1).tolist()
        for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    shape = b.shape()
    pieces = slices_of(shape, starts, ends, axes, steps)
    return picked(b, {axis: np.arange(shape[axis])[piece] for axis, piece in enumerate(pieces)}, node.outputs[0])


def gather(b: Builder, node: Node) -> Tensor:
    """With indices of one axis; of none or several the values are picked first, then shaped."""
    axis, indices = positive(node.get("axis", 0), len(b.shape())), b.constant(1)
    picks, name = np.arange(b.shape()[axis])[indices.reshape(-1)], node.outputs[0]
    if indices.ndim == 1:
        return picked(b, {axis: picks}, name)
    found = b.plain(picked(b, {axis: picks}, f"{name}_picked"))
    return Tensor(b.reshaped(found, b.y_shape[1:], b.how()))


def pad(b: Builder, node: Node) -> Tensor:
    rank = len(b.shape())
    amounts = node.get("pads") if (a := b.optional(1)) is None else a.reshape(-1).tolist()
    axes = None if (a := b.optional(3)) is None else a.tolist()
    value = node.get("value", 0.0) if (a := b.optional(2)) is None else float(a.reshape(()))
    pairs, mode = pad_pairs(amounts, axes, rank), node.get("mode", "constant")
    b.need(all(side >= 0 for pair in pairs for side in pair), f"with pads {pairs}")
    b.need(pairs[0] == (0, 0), "around the batch")
    if mode != "constant":
        b.need(mode in ("edge", "reflect", "wrap"), f"with mode {mode}")
        at = {
            axis: np.pad(np.arange(n), pair, mode) for axis, (n, pair) in enumerate(zip(b.shape(), pairs, strict=True))
        }
        return picked(b, at, node.outputs[0])
    if value == 0 and pairs[1] == (0, 0) and 3 <= rank <= 5:
        border = pairs[2:] if rank > 3 else pairs[2]
        return Tensor(b.call(PAD[rank - 2](border, **b.how()), b.last()), True)
    x, last = b.tensor()
    order = last_axes(rank) if last else range(rank)
    return Tensor(b.call(Padding([pairs[axis] for axis in order][1:], value, **b.how()), x), last)


def repeated(b: Builder, node: Node) -> Tensor:
    """Expand and Tile."""
    shape, wanted = b.shape(), b.y_shape
    b.need(len(shape) == len(wanted), "that adds axes")
    b.need(node.operator == "Tile" or all(n in (1, m) for n, m in zip(shape, wanted, strict=True)), f"to {wanted}")
    at = {axis: np.tile(np.arange(n), m // n) for axis, (n, m) in enumerate(zip(shape, wanted, strict=True))}
    return picked(b, at, node.outputs[0])


def resize(b: Builder, node: Node) -> Tensor:
    """Upsample too: along each axis every output is one input or a weighted sum of a few."""
    if node.operator == "Upsample":
        plans, transformation = upsample_plans(node, b.shape(), b.optional(1)), "asymmetric"
    else:
        newer = node.version >= 11
        roi, scales, sizes = (b.optional(i) for i in ((1, 2, 3) if newer else (9, 1, 9)))
        plans, transformation = resize_plans(node, b.shape(), roi, scales, sizes), transformation_of(node)
    b.need(0 not in plans, "along the batch")
    x, last = b.tensor()
    for number, (axis, plan) in enumerate(plans.items(), 1):
        t = taps(plan, node, transformation)
        b.need(not t.outside.any(), "beyond the input")
        single = t.at.shape[1] == 1
        at, weights = (t.at[:, 0], None) if single else (t.at, t.weights.tolist())
        how = b.how() if number == len(plans) else b.part(number)
        x = b.call(Along(memory_axis(axis, len(x.shape), last), at.tolist(), weights, **how), x)
    return Tensor(x, last)


def regrouped(b: Builder, shape: Shape, axes: Shape) -> Tensor:
    """The input as (n, *shape), its axes in that order, as the node's output."""
    x: Symbolic = layers.Reshape(shape, **b.part("parts"))(b.first())
    return Tensor(b.reshaped(b.permuted(x, axes, b.part("turned")), b.y_shape[1:], b.how()))


def depth_to_space(b: Builder, node: Node) -> Tensor:
    (c, h, w), size = b.shape()[1:], int(node.get("blocksize"))
    if node.get("mode", "DCR") == "DCR":
        return regrouped(b, (size, size, c // size**2, h, w), (0, 3, 4, 1, 5, 2))
    return regrouped(b, (c // size**2, size, size, h, w), (0, 1, 4, 2, 5, 3))


def space_to_depth(b: Builder, node: Node) -> Tensor:
    (c, h, w), size = b.shape()[1:], int(node.get("blocksize"))
    b.need(node.get("mode", "DCR") == "DCR", f"with mode {node.get('mode')}")
    return regrouped(b, (c, h // size, size, w // size, size), (0, 3, 5, 1, 2, 4))


AS_LAYERS: dict[str, Callable[..., Any]] = {
    "Reshape": reshape, "Flatten": reshape, "Squeeze": reshape, "Unsqueeze": reshape, "Transpose": transpose,
    "Concat": concat, "Split": split, "Slice": cut_out, "Gather": gather, "Pad": pad, "Expand": repeated,
    "Tile": repeated, "Resize": resize, "Upsample": resize, "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}  # fmt: skip
