"""The compiled backend: C++ kernels for this CPU, float32.

Each function hands its arrays to the extension, which checks what memory safety needs and lets the GIL go.
"""

from __future__ import annotations

import math
import os

import numpy as np

from ..geometry import ConvGeometry, PoolGeometry
from . import _core
from .interface import Array, PlanFields, Update, Weights, listed
from .separable import in_two_passes

name = "native"
dtypes = (np.dtype(np.float32),)
has_bfloat16 = True
memory = None
are_plain = _core.are_plain
cast = _core.cast


def _conv(g: ConvGeometry) -> _core.Geometry:
    if g.native is None:
        before = [pair[0] for pair in g.padding]
        shapes = g.x_shape, g.w_shape, g.y_shape
        g.native = _core.Geometry(*shapes, g.strides, before, g.dilation, g.groups, g.channels_last)
    made: _core.Geometry = g.native
    return made


def conv(
    x: Array,
    w: Weights,
    b: Array | None,
    y: Array,
    g: ConvGeometry,
    *,
    algorithm: str,
    accuracy: str,
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None:
    geometry = g.native or _conv(g)
    if type(w) is _core.PackedWeights:
        _core.conv_packed(geometry, x, w, b, y, activation, alpha, residual)
    else:
        _core.conv_forward(geometry, x, w, b, y, algorithm, accuracy, activation, alpha, residual)


def conv_grad_input(
    dy: Array,
    w: Weights,
    dx: Array,
    g: ConvGeometry,
    *,
    algorithm: str,
    accuracy: str,
    b: Array | None = None,
    activation: str | None = None,
    alpha: float = 0.0,
    residual: Array | None = None,
) -> None:
    if isinstance(w, _core.PackedWeights):
        _core.conv_packed(_conv(g), dy, w, b, dx, activation, alpha, residual)
    else:
        _core.conv_grad_input(_conv(g), dy, w, b, dx, algorithm, accuracy, activation, alpha, residual)


_two_passes = in_two_passes(conv)


def separable_conv(
    x: Array, depthwise_w: Weights, depthwise_b: Array | None, middle: Array | None, pointwise_w: Weights,
    b: Array | None, y: Array, depthwise: ConvGeometry, pointwise: ConvGeometry,
    *, depthwise_activation: str | None, depthwise_alpha: float, activation: str | None, alpha: float,
    residual: Array | None,
) -> None:  # fmt: skip
    if middle is None:
        _core.separable_conv(
            _conv(depthwise), _conv(pointwise), x, depthwise_w, pointwise_w, depthwise_b, b, y, depthwise_activation,
            depthwise_alpha, activation, alpha, residual,
        )  # fmt: skip
    else:
        _two_passes(
            x, depthwise_w, depthwise_b, middle, pointwise_w, b, y, depthwise, pointwise, activation=activation,
            depthwise_activation=depthwise_activation, depthwise_alpha=depthwise_alpha, alpha=alpha, residual=residual,
        )  # fmt: skip


def plan_separable(depthwise: ConvGeometry, pointwise: ConvGeometry) -> tuple[bool, str, int]:
    return _core.plan_separable(_conv(depthwise), _conv(pointwise))


def pack(w: Array, g: ConvGeometry, direction: str, algorithm: str) -> _core.PackedWeights:
    return _core.PackedWeights(_conv(g), w, direction, algorithm, "fast")


def conv_bf16(
    x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry, *, activation: str | None, alpha: float
) -> None:
    packed = pack_words(w, g) if isinstance(w, np.ndarray) and w.dtype.kind == "V" else w
    to = y if y.dtype == np.float32 else y.view(np.uint16)
    _core.conv_bf16(_conv(g), x.view(np.uint16), packed, b, to, activation, alpha)


def bf16_algorithm(w: Weights, g: ConvGeometry) -> str:
    is_float = isinstance(w, np.ndarray) and w.dtype == np.float32
    name = _core.widened_algorithm(_conv(g)) if is_float else None
    return f"{name} widened" if name else "direct"


def conv_int8(
    x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry,
    *, scale: Array, x_zero_point: int, y_zero_point: int, activation: str | None,
) -> None:  # fmt: skip
    packed = pack_words(w, g) if isinstance(w, np.ndarray) else w
    _core.conv_int8(_conv(g), x, packed, b, y, scale, x_zero_point, y_zero_point, activation == "relu")


def pack_words(w: Array, g: ConvGeometry) -> _core.PackedWords:
    return _core.PackedWords(_conv(g), w if w.dtype == np.int8 else w.view(np.uint16))


def conv_bf16_grad_input(dy: Array, w: Array, dx: Array, g: ConvGeometry, *, algorithm: str, accuracy: str) -> None:
    _core.conv_bf16_grad_input(_conv(g), dy, w, dx, algorithm, accuracy)


def conv_bf16_grad_weight(x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str) -> None:
    _core.conv_bf16_grad_weight(_conv(g), x, dy, dw, algorithm, accuracy)


def conv_grad_weight(
    x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str, db: Array | None = None,
    y: Array | None = None, work: Array | None = None, activation: str | None = None, alpha: float = 0.0,
) -> None:  # fmt: skip
    _core.conv_grad_weight(_conv(g), x, dy, dw, algorithm, accuracy, db, y, work, activation, alpha)


def conv_grad_bias(dy: Array, db: Array, channels_last: bool) -> None:
    _core.conv_grad_bias(dy, db, channels_last)


def _pooling(p: PoolGeometry) -> _core.Pooling:
    if p.native is None:
        before, after = zip(*p.padding, strict=True)
        p.native = _core.Pooling(
            p.x_shape, p.y_shape, p.size, p.strides, before, after, p.dilation,
            p.count_include_pad, p.adaptive, p.channels_last,
        )  # fmt: skip
    made: _core.Pooling = p.native
    return made


def max_pool(x: Array, y: Array, indices: Array | None, p: PoolGeometry) -> None:
    _core.max_pool(_pooling(p), x, y, indices)


def max_pool_grad(dy: Array, indices: Array, dx: Array, p: PoolGeometry) -> None:
    _core.max_pool_grad(_pooling(p), dy, indices, dx)


def average_pool(x: Array, y: Array, p: PoolGeometry) -> None:
    _core.average_pool(_pooling(p), x, y)


def average_pool_grad(dy: Array, dx: Array, p: PoolGeometry) -> None:
    _core.average_pool_grad(_pooling(p), dy, dx)


activation = _core.activation
activation_grad = _core.activation_grad
activation_grad_bias = _core.activation_grad_bias
add = _core.add


def concatenate(arrays: list[Array], y: Array, axis: int) -> None:
    if y.size:
        _core.concatenate(arrays, y, math.prod(y.shape[:axis]))


softmax = _core.softmax
softmax_grad = _core.softmax_grad
softmax_cross_entropy = _core.softmax_cross_entropy
softmax_cross_entropy_grad = _core.softmax_cross_entropy_grad
batch_norm_statistics = _core.batch_norm_statistics
batch_norm = _core.batch_norm
batch_norm_grad = _core.batch_norm_grad
group_norm = _core.group_norm
group_norm_grad = _core.group_norm_grad
dropout = _core.dropout
square_sums = _core.square_sums
moving_average = _core.moving_average


def optimizer_update(
    u: Update, w: list[Array], dw: list[Array], m: list[Array], v: list[Array], average: list[Array],
    scales: list[float],
) -> None:  # fmt: skip
    _core.optimizer_update(u.rule, w, dw, m, v, average, scales, *u[1:])


def plan(g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
    p = _core.plan_conv(_conv(g), direction, algorithm, accuracy)
    possible, candidates = listed(p["candidates"], accuracy)
    pixels, channels = p["tile"]
    rows, columns, panels = p["block"]
    kernel = "depthwise" if p["depthwise"] else "dot" if p["dot"] else p["algorithm"]
    return {
        "algorithm": p["algorithm"],
        "packed_algorithm": p["packed_algorithm"],
        "possible": possible,
        "candidates": candidates,
        "tile": f"{kernel}: {pixels} pixels x {channels} channels in registers, "
        f"{p['tasks']} tasks of {rows} x {columns} pixels x {panels} panels",
        "workspace_bytes": p["workspace_bytes"],
        "packed_bytes": p["packed_bytes"],
        "expected_gflops": p["expected_gflops"],
        "reason": p["reason"],
    }


isa_available = _core.isa_available
isa_name = _core.isa_name
isa_kernels = _core.isa_kernels
workspace_limit = _core.workspace_limit
set_workspace_limit = _core.set_workspace_limit
thread_count = _core.thread_count
set_thread_count = _core.set_thread_count
fma_peak = _core.fma_peak
build_info = _core.build_info


def isa_use(name: str) -> None:
    if name not in isa_available():
        raise ValueError(f"isa must be one of {', '.join(isa_available())}, got {name!r}")
    _core.isa_use(name)


if cap := os.environ.get("TAPWISE_ISA"):
    isa_use(cap)
