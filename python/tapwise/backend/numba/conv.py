"""Convolution and its gradients: arrays get three spatial dimensions, the plan names the algorithm, chunks run it."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...geometry import ConvGeometry
from ..separable import in_two_passes
from . import direct, grouped, im2col, rows
from .activation import Epilogue, activation_grad
from .compiled import Array
from .elements import add, all_finite
from .norm import conv_grad_bias
from .plan import choose, weight_parts
from .shape import Conv, conv_shape
from .threads import grain, parallel_for

MULTIPLIED = 8  # multiply-adds in the time of a number moved


def conv(
    x: Array, w: Array, b: Array | None, y: Array, g: ConvGeometry,
    *, algorithm: str, accuracy: str, activation: str | None, alpha: float, residual: Array | None,
) -> None:  # fmt: skip
    """y = activation(conv(x, w) + b + residual). With padding, a w that isn't finite takes the direct kernels."""
    c = conv_shape(g)
    algorithm = choose(c, "forward", algorithm)
    if not y.size:
        return
    epilogue = Epilogue(y, b, activation, alpha, residual, c.channels_last)
    x, w, y = c.x(x), c.w(w), c.y(y)
    if algorithm == "im2col":
        im2col.forward(x, w, y, c, epilogue, im2col.joins(c, accuracy))
        if not c.padded or _unspoiled(y, w):
            return
    _direct_forward(x, w, y, c, epilogue)


def conv_grad_input(
    dy: Array, w: Array, dx: Array, g: ConvGeometry,
    *, algorithm: str, accuracy: str, b: Array | None = None, activation: str | None = None, alpha: float = 0.0,
    residual: Array | None = None,
) -> None:  # fmt: skip
    """dx = activation(the input gradient + b + residual)."""
    c = conv_shape(g)
    algorithm = choose(c, "grad_input", algorithm)
    if not dx.size:
        return
    epilogue = Epilogue(dx, b, activation, alpha, residual, c.channels_last)
    dy, w, dx = c.y(dy), c.w(w), c.x(dx)
    if algorithm == "im2col":
        im2col.grad_input(dy, w, dx, c, epilogue, im2col.joins(c, accuracy))
    else:
        _direct_grad_input(dy, w, dx, c, epilogue)


separable_conv = in_two_passes(conv)


def pack(w: Array, g: ConvGeometry, direction: str, algorithm: str) -> Array:
    """A copy: nothing is packed here."""
    return w.copy()


def conv_grad_weight(
    x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str, db: Array | None = None,
    y: Array | None = None, work: Array | None = None, activation: str | None = None, alpha: float = 0.0,
) -> None:  # fmt: skip
    """dw from x and dy. With padding, a dy that isn't finite takes the direct kernels."""
    if activation is not None and y is not None and work is not None:
        activation_grad(dy, y, None, work, activation, alpha)
        dy = work
    if db is not None:
        conv_grad_bias(dy, db, g.channels_last)
    c = conv_shape(g)
    algorithm = choose(c, "grad_weight", algorithm)
    if not x.size:
        dw[...] = 0
        return
    if not dw.flags.c_contiguous:
        sums = np.empty(dw.shape, dw.dtype)
        conv_grad_weight(x, dy, sums, g, algorithm=algorithm, accuracy=accuracy)
        dw[...] = sums
        return
    x, dy, dw = c.x(x), c.y(dy), dw.reshape(c.w_shape)
    if algorithm == "im2col":
        im2col.grad_weight(x, dy, dw, c)
        if not c.padded or _unspoiled(dw, dy):
            return
    _direct_grad_weight(x, dy, dw, c)


def _unspoiled(product: Array, factor: Array) -> bool:
    """Whether no infinity or NaN of the factor can have met the zeros of padding: the product would show it."""
    return all_finite(min(product, factor, key=np.size)) or all_finite(factor)


def _direct_forward(x: Array, w: Array, y: Array, c: Conv, epilogue: Epilogue) -> None:
    if not c.channels_last:
        run = partial(rows.forward, x, w, y)
    elif c.groups == 1:
        run = partial(direct.forward, x, w, y)
    else:
        run = partial(grouped.forward, x, w, y, grouped.sources(c))

    def body(begin: int, end: int) -> None:
        run(*c.steps, begin, end)
        epilogue.finish(begin, end)

    units = y.size // epilogue.unit
    parallel_for(units, grain(units, c.depth * epilogue.unit // MULTIPLIED), body)


def _direct_grad_input(dy: Array, w: Array, dx: Array, c: Conv, epilogue: Epilogue) -> None:
    if not c.channels_last:
        run = partial(rows.grad_input, dy, w, dx)
    elif c.groups == 1:
        run = partial(direct.grad_input, dy, np.ascontiguousarray(w.swapaxes(3, 4)), dx)
    else:
        run = partial(grouped.grad_input, dy, w, dx, grouped.sources(c))

    def body(begin: int, end: int) -> None:
        run(*c.steps, begin, end)
        epilogue.finish(begin, end)

    units = dx.size // epilogue.unit
    parallel_for(units, grain(units, c.depth * c.co // c.ci * epilogue.unit // MULTIPLIED), body)


def _direct_grad_weight(x: Array, dy: Array, dw: Array, c: Conv) -> None:
    if not c.channels_last:
        pairs = dw.size // c.taps
        parallel_for(pairs, 1, lambda begin, end: rows.grad_weight(x, dy, dw, *c.steps, begin, end))
        return
    parts = weight_parts(c, dw.nbytes)
    sums = np.empty((parts, *dw.shape), dw.dtype) if parts > 1 else dw[None]
    if c.groups == 1:
        run, units = partial(direct.grad_weight, x, dy, sums), parts * c.taps
    else:
        run, units = partial(grouped.grad_weight, x, dy, sums, grouped.sources(c)), parts * c.kernel[0] * c.kernel[1]
    parallel_for(units, 1, lambda begin, end: run(*c.steps, begin, end))
    if parts > 1:
        dw[...] = sums[0]
        for part in sums[1:]:
            add(dw, part)
