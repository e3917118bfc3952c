"""Which algorithm a convolution takes: a pure function of its sizes."""

from __future__ import annotations

from math import prod

from ...geometry import ConvGeometry
from ..interface import PlanFields
from .im2col import blocks, joins
from .shape import Conv, conv_shape

POSSIBLE = ("direct", "im2col")
# Measured on one thread of a Zen 4: where direct and im2col are even.
THIN = 8  # channels of a group
SMALL_WORK = 1 << 18  # multiply-adds of an image, with VECTOR channels in the result
VECTOR = 16


def plan(g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
    """What a call would do; bytes are float32's."""
    c = conv_shape(g)
    chosen, reason = _choice(c, direction) if algorithm == "auto" else (algorithm, "asked for")
    weight_bytes = 4 * prod(c.w_shape)
    join = direction == "grad_weight" or joins(c, accuracy)
    packed = chosen == "direct" and direction == "grad_input" and c.channels_last and c.groups == 1
    return {
        "algorithm": choose(c, direction, algorithm),
        "packed_algorithm": chosen,
        "possible": POSSIBLE,
        "candidates": tuple((name, None, "") for name in POSSIBLE),
        "tile": _tile(c, join, chosen),
        "workspace_bytes": _workspace_bytes(c, direction, join, chosen),
        "packed_bytes": weight_bytes if packed else 0,
        "expected_gflops": None,
        "reason": reason,
    }


def choose(c: Conv, direction: str, algorithm: str) -> str:
    """The algorithm that runs. Raises ValueError if this backend doesn't have the one asked for."""
    if algorithm == "auto":
        return _choice(c, direction)[0]
    if algorithm not in POSSIBLE:
        raise ValueError(f"algorithm must be auto, direct or im2col on the numba backend, got {algorithm!r}")
    return algorithm


def _choice(c: Conv, direction: str) -> tuple[str, str]:
    thinnest = min(c.ci, c.co) // c.groups
    if c.groups > 1 and thinnest < THIN:
        return "direct", f"groups of {thinnest} channels leave BLAS too little to do"
    work, vector = c.pixels * c.depth * c.co, c.ci if direction == "grad_input" else c.co
    if c.channels_last and c.groups == 1 and work <= SMALL_WORK and vector >= VECTOR:
        return "direct", f"{work} multiply-adds an image don't pay for gathering and a call of BLAS"
    return "im2col", "BLAS multiplies faster than compiled loops"


def weight_parts(c: Conv, weight_bytes: int) -> int:
    """Private sums of a direct weight gradient, channels last: more to share out, bounded in memory."""
    work = c.n * c.pixels * c.depth * c.co
    return max(1, min(16, work >> 22, (1 << 23) // weight_bytes, c.n * c.pixels))


def _tile(c: Conv, join: bool, algorithm: str) -> str:
    if algorithm == "im2col":
        count = max((block.last - block.first for block in blocks(c, 4, join)), default=0)
        return f"BLAS: {count} pixels x {c.depth} taps x {c.co // c.groups} channels a block"
    if not c.channels_last:
        return "rows of pixels, one weight at a time"
    if c.groups == 1:
        return "4 terms a pass over a pixel's channels"
    return "a pixel's output channels, one term at a time"


def _workspace_bytes(c: Conv, direction: str, join: bool, algorithm: str) -> int:
    weight_bytes = 4 * prod(c.w_shape)
    if algorithm == "direct":
        parts = weight_parts(c, weight_bytes) if direction == "grad_weight" and c.channels_last else 1
        strips = 4 * c.co * c.input[2] if c.channels_last and c.groups > 1 and not c.depthwise else 0
        return strips + (parts * weight_bytes if parts > 1 else 0)
    cut = list(blocks(c, 4, join))
    count = max((block.last - block.first for block in cut), default=0)
    joined = 0 if c.channels_last or all(block.end - block.image == 1 for block in cut) else c.co // c.groups
    gathered = 0 if c.pointwise and not joined else c.depth
    addend = weight_bytes if direction == "grad_weight" and len(cut) > 1 else 0
    return 4 * count * (gathered + joined) + addend
