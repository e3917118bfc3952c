"""The sizes of ONNX' windows: kernel_shape, strides, pads, auto_pad, dilations, ceil_mode."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

from ....geometry import dilated, resolve_padding
from ..fusion import Padded, Pairs
from ..graph import Node
from ..values import Shape, Value

AUTO = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


class Window(NamedTuple):
    """Per spatial axis; pairs are (before, after)."""

    kernel: Shape
    strides: Shape
    pairs: Pairs
    dilation: Shape


def pairs_of(pads: Sequence[int]) -> Pairs:
    """ONNX' (before, before, ..., after, after, ...) as (before, after) for each axis."""
    half = len(pads) // 2
    return tuple(zip(map(int, pads[:half]), map(int, pads[half:]), strict=True))


def per_axis(node: Node, name: str, rank: int, least: int) -> Shape:
    values = tuple(map(int, node.get(name, (1,) * rank)))
    if len(values) != rank or any(value < least for value in values):
        raise ValueError(f"{name} must be {rank} numbers >= {least}, got {values}")
    return values


def window(node: Node, sizes: Shape, kernel: Shape) -> Window:
    """Raises ValueError on attributes that don't fit the rank."""
    rank = len(sizes)
    if len(kernel) != rank:
        raise ValueError(f"kernel_shape must have {rank} sizes, got {kernel}")
    strides, dilation = per_axis(node, "strides", rank, 1), per_axis(node, "dilations", rank, 1)
    auto = node.get("auto_pad", "NOTSET")
    if auto in AUTO:
        return Window(kernel, strides, resolve_padding(AUTO[auto], sizes, dilated(kernel, dilation), strides), dilation)
    if auto not in ("NOTSET", ""):
        raise ValueError(f"auto_pad must be NOTSET, {', '.join(AUTO)}, got {auto!r}")
    return Window(
        kernel,
        strides,
        pairs_of(per_axis(node, "pads", 2 * rank, -(2**31)) if node.get("pads") else (0,) * 2 * rank),
        dilation,
    )


def unpadded(x: Value, filler: float) -> tuple[Value, Pairs]:
    """x without the padding that only this node reads, if that is filler around the spatial axes, and its pairs.

    For a maximum, -inf, it may be 0 around what a ReLU made.
    """
    none = ((0, 0),) * (x.rank - 2)
    padded = x.pending
    if not isinstance(padded, Padded) or any(map(any, padded.pairs[:2])):
        return x, none
    positive = getattr(padded.source.memory.pending, "kind", None) in ("relu", "relu6", "sigmoid")
    if padded.filler != filler and not (filler == -inf and padded.filler == 0 and positive):
        return x, none
    return padded.source, padded.pairs[2:]


def together(pairs: Pairs, more: Pairs) -> Pairs:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, more, strict=True))


def spatial(shape: Any) -> Shape:
    return tuple(shape[2:])
