"""Dense layers, activations, softmax and cross-entropy, with their gradients."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..backend import Backend
from ..geometry import ConvGeometry, Shape, conv_geometry
from ..trace import copied
from .bf16 import conv_bf16_grad_input, conv_bf16_grad_weight
from .check import (
    FLOAT32,
    Array,
    activation_alpha,
    as_array,
    elementwise,
    is_bfloat16,
    serving,
    shaped,
    source,
    values,
    weight,
    wide,
    written,
)
from .low_precision import conv_bf16, result
from .memory import empty

INT32 = np.dtype(np.int32)
VALID = 1, "valid", 1, 1, "channels_last"  # how dense_geometry sees a Dense layer


def dense(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    activation: str | None = None,
    alpha: float | None = None,
    residual: Any = None,
    out: Any = None,
) -> Array:
    """x (..., ci), w (ci, co), b (co,) -> y (..., co) = activation(x w + b + residual). w may be any view.

    A convolution with one tap, whose pixels are the rows of x. Of bfloat16 as conv, and so the gradients.
    """
    backend = serving(x, "x", w=w, b=b, residual=residual, out=out)
    x = values(x, "x", backend)
    bf16 = is_bfloat16(x.dtype)
    w = weight(w, x.dtype, FLOAT32) if bf16 else weight(w, x.dtype)
    g = dense_geometry(x.shape, w.shape)
    y_shape = (*x.shape[:-1], w.shape[1])
    if bf16:
        y = result(out, y_shape, (x.dtype, FLOAT32), x=x, w=w)
        options = "auto", activation, alpha, residual, y.reshape(g.y_shape)
        conv_bf16(x.reshape(g.x_shape), w[None], b, *VALID, *options)
        return y
    if b is not None:
        b = shaped(b, "b", (w.shape[1],), x.dtype)
    if residual is not None:
        residual = shaped(residual, "residual", y_shape, x.dtype).reshape(g.y_shape)
    kind, slope = activation_alpha(activation, alpha)
    if out is None:
        y = empty(y_shape, x.dtype, x)
    else:
        y = written(out, "out", y_shape, x.dtype, x=x, w=w, b=b, residual=residual)
    backend.conv(
        x.reshape(g.x_shape), w[None], b, y.reshape(g.y_shape), g,
        algorithm="auto", accuracy="default", activation=kind, alpha=slope, residual=residual,
    )  # fmt: skip
    return y


def dense_grad_input(dy: Any, w: Any, *, out: Any = None) -> Array:
    """dy (..., co), w (ci, co) -> dx (..., ci) = dy w'."""
    backend = serving(dy, "dy", w=w, out=out)
    dy = values(dy, "dy", backend)
    bf16 = is_bfloat16(dy.dtype)
    w = weight(w, dy.dtype, FLOAT32) if bf16 else weight(w, dy.dtype)
    if w.ndim != 2 or dy.ndim < 1 or dy.shape[-1] != w.shape[1]:
        raise ValueError(f"dy must be (..., co) for w (ci, co), got dy {dy.shape}, w {w.shape}")
    x_shape = (*dy.shape[:-1], w.shape[0])
    g = dense_geometry(x_shape, w.shape)
    dx = empty(x_shape, dy.dtype, dy) if out is None else written(out, "out", x_shape, dy.dtype, dy=dy, w=w)
    if bf16:
        conv_bf16_grad_input(dy.reshape(g.y_shape), w[None], g, "auto", "default", None, dx.reshape(g.x_shape))
        return dx
    backend.conv_grad_input(
        dy.reshape(g.y_shape), w[None], dx.reshape(g.x_shape), g, algorithm="auto", accuracy="default"
    )
    return dx


def dense_grad_weight(x: Any, dy: Any, *, out: Any = None) -> Array:
    """x (..., ci), dy (..., co) -> dw (ci, co) = x' dy."""
    backend = serving(x, "x", dy=dy, out=out)
    x = values(x, "x", backend)
    dy = source(dy, "dy", (x.dtype,))
    if x.ndim < 1 or x.shape[:-1] != dy.shape[:-1]:
        raise ValueError(f"dy must be (..., co) for x (..., ci), got dy {dy.shape}, x {x.shape}")
    w_shape = (x.shape[-1], dy.shape[-1])
    g = dense_geometry(x.shape, w_shape)
    dtype = wide(x.dtype)
    dw = empty(w_shape, dtype, x) if out is None else written(out, "out", w_shape, dtype, x=x, dy=dy)
    if is_bfloat16(x.dtype):
        conv_bf16_grad_weight(x.reshape(g.x_shape), dy.reshape(g.y_shape), g, "auto", "default", dw[None])
        return dw
    backend.conv_grad_weight(
        x.reshape(g.x_shape), dy.reshape(g.y_shape), dw[None], g, algorithm="auto", accuracy="default"
    )
    return dw


def dense_grad_bias(dy: Any, *, out: Any = None) -> Array:
    """dy (..., co) -> db (co,), its sum over the rows."""
    backend = serving(dy, "dy", out=out)
    dy = values(dy, "dy", backend)
    if dy.ndim < 1:
        raise ValueError(f"dy must have at least 1 dimension, got shape {dy.shape}")
    shape, dtype = dy.shape[-1:], wide(dy.dtype)
    db = empty(shape, dtype, dy) if out is None else written(out, "out", shape, dtype, dy=dy)
    backend.conv_grad_bias(dy.reshape(prod(dy.shape[:-1]), *shape), db, True)
    return db


def dense_geometry(x_shape: Shape, w_shape: Shape) -> ConvGeometry:
    if len(w_shape) != 2 or not x_shape or x_shape[-1] != w_shape[0]:
        raise ValueError(f"w must be (ci, co) for x (..., ci), got w {w_shape}, x {x_shape}")
    rows = prod(x_shape[:-1])
    # Rows are the pixels of one image, so that they fill the kernels' tiles; none of them is an empty batch.
    pixels = (min(rows, 1), max(rows, 1), x_shape[-1])
    return conv_geometry(pixels, (1, *w_shape), 1, "valid", 1, 1, "channels_last")


def activation(x: Any, kind: str | None, *, alpha: float | None = None, out: Any = None) -> Array:
    """kind: "relu", "leaky_relu" (slope alpha, 0.2), "elu" (alpha, 1.0), "sigmoid", "tanh", "gelu" (exact), "relu6".

    Any shape; out may be x. relu and leaky_relu keep NaN. "linear" copies.
    """
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    kind, slope = activation_alpha(kind, alpha)
    y = elementwise(out, x)
    if kind is None:
        copied(x, y)
    else:
        backend.activation(x, y, kind, slope)
    return y


def activation_grad(
    dy: Any, y: Any, kind: str | None, *, x: Any = None, alpha: float | None = None, out: Any = None
) -> Array:
    """dx from dy and the output y; "gelu" needs the input x, and y may be None. out may be dy."""
    backend = serving(dy, "dy", y=y, x=x, out=out)
    dy = values(dy, "dy", backend)
    kind, slope = activation_alpha(kind, alpha)
    if kind == "gelu":
        x = shaped(x, "x", dy.shape, dy.dtype)
        dx = elementwise(out, dy, x=x)
        backend.activation_grad(dy, x, x, dx, kind, slope)
        return dx
    y = shaped(y, "y", dy.shape, dy.dtype)
    dx = elementwise(out, dy, y=y)
    if kind is None:
        copied(dy, dx)
    else:
        backend.activation_grad(dy, y, None, dx, kind, slope)
    return dx


def add(a: Any, b: Any, *, activation: str | None = None, alpha: float | None = None, out: Any = None) -> Array:
    """activation(a + b), two arrays of one shape; out may be either."""
    backend = serving(a, "a", b=b, out=out)
    a = values(a, "a", backend)
    b = shaped(b, "b", a.shape, a.dtype)
    kind, slope = activation_alpha(activation, alpha)
    y = elementwise(out, a, b)
    backend.add(a, b, y, kind, slope)
    return y


def concatenate(arrays: Sequence[Any], axis: int = -1, *, out: Any = None) -> Array:
    """The arrays side by side along an axis: float, of one type, and of one shape but for that axis."""
    if not arrays:
        raise ValueError("arrays must be one at least, got none")
    given = {f"arrays[{i}]": x for i, x in enumerate(arrays) if i}
    backend = serving(arrays[0], "arrays[0]", **given, out=out)
    parts = [values(x, f"arrays[{i}]", backend) for i, x in enumerate(arrays)]
    if not -parts[0].ndim <= axis < parts[0].ndim:
        raise ValueError(f"arrays must be one at least, and have the axis, got {len(parts)} and axis {axis}")
    first, at = parts[0], axis % parts[0].ndim
    shape = (*first.shape[:at], sum(x.shape[at] for x in parts if x.ndim > at), *first.shape[at + 1 :])
    for i, x in enumerate(parts):
        wanted = (*shape[:at], *x.shape[at : at + 1], *shape[at + 1 :])
        parts[i] = shaped(x, f"arrays[{i}]", wanted, first.dtype)
    y = empty(shape, first.dtype, first) if out is None else out
    if out is not None:
        y = written(out, "out", shape, first.dtype, **{f"arrays[{i}]": x for i, x in enumerate(parts)})
    backend.concatenate(parts, y, at)
    return y


def relu(x: Any, *, out: Any = None) -> Array:
    """x where x >= 0 or NaN, else 0."""
    return activation(x, "relu", out=out)


def relu6(x: Any, *, out: Any = None) -> Array:
    """relu, at most 6."""
    return activation(x, "relu6", out=out)


def leaky_relu(x: Any, negative_slope: float = 0.2, *, out: Any = None) -> Array:
    """x where x >= 0, else negative_slope * x."""
    return activation(x, "leaky_relu", alpha=negative_slope, out=out)


def elu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return activation(x, "elu", alpha=alpha, out=out)


def sigmoid(x: Any, *, out: Any = None) -> Array:
    """1 / (1 + exp(-x))."""
    return activation(x, "sigmoid", out=out)


def tanh(x: Any, *, out: Any = None) -> Array:
    """The hyperbolic tangent."""
    return activation(x, "tanh", out=out)


def gelu(x: Any, *, out: Any = None) -> Array:
    """x (1 + erf(x / sqrt(2))) / 2."""
    return activation(x, "gelu", out=out)


def softmax(x: Any, *, axis: int = -1, out: Any = None) -> Array:
    """exp(x) / sum(exp(x)) along axis, any shape. An axis that isn't the last one costs copies, which traces show."""
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    y = empty(x.shape, x.dtype, x) if out is None else written(out, "out", x.shape, x.dtype, x=x)
    along_rows(backend.softmax, axis, (x,), y)
    return y


def softmax_grad(dy: Any, y: Any, *, axis: int = -1, out: Any = None) -> Array:
    """dx from dy and softmax's output y."""
    backend = serving(dy, "dy", y=y, out=out)
    dy = values(dy, "dy", backend)
    y = shaped(y, "y", dy.shape, dy.dtype)
    dx = empty(dy.shape, dy.dtype, dy) if out is None else written(out, "out", dy.shape, dy.dtype, dy=dy, y=y)
    along_rows(backend.softmax_grad, axis, (dy, y), dx)
    return dx


def along_rows(operation: Callable[..., None], axis: int, inputs: tuple[Array, ...], output: Array) -> None:
    shape = output.shape
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis must be >= {-len(shape)} and < {len(shape)}, got {axis}")
    if not shape[axis]:
        raise ValueError(f"x must have at least one class along axis {axis}, got shape {shape}")
    target = output
    if axis not in (-1, len(shape) - 1):
        inputs = tuple(copied(np.moveaxis(x, axis, -1)) for x in inputs)
        target = empty(inputs[0].shape, output.dtype, output)
    rows = (prod(target.shape[:-1]), target.shape[-1])
    operation(*(x.reshape(rows) for x in inputs), target.reshape(rows))
    if target is not output:
        copied(np.moveaxis(target, -1, axis), output)


def softmax_cross_entropy(logits: Any, labels: Any, *, out: Any = None) -> Array:
    """logits (n, c), labels int32 (n,) or a distribution (n, c) -> loss (n,), -sum(labels * log(softmax(logits)))."""
    backend = serving(logits, "logits", labels=labels, out=out)
    logits, labels = classified(logits, labels, backend)
    shape = logits.shape[:1]
    if out is None:
        loss = empty(shape, logits.dtype, logits)
    else:
        loss = written(out, "out", shape, logits.dtype, logits=logits, labels=labels)
    backend.softmax_cross_entropy(logits, labels, loss)
    return loss


def softmax_cross_entropy_grad(logits: Any, labels: Any, scale: Any = None, *, out: Any = None) -> Array:
    """dlogits (n, c), each row times scale: one number, one per row (n,), or None for 1."""
    backend = serving(logits, "logits", labels=labels, scale=scale, out=out)
    logits, labels = classified(logits, labels, backend)
    n, dtype = logits.shape[0], logits.dtype
    if scale is None or isinstance(scale, (int, float)):
        scale = np.full_like(logits, 1 if scale is None else scale, shape=(n,))
    else:
        scale = shaped(scale, "scale", (n,), dtype)
    if out is None:
        dlogits = empty(logits.shape, dtype, logits)
    else:
        dlogits = written(out, "out", logits.shape, dtype, logits=logits, labels=labels, scale=scale)
    backend.softmax_cross_entropy_grad(logits, labels, scale, dlogits)
    return dlogits


def classified(logits: Any, labels: Any, backend: Backend) -> tuple[Array, Array]:
    """logits (n, c) and labels that fit them, checked."""
    logits = source(logits, "logits", backend.dtypes)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ValueError(f"logits must have shape (n, c) with c >= 1, got {logits.shape}")
    n, c = logits.shape
    labels = as_array(labels, "labels")
    if labels.dtype not in (INT32, logits.dtype):
        raise TypeError(f"labels must be int32 (n,) or {logits.dtype} (n, c), got {labels.dtype}")
    labels = shaped(labels, "labels", (n,) if labels.dtype == INT32 else (n, c), labels.dtype)
    if labels.dtype == INT32 and n and labels.view(np.uint32).max() >= c:
        raise ValueError(f"labels must be >= 0 and < {c}, got {labels.min()} to {labels.max()}")
    return logits, labels
