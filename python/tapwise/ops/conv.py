"""Convolution, its gradients and its transpose, with 1, 2 or 3 spatial dimensions."""

from typing import Any

from ..backend import current
from ..geometry import Padding, Shape, Sizes, conv_geometry, conv_transpose_geometry, is_channels_last
from .bf16 import conv_bf16_grad_input, conv_bf16_grad_weight
from .check import (
    ACCURACIES,
    ALGORITHMS,
    FLOAT32,
    Array,
    DType,
    activation_alpha,
    elementwise,
    is_bfloat16,
    refuse_choice,
    serving,
    shaped,
    source,
    values,
    weight,
    wide,
    written,
    written_weight,
)
from .low_precision import conv_bf16
from .memory import empty
from .pack import PackedWeights, array_or_packed
from .tuned import tuned, winners


def channels_of(shape: Shape, channels_last: bool) -> Shape:
    return (shape[-1] if channels_last else shape[1],)


def addends(b: Any, residual: Any, shape: Shape, channels_last: bool, dtype: DType) -> tuple[Any, Any]:
    """What a result of this shape gets added, or None: b (channels,), and residual, laid out as the result."""
    if b is not None:
        b = shaped(b, "b", channels_of(shape, channels_last), dtype)
    if residual is not None:
        residual = shaped(residual, "residual", shape, dtype)
    return b, residual


def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    activation: str | None = None,
    alpha: float | None = None,
    residual: Any = None,
    out: Any = None,
) -> Array:
    """Cross-correlate x with w, add b and residual, apply the activation.

    x (n, *spatial, ci), w (*k, ci // groups, co), b (co,) -> y (n, *o, co); channels_first: x (n, ci, *spatial),
    w (co, ci // groups, *k) -> y (n, co, *o). residual is laid out as y. w may be any view; the rest is contiguous.
    padding: "valid", "same" (TensorFlow's), "same_lower", "causal", an integer, one per axis, (before, after) per axis.
    algorithm: "auto", "direct", "im2col", "winograd", or with its output tile "winograd-2x2", "-4x4", "-6x6".
    accuracy decides what "auto" may use: "strict" (no Winograd), "default" (rms error <= 4x a sum's), "fast" (all).
    w may be what pack made of it: no copy then. alpha is the slope of leaky_relu (0.2) or the alpha of elu (1.0).
    x may be bfloat16 (ml_dtypes), b float32, w and out of either: direct, relu or leaky_relu, no residual. A w of
    float32 may be rounded.
    Raises TypeError on another dtype, ValueError on sizes that don't fit.
    """
    backend = current()
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    packed = type(w) is PackedWeights
    plain = backend.are_plain is not None and backend.are_plain(x, None if packed else w, b, residual, out)
    if not plain:
        backend = serving(x, "x", w=w, b=b, residual=residual, out=out)
        if is_bfloat16(getattr(x, "dtype", None)):
            geometry = strides, padding, dilation, groups, data_format
            return conv_bf16(x, w, b, *geometry, algorithm, activation, alpha, residual, out)
        x = source(x, "x", backend.dtypes)
    dtype = x.dtype
    if packed or not plain:
        w = array_or_packed(w, dtype)
    g = conv_geometry(x.shape, w.shape, strides, padding, dilation, groups, data_format)
    weights = w
    if packed:
        weights, algorithm, w = w.used_for(g, "forward", algorithm, accuracy, backend), w.algorithm, None
    elif winners:
        algorithm = tuned(g, "forward", algorithm, accuracy, backend)
    y_shape = g.y_shape
    if not plain or residual is not None or (b is not None and b.shape != channels_of(y_shape, g.channels_last)):
        b, residual = addends(b, residual, y_shape, g.channels_last, dtype)
    kind, slope = activation_alpha(activation, alpha)
    y = empty(y_shape, dtype, x) if out is None else out
    if out is not None and not (plain and out.shape == y_shape):
        y = written(out, "out", y_shape, dtype, x=x, w=w, b=b, residual=residual)
    backend.conv(
        x, weights, b, y, g, algorithm=algorithm, accuracy=accuracy, activation=kind, alpha=slope, residual=residual
    )
    return y


def conv_grad_input(
    dy: Any,
    w: Any,
    x_shape: Shape,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    residual: Any = None,
    out: Any = None,
) -> Array:
    """The gradient of conv with respect to x: dy (n, *o, co), w (*k, ci // groups, co) -> dx of x_shape.

    residual, of x_shape, is added: the gradient that another reader of x has found. dy and dx may be bfloat16, with w
    float32 or bfloat16 and no residual.
    Raises TypeError on another dtype, ValueError on sizes that don't fit.
    """
    backend = serving(dy, "dy", w=w, residual=residual, out=out)
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    dy = values(dy, "dy", backend)
    if is_bfloat16(dy.dtype):
        w = weight(w, FLOAT32, dy.dtype)
        g = conv_geometry(x_shape, w.shape, strides, padding, dilation, groups, data_format)
        return conv_bf16_grad_input(dy, w, g, algorithm, accuracy, residual, out)
    w = array_or_packed(w, dy.dtype)
    g = conv_geometry(x_shape, w.shape, strides, padding, dilation, groups, data_format)
    weights = w
    if type(w) is PackedWeights:
        weights, algorithm, w = w.used_for(g, "grad_input", algorithm, accuracy, backend), w.algorithm, None
    elif winners:
        algorithm = tuned(g, "grad_input", algorithm, accuracy, backend)
    if dy.shape != g.y_shape:
        raise ValueError(f"dy must have shape {g.y_shape}, got {dy.shape}")
    if residual is not None:
        residual = shaped(residual, "residual", g.x_shape, dy.dtype)
    if out is None:
        dx = empty(g.x_shape, dy.dtype, dy)
    else:
        dx = written(out, "out", g.x_shape, dy.dtype, dy=dy, w=w, residual=residual)
    backend.conv_grad_input(dy, weights, dx, g, algorithm=algorithm, accuracy=accuracy, residual=residual)
    return dx


def conv_grad_weight(
    x: Any,
    dy: Any,
    w_shape: Shape,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Array:
    """The gradient of conv with respect to w: x (n, *spatial, ci), dy (n, *o, co) -> dw of w_shape.

    out may be any view. x and dy may be bfloat16; dw is float32 then, and out contiguous.
    Raises TypeError on another dtype, ValueError on sizes that don't fit.
    """
    backend = serving(x, "x", dy=dy, out=out)
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    x = values(x, "x", backend)
    g = conv_geometry(x.shape, w_shape, strides, padding, dilation, groups, data_format)
    if is_bfloat16(x.dtype):
        return conv_bf16_grad_weight(x, dy, g, algorithm, accuracy, out)
    if winners:
        algorithm = tuned(g, "grad_weight", algorithm, accuracy, backend)
    dy = shaped(dy, "dy", g.y_shape, x.dtype)
    dw = empty(g.w_shape, x.dtype, x) if out is None else written_weight(out, "out", g.w_shape, x.dtype, x=x, dy=dy)
    backend.conv_grad_weight(x, dy, dw, g, algorithm=algorithm, accuracy=accuracy)
    return dw


def conv_grad_weight_bias(
    x: Any,
    dy: Any,
    w_shape: Shape,
    *,
    y: Any = None,
    activation: str | None = None,
    alpha: float | None = None,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
    out_bias: Any = None,
    work: Any = None,
) -> tuple[Array, Array]:
    """dw and db of y = activation(conv(x, w) + b): of dz = activation_grad(dy, y, activation), made as dy is read.

    For a convolution whose input gradient nobody wants: else activation_grad_bias makes the dz that it needs as well.
    out, any view, takes dw, out_bias db. work is memory of dy's shape, or dy itself, that may be written over where all
    of dz is needed at once. y (n, *o, co) is what "gelu" can't be found from; without an activation it may be None.
    Raises TypeError on another dtype, ValueError on sizes that don't fit.
    """
    backend = serving(x, "x", dy=dy, y=y, out=out, out_bias=out_bias, work=work)
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    x = source(x, "x", backend.dtypes)
    g = conv_geometry(x.shape, w_shape, strides, padding, dilation, groups, data_format)
    if winners:
        algorithm = tuned(g, "grad_weight", algorithm, accuracy, backend)
    dy = shaped(dy, "dy", g.y_shape, x.dtype)
    kind, slope = activation_alpha(activation, alpha)
    if kind == "gelu":
        raise ValueError("activation must be one whose gradient is found from y, got 'gelu'")
    y = None if kind is None else shaped(y, "y", g.y_shape, x.dtype)
    inputs = {"x": x, "y": y}
    work = elementwise(work, dy, name="work", **inputs)
    if out is None:
        dw = empty(g.w_shape, x.dtype, x)
    else:
        dw = written_weight(out, "out", g.w_shape, x.dtype, dy=dy, work=work, **inputs)
    shape = channels_of(g.y_shape, g.channels_last)
    if out_bias is None:
        db = empty(shape, x.dtype, x)
    else:
        db = written(out_bias, "out_bias", shape, x.dtype, dy=dy, work=work, out=dw, **inputs)
    backend.conv_grad_weight(
        x, dy, dw, g, algorithm=algorithm, accuracy=accuracy, db=db, y=y, work=work, activation=kind, alpha=slope
    )
    return dw, db


def conv_grad_bias(dy: Any, *, data_format: str = "channels_last", out: Any = None) -> Array:
    """The gradient of conv with respect to b: dy (n, *o, co) -> db (co,), its sum over all but the channels."""
    backend = serving(dy, "dy", out=out)
    dy = values(dy, "dy", backend)
    channels_last = is_channels_last(data_format)
    if dy.ndim < 2:
        raise ValueError(f"dy must have at least 2 dimensions, got shape {dy.shape}")
    shape, dtype = (dy.shape[-1 if channels_last else 1],), wide(dy.dtype)
    db = empty(shape, dtype, dy) if out is None else written(out, "out", shape, dtype, dy=dy)
    backend.conv_grad_bias(dy, db, channels_last)
    return db


def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    output_padding: Sizes | None = None,
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    activation: str | None = None,
    alpha: float | None = None,
    residual: Any = None,
    out: Any = None,
) -> Array:
    """The input gradient of a convolution, with b, residual and activation: each x adds a kernel to y, strides apart.

    x (n, *spatial, ci), w (*k, co // groups, ci) as in Keras, b (co,) -> y (n, *o, co); channels_first:
    x (n, ci, *spatial), w (ci, co // groups, *k) as in PyTorch -> y (n, co, *o). groups=None is 1.
    Sizes: Keras' rules for padding "valid" and "same", PyTorch's for numbers; see geometry.transpose_padding.
    Raises TypeError on another dtype, ValueError on sizes that don't fit.
    """
    backend = serving(x, "x", w=w, b=b, residual=residual, out=out)
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    x = source(x, "x", backend.dtypes)
    dtype = x.dtype
    w = array_or_packed(w, dtype)
    g = conv_transpose_geometry(x.shape, w.shape, strides, padding, output_padding, dilation, groups, data_format)
    weights = w
    if type(w) is PackedWeights:
        weights, algorithm, w = w.used_for(g, "transpose", algorithm, accuracy, backend), w.algorithm, None
    y_shape = g.x_shape
    b, residual = addends(b, residual, y_shape, g.channels_last, dtype)
    kind, slope = activation_alpha(activation, alpha)
    if out is None:
        y = empty(y_shape, dtype, x)
    else:
        y = written(out, "out", y_shape, dtype, x=x, w=w, b=b, residual=residual)
    backend.conv_grad_input(
        x, weights, y, g, algorithm=algorithm, accuracy=accuracy, b=b, activation=kind, alpha=slope, residual=residual
    )
    return y
