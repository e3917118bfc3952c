"""What bfloat16 has of its own: casts, and the gradients of convolutions whose weights are float32."""

from functools import cache
from typing import Any

import numpy as np

from ..backend import current
from ..geometry import ConvGeometry, conv_geometry
from .check import Array, DType, as_array, is_bfloat16, serving, shaped, source, weight, written
from .memory import empty

FLOAT32 = np.dtype(np.float32)


@cache
def bfloat16() -> DType:
    """ml_dtypes' type."""
    try:
        from ml_dtypes import bfloat16 as kind
    except ImportError:
        raise ImportError('bfloat16 needs ml_dtypes: pip install "tapwise[bf16]"') from None
    made: DType = np.dtype(kind)
    return made


def cast(x: Any, dtype: Any, *, out: Any = None) -> Array:
    """x, float32 or bfloat16 of any shape, as dtype, the other one: to the nearest, half to even; NaN stays NaN.

    dtype may be "bfloat16". An x that has it already comes back itself. Raises TypeError on another type.
    """
    backend = serving(x, "x", out=out)
    to = bfloat16() if isinstance(dtype, str) and dtype == "bfloat16" else np.dtype(dtype)
    if to != FLOAT32 and not is_bfloat16(to):
        raise TypeError(f"dtype must be float32 or bfloat16, got {to}")
    given: Array = as_array(x, "x")
    if given.dtype == to:
        return given
    x = source(given, "x", (FLOAT32 if is_bfloat16(to) else bfloat16(),))
    y: Array = empty(x.shape, to, x) if out is None else written(out, "out", x.shape, to, x=x)
    backend.cast(x, y)
    return y


def conv_bf16_grad_input(
    dy: Any, w: Any, g: ConvGeometry, algorithm: str, accuracy: str, residual: Any, out: Any
) -> Array:
    """conv_grad_input where dy is bfloat16, and w that or float32.

    At stride 1 the forward pass with the weights turned round; else what float32 makes of the same numbers, rounded.
    """
    backend = current()
    dy = shaped(dy, "dy", g.y_shape, dy.dtype)
    w = weight(w, FLOAT32, dy.dtype)
    if residual is not None:
        raise ValueError(f"residual must be None for bfloat16, got {type(residual).__name__}")
    dx = empty(g.x_shape, dy.dtype, dy) if out is None else written(out, "out", g.x_shape, dy.dtype, dy=dy, w=w)
    back = turned(g) if algorithm in ("auto", "direct") else None
    if back is None:
        w = w if w.dtype == FLOAT32 else cast(np.ascontiguousarray(w), FLOAT32)
        backend.conv_bf16_grad_input(dy, w, dx, g, algorithm=algorithm, accuracy=accuracy)
    else:
        space = tuple(range(g.rank)) if g.channels_last else tuple(range(2, g.rank + 2))
        w = np.flip(w, space).swapaxes(*((-1, -2) if g.channels_last else (0, 1)))
        backend.conv_bf16(dy, w, None, dx, back, activation=None, alpha=0.0)
    return dx


def conv_bf16_grad_weight(x: Any, dy: Any, g: ConvGeometry, algorithm: str, accuracy: str, out: Any) -> Array:
    """conv_grad_weight where x is bfloat16: float32's, whose products of bfloat16 are exact; dw is float32."""
    backend = current()
    dy = shaped(dy, "dy", g.y_shape, x.dtype)
    dw = empty(g.w_shape, FLOAT32, x) if out is None else written(out, "out", g.w_shape, FLOAT32, x=x, dy=dy)
    backend.conv_bf16_grad_weight(x, dy, dw, g, algorithm=algorithm, accuracy=accuracy)
    return dw


def turned(g: ConvGeometry) -> ConvGeometry | None:
    """The convolution from dy to dx with the weights turned round, where there is one."""
    if g.groups > 1 or any(stride > 1 for stride in g.strides):
        return None
    axes = slice(1, -1) if g.channels_last else slice(2, None)
    kernel = g.w_shape[:-2] if g.channels_last else g.w_shape[2:]
    pairs = []
    for size, k, dilation, (before, _), output in zip(
        g.x_shape[axes], kernel, g.dilation, g.padding, g.y_shape[axes], strict=True
    ):
        reach = dilation * (k - 1)
        pairs.append((reach - before, size - output + before))
    if min(min(pair) for pair in pairs) < 0:
        return None
    w_shape = (*kernel, g.w_shape[-1], g.w_shape[-2]) if g.channels_last else (g.w_shape[1], g.w_shape[0], *kernel)
    layout = "channels_last" if g.channels_last else "channels_first"
    return conv_geometry(g.y_shape, w_shape, 1, tuple(pairs), g.dilation, 1, layout)
