"""Convolution of bfloat16 and of int8: forward, by the direct method, on packed or plain weights."""

from functools import lru_cache
from typing import Any

import numpy as np

from ..backend import current
from ..geometry import Padding, Shape, Sizes, conv_geometry, integer
from .check import Array, DType, activation_alpha, as_array, number, refuse_dtype, shaped, source, weight, written
from .memory import empty
from .pack import PackedWeights, array_or_packed, used

FLOAT32, INT32, INT8, UINT8 = map(np.dtype, ("float32", "int32", "int8", "uint8"))
LIMITS = {UINT8: (0, 255), INT8: (-128, 127)}


def conv_bf16(
    x: Any,
    w: Any,
    b: Any,
    strides: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int | None,
    data_format: str,
    algorithm: str,
    activation: str | None,
    alpha: float | None,
    residual: Any,
    out: Any,
) -> Array:
    """conv where x is bfloat16, and w that or float32; the arguments are conv's."""
    backend = current()
    x = source(x, "x", (x.dtype,))
    if algorithm not in ("auto", "direct"):
        raise ValueError(f"algorithm must be auto or direct for bfloat16, got {algorithm!r}")
    if residual is not None:
        raise ValueError(f"residual must be None for bfloat16, got {type(residual).__name__}")
    kind, slope = activation_alpha(activation, alpha)
    if kind not in (None, "relu", "leaky_relu"):
        raise ValueError(f"activation must be None, linear, relu or leaky_relu for bfloat16, got {activation!r}")
    w = array_or_packed(w, x.dtype) if type(w) is PackedWeights else weight(w, x.dtype, FLOAT32)
    g = conv_geometry(x.shape, w.shape, strides, padding, dilation, groups, data_format)
    co = g.y_shape[-1 if g.channels_last else 1]
    if b is not None:
        b = shaped(b, "b", (co,), FLOAT32)
    y = result(out, g.y_shape, (x.dtype, FLOAT32), x=x, w=w, b=b)
    backend.conv_bf16(x, used(w, g, backend), b, y, g, activation=kind, alpha=slope)
    return y


def conv_int8(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    x_scale: float,
    x_zero_point: int,
    w_scale: Any,
    y_scale: float,
    y_zero_point: int,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    activation: str | None = None,
    out: Any = None,
) -> Array:
    """Cross-correlate bytes as ONNX's QLinearConv does: a byte stands for (byte - zero_point) * scale.

    x (n, *spatial, ci) uint8 or int8, w (*k, ci // groups, co) int8 around zero, b (co,) int32 in units of
    x_scale * w_scale -> y (n, *o, co) of x's type, or of out's. w_scale is a number or (co,). Padding stands for 0.
    y = clamp(round(float32(sum) * (x_scale * w_scale / y_scale)) + y_zero_point), half to even; the sum is exact as
    long as it fits int32. activation: None, or "relu", which clamps at y_zero_point. w may be what pack made of it.
    Raises TypeError on another dtype, ValueError on sizes and numbers that don't fit.
    """
    backend = current()
    x = source(x, "x", (UINT8, INT8))
    w = array_or_packed(w, INT8)
    g = conv_geometry(x.shape, w.shape, strides, padding, dilation, groups, data_format)
    co = g.y_shape[-1 if g.channels_last else 1]
    if b is not None:
        b = shaped(b, "b", (co,), INT32)
    if activation not in (None, "linear", "relu"):
        raise ValueError(f"activation must be None, linear or relu for int8, got {activation!r}")
    scale = output_scale(x_scale, w_scale, y_scale, co)
    y = result(out, g.y_shape, (x.dtype, UINT8 if x.dtype == INT8 else INT8), x=x, w=w, b=b)
    backend.conv_int8(
        x, used(w, g, backend), b, y, g, scale=scale, activation="relu" if activation == "relu" else None,
        x_zero_point=zero_point(x_zero_point, "x_zero_point", x.dtype),
        y_zero_point=zero_point(y_zero_point, "y_zero_point", y.dtype),
    )  # fmt: skip
    return y


def result(out: Any, shape: Shape, dtypes: tuple[DType, ...], **inputs: Any) -> Array:
    """out, of one of dtypes, or a new array of the first."""
    if out is None:
        return empty(shape, dtypes[0], next(iter(inputs.values())))
    out = as_array(out, "out")
    refuse_dtype("out", out.dtype, *dtypes)
    arrays = {name: array for name, array in inputs.items() if isinstance(array, np.ndarray)}
    return written(out, "out", shape, out.dtype, **arrays)


def output_scale(x_scale: float, w_scale: Any, y_scale: float, co: int) -> Array:
    """x_scale * w_scale / y_scale for each output channel, in float32 step by step, as ONNX Runtime has it."""
    scales = w_scale if type(w_scale) is np.ndarray and w_scale.dtype == FLOAT32 else np.asarray(w_scale, np.float32)
    if scales.shape not in ((), (co,)):
        raise ValueError(f"w_scale must be a number or have shape {(co,)}, got shape {scales.shape}")
    return checked_scale(number(x_scale, "x_scale", 0.0), scales.tobytes(), number(y_scale, "y_scale", 0.0), co)


@lru_cache(maxsize=256)  # by value: a layer is called with the same scales again and again
def checked_scale(x_scale: float, w_scale: bytes, y_scale: float, co: int) -> Array:
    x32, scales, y32 = np.float32(x_scale), np.frombuffer(w_scale, FLOAT32), np.float32(y_scale)
    if x32 == 0 or y32 == 0 or not (scales.min() > 0 and scales.max() < np.inf):
        for name, values in (("x_scale", x32), ("w_scale", scales), ("y_scale", y32)):
            if not np.all((values > 0) & np.isfinite(values)):
                raise ValueError(f"{name} must be > 0 and finite in float32, got {values.squeeze()}")
    with np.errstate(over="ignore", under="ignore"):
        scale: Array = x32 * scales / y32
    if scale.shape != (co,):
        scale = np.full(co, scale[0], FLOAT32)
    if not scale.max() < np.inf:
        raise ValueError(f"x_scale * w_scale / y_scale must be finite in float32, got {scale.max()}")
    scale.flags.writeable = False
    return scale


def zero_point(value: Any, name: str, dtype: DType) -> int:
    least, most = LIMITS[dtype]
    point = integer(value, name, least)
    if point > most:
        raise ValueError(f"{name} must be <= {most}, got {point}")
    return point
