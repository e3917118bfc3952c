"""Bytes with a scale and a zero point: QLinearConv by the int8 kernel where it can, the rest in exact NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ....geometry import conv_geometry
from ..graph import Node
from ..run import Run
from ..values import Array, Value, positive
from ..windows import conv_windows
from .conv import to_last
from .geometry import spatial, window

BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


def centred(x: Array, zero: Any) -> Array:
    """x less its zero point, exactly."""
    return x.astype(np.int32) - np.asarray(zero).astype(np.int32)


def by_row(zero: Array, rank: int) -> Array:
    """A zero point or scale for each output channel of weights (co, ...)."""
    return zero.reshape(-1, *(1,) * (rank - 1)) if zero.size > 1 else zero.reshape(())


def saturated(x: Array, scale: Any, zero: Any, dtype: Any) -> Array:
    """round(x * scale) + zero, half to even, kept within dtype."""
    limits = np.iinfo(dtype)
    moved = np.rint(x * scale) + np.asarray(zero).astype(np.int64)
    return np.asarray(np.clip(moved, limits.min, limits.max).astype(dtype))


def conv_integer(
    run: Run, node: Node, x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None
) -> Value:
    kernel, groups = spatial(w.shape), int(node.get("group", 1))
    g = window(node, spatial(x.shape), kernel)
    zeros = [np.int32(0) if zero is None else run.known(zero) for zero in (x_zero, w_zero)]

    def step(a: Array, b: Array) -> Array:
        b = centred(b, by_row(np.asarray(zeros[1]), b.ndim))
        return conv_windows(centred(a, zeros[0]), b, None, g.strides, g.pairs, g.dilation, groups)

    return Value(run.made(step, run.first(x), run.first(w)))


def qlinear_conv(
    run: Run, node: Node, x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value,
    y_scale: Value, y_zero: Value, b: Value | None = None,
) -> Value:  # fmt: skip
    run.need(x.dtype in BYTES and w.dtype in BYTES and y_zero.dtype in BYTES, f"of {x.dtype} and {w.dtype}")
    g, groups = window(node, spatial(x.shape), spatial(w.shape)), int(node.get("group", 1))
    numbers = [run.known(v) for v in (x_scale, x_zero, w_scale, w_zero, y_scale, y_zero)]
    scale_x, zero_x, scale_w, zero_w, scale_y, zero_y = numbers
    zero = zero_y.reshape(())
    if w.constant and w.dtype == np.int8 and not zero_w.any() and x.rank <= 5 and (b is None or b.constant):
        options: dict[str, Any] = {"strides": g.strides, "padding": g.pairs, "dilation": g.dilation, "groups": groups}
        memory, weights = run.last(x), to_last(w.memory.array)
        sizes = conv_geometry(memory.shape, weights.shape, *options.values(), "channels_last")
        packed = ops.pack(weights, x_shape=memory.shape, **options)
        bias = None if b is None else np.ascontiguousarray(b.memory.array, np.int32)

        def kernels(a: Array, y: Array) -> None:
            ops.conv_int8(
                a, packed, bias, x_scale=float(scale_x.reshape(())), x_zero_point=int(zero_x.reshape(())),
                w_scale=scale_w.astype(np.float32).reshape(-1) if scale_w.size > 1 else float(scale_w.reshape(())),
                y_scale=float(scale_y.reshape(())), y_zero_point=int(zero), out=y, **options,
            )  # fmt: skip

        return Value(run.call(kernels, (memory,), sizes.y_shape, y_zero.dtype, kernels=True), True)
    factor = (np.float64(1) * scale_x * scale_w / scale_y).reshape(-1, *(1,) * (x.rank - 2))

    def step(a: Array, k: Array, bias: Array | None = None) -> Array:
        k = centred(k, by_row(zero_w, k.ndim))
        total = conv_windows(centred(a, zero_x), k, bias, g.strides, g.pairs, g.dilation, groups)
        return saturated(total, factor, zero, zero_y.dtype)

    return Value(run.made(step, run.first(x), run.first(w), *([] if b is None else [run.first(b)])))


def matmul_integer(
    run: Run, node: Node, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value:
    zeros = [np.int32(0) if zero is None else run.known(zero) for zero in (a_zero, b_zero)]
    run.need(all(np.size(zero) == 1 for zero in zeros), "with a zero point a row")
    return Value(run.made(lambda x, y: centred(x, zeros[0]) @ centred(y, zeros[1]), run.first(a), run.first(b)))


def along_axis(number: Array, rank: int, axis: int) -> Array:
    """A number for all, or for each place along axis."""
    if number.size == 1:
        return number.reshape(())
    return number.reshape([-1 if i == axis else 1 for i in range(rank)])


def quantize(run: Run, node: Node, x: Value, scale: Value, zero: Value | None = None) -> Value:
    run.need(zero is not None and zero.dtype in BYTES and not node.get("block_size", 0), "to another type than bytes")
    assert zero is not None
    run.need(x.dtype == np.float32 and scale.dtype == np.float32 and scale.rank <= 1, f"of {x.dtype}")
    run.need(not node.get("precision", 0), "with a precision")
    axis = positive(node.get("axis", 1), x.rank) if scale.memory.shape not in ((), (1,)) else 0
    by, at = along_axis(run.known(scale), x.rank, axis), along_axis(run.known(zero), x.rank, axis)
    limits = np.iinfo(zero.dtype)

    def step(a: Array) -> Array:
        moved = np.rint(a / by) + at.astype(np.float32)
        return np.asarray(np.clip(moved, limits.min, limits.max).astype(zero.dtype))

    return Value(run.made(step, run.first(x)))


def dequantize(run: Run, node: Node, x: Value, scale: Value, zero: Value | None = None) -> Value:
    run.need(x.dtype in (*BYTES, np.dtype(np.int32)) and not node.get("block_size", 0), f"of {x.dtype}")
    run.need(scale.dtype == np.float32 and scale.rank <= 1 and not node.get("output_dtype", 0), f"to {scale.dtype}")
    axis = positive(node.get("axis", 1), x.rank) if scale.memory.shape not in ((), (1,)) else 0
    by = along_axis(run.known(scale), x.rank, axis)
    at = np.int32(0) if zero is None else along_axis(run.known(zero), x.rank, axis)
    return Value(run.made(lambda a: (centred(a, at) * by).astype(np.float32), run.first(x)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "ConvInteger": conv_integer, "QLinearConv": qlinear_conv, "MatMulInteger": matmul_integer,
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize,
}  # fmt: skip
