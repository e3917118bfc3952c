"""Conv, ConvTranspose, Gemm and MatMul: float32 by the kernels, other types by NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .... import ops
from ....geometry import conv_geometry, conv_transpose_geometry, dilated
from ....ops.separable import is_joined
from ..fusion import Linear, waiting
from ..graph import Node
from ..run import Run
from ..values import Array, Shape, Value
from ..windows import conv_windows
from .geometry import pairs_of, per_axis, spatial, together, unpadded, window

FLOAT32 = np.dtype(np.float32)


def to_last(w: Array) -> Array:
    """(co, ci, *k) -> (*k, ci, co), a view."""
    return np.moveaxis(w, (0, 1), (-1, -2))


def bias_of(run: Run, b: Value | None) -> Any:
    return None if b is None else run.first(b)


def conv(run: Run, node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    x, more = unpadded(x, 0)
    kernel = tuple(node.get("kernel_shape", spatial(w.shape)))
    if kernel != spatial(w.shape):
        raise ValueError(f"kernel_shape must be that of the weights, {spatial(w.shape)}, got {kernel}")
    around = tuple(size + sum(pair) for size, pair in zip(spatial(x.shape), more, strict=True))
    g = window(node, around, kernel)
    pairs, groups = together(g.pairs, more), int(node.get("group", 1))
    if x.dtype != FLOAT32 or x.rank > 5:
        run.need(x.dtype in (np.float64, np.float16), f"of {x.dtype}")
        operands = [run.first(x), run.first(w), *([] if b is None else [run.first(b)])]
        return Value(
            run.made(
                lambda x, w, b=None: conv_windows(x, w, b, g.strides, pairs, g.dilation, groups).astype(x.dtype),
                *operands,
            )
        )
    if groups == 1 and set(kernel) == set(g.strides) == {1} and not any(map(any, pairs)) and w.constant:
        joined = behind_depthwise(run, node, x, w, b)
        if joined is not None:
            return joined
    memory = run.last(x)
    weights = run.first(w)
    options: dict[str, Any] = {"strides": g.strides, "padding": pairs, "dilation": g.dilation, "groups": groups}
    w_shape = (*kernel, w.shape[1], w.shape[0])
    sizes = conv_geometry(memory.shape, w_shape, g.strides, pairs, g.dilation, groups, "channels_last")

    def apply(x: Array, w: Any, b: Any, residual: Any, kind: Any, alpha: Any, y: Array) -> None:
        ops.conv(x, w, b, activation=kind, alpha=alpha, residual=residual, out=y, **options)

    def packed(w: Array) -> Any:
        return ops.pack(w, x_shape=memory.shape, **options)

    pending = Linear(memory, weights, bias_of(run, b), sizes.y_shape, node, apply, to_last, packed)
    if groups == x.shape[1] and w.constant and (b is None or b.constant):
        pending.depthwise = {name: options[name] for name in ("strides", "padding", "dilation")}
    return waiting(pending, sizes.y_shape, True)


def behind_depthwise(run: Run, node: Node, x: Value, w: Value, b: Value | None) -> Value | None:
    """A pointwise convolution in one operation with the depthwise one before it, where the engine joins the two."""
    first = x.pending
    if not isinstance(first, Linear) or first.depthwise is None or first.residual is not None or x.rank > 5:
        return None
    options, middle = first.depthwise, first.y_shape
    w_shape = (*(1,) * (x.rank - 2), w.shape[1], w.shape[0])
    source = run.forced(first.x)
    if not is_joined(source.shape, first.arrange(first.w.array).shape, w_shape, **options):
        return None
    depthwise_w, depthwise_b = first.weights(run)
    kind_before, alpha_before = first.kind, first.alpha

    def apply(x: Array, w: Any, b: Any, residual: Any, kind: Any, alpha: Any, y: Array) -> None:
        ops.separable_conv(
            x, depthwise_w, w, b, depthwise_b=depthwise_b, depthwise_activation=kind_before,
            depthwise_alpha=alpha_before, activation=kind, alpha=alpha, residual=residual, out=y, **options,
        )  # fmt: skip

    def packed(w: Array) -> Any:
        return ops.pack(w, x_shape=middle)

    y_shape = (*middle[:-1], w.shape[0])
    return waiting(Linear(source, run.first(w), bias_of(run, b), y_shape, node, apply, to_last, packed), y_shape, True)


def conv_transpose(run: Run, node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    run.need(x.dtype == FLOAT32 and x.rank <= 5, f"of {x.dtype} with {x.rank} axes")
    rank, kernel = x.rank - 2, spatial(w.shape)
    strides, dilation = per_axis(node, "strides", rank, 1), per_axis(node, "dilations", rank, 1)
    longer = tuple(node.get("output_padding", (0,) * rank)) or (0,) * rank
    groups, co = int(node.get("group", 1)), w.shape[1] * int(node.get("group", 1))
    full = [
        (size - 1) * s + extent + more
        for size, s, extent, more in zip(spatial(x.shape), strides, dilated(kernel, dilation), longer, strict=True)
    ]
    pairs = transpose_pairs(node, full, tuple(n * s for n, s in zip(spatial(x.shape), strides, strict=True)))
    pairs = tuple((before, after - more) for (before, after), more in zip(pairs, longer, strict=True))
    memory, weights = run.last(x), run.first(w)
    options: dict[str, Any] = {"strides": strides, "padding": pairs, "dilation": dilation, "groups": groups}
    w_shape = (*kernel, w.shape[1], w.shape[0])
    sizes = conv_transpose_geometry(memory.shape, w_shape, strides, pairs, None, dilation, groups, "channels_last")
    pad = {**options, "output_padding": None}

    def apply(x: Array, w: Any, b: Any, residual: Any, kind: Any, alpha: Any, y: Array) -> None:
        ops.conv_transpose(x, w, b, activation=kind, alpha=alpha, residual=residual, out=y, **options)

    def packed(w: Array) -> Any:
        return ops.pack(w, x_shape=memory.shape, direction="transpose", **pad)

    def spread(gain: Array) -> Array:
        """(co,) -> (co // groups, ci), as the weights' last axes are."""
        by_group: Array = np.repeat(gain.reshape(groups, co // groups).T, w.shape[0] // groups, axis=1)
        return by_group

    y_shape = sizes.x_shape
    pending = Linear(memory, weights, bias_of(run, b), y_shape, node, apply, to_last, packed, spread)
    return waiting(pending, y_shape, True)


def transpose_pairs(node: Node, full: list[int], same: Shape) -> tuple[tuple[int, int], ...]:
    """What is cropped of the full output before and behind, by the rules of ONNX' ConvTranspose."""
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if not wanted and auto.startswith("SAME"):
        wanted = same
    if not wanted:
        return pairs_of(node.get("pads", ()) or (0,) * 2 * len(full))
    pairs = []
    for size, output in zip(full, wanted[-len(full) :], strict=True):
        total = max(size - output, 0)
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        pairs.append((before, size - output - before))
    return tuple(pairs)


def product(run: Run, node: Node, a: Value, w: Value, b: Value | None, transposed: bool) -> Value:
    """a (..., k) by w (k, m), or (m, k) if transposed, + b (m,)."""
    memory, weights = run.first(a), run.first(w)
    inner, outer = w.shape[::-1] if transposed else w.shape
    rows, y_shape = prod(a.shape[:-1]), (*a.shape[:-1], outer)

    def arrange(w: Array) -> Array:
        return (w.T if transposed else w)[None]

    def apply(x: Array, w: Any, b: Any, residual: Any, kind: Any, alpha: Any, y: Array) -> None:
        residual = None if residual is None else residual.reshape(1, rows, outer)
        x, y = x.reshape(1, rows, inner), y.reshape(1, rows, outer)
        ops.conv(x, w, b, activation=kind, alpha=alpha, residual=residual, out=y)

    def packed(w: Array) -> Any:
        return ops.pack(w, x_shape=(1, rows, inner))

    return waiting(Linear(memory, weights, bias_of(run, b), y_shape, node, apply, arrange, packed), y_shape, False)


def is_dense(a: Value, w: Value) -> bool:
    """Whether the kernels do it: rows by a matrix."""
    return a.dtype == w.dtype == FLOAT32 and w.rank == 2 and a.rank >= 2 and 0 not in (*a.shape, *w.shape)


def matmul(run: Run, node: Node, a: Value, w: Value) -> Value:
    run.need(a.dtype.kind in "fiu", f"of {a.dtype}")
    if is_dense(a, w) and a.shape[-1] == w.shape[0]:
        return product(run, node, a, w, None, False)
    return Value(run.made(np.matmul, run.first(a), run.first(w)))


def gemm(run: Run, node: Node, a: Value, w: Value, c: Value | None = None) -> Value:
    """alpha * a w + beta * c, a and w transposed where the node says so."""
    run.need(a.dtype.kind in "fiu", f"of {a.dtype}")
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    turned_a, turned_w = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    outer = w.shape[0 if turned_w else 1]
    by_column = c is None or (c.dtype == FLOAT32 and c.shape in ((outer,), (1, outer)) and beta == 1)
    if is_dense(a, w) and by_column and alpha == 1 and a.rank == 2:
        x = Value(run.transposed(run.first(a), (1, 0))) if turned_a else a
        b = c if c is None or c.rank == 1 else Value(run.first(c).view((outer,)))
        if x.shape[1] != w.shape[1 if turned_w else 0]:
            raise ValueError(f"a and w must fit, got {a.shape} and {w.shape}")
        return product(run, node, x, w, b, turned_w)

    def plain(a: Array, w: Array, c: Array | None = None) -> Array:
        y = (a.T if turned_a else a) @ (w.T if turned_w else w)
        y = y if alpha == 1 else (y * alpha).astype(a.dtype)
        if c is None:
            return y
        return np.asarray(y + (c if beta == 1 else c * beta)).astype(a.dtype)

    return Value(run.made(plain, run.first(a), run.first(w), *([] if c is None else [run.first(c)])))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MatMul": matmul, "Gemm": gemm,
}  # fmt: skip
