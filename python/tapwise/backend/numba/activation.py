"""Activations and their gradients, element by element, and what follows the sums of a convolution.

    relu        x < 0 ? 0 : x                     dy * (y > 0), NaN passes
    leaky_relu  x < 0 ? alpha * x : x             y <= 0 ? alpha * dy : dy
    elu         x > 0 ? x : alpha * (e^x - 1)     y <= 0 ? dy * (y + alpha) : dy
    sigmoid     1 / (1 + e^-x)                    dy * y * (1 - y)
    tanh        tanh x                            dy * (1 - y^2)
    gelu        x * cdf(x)                        dy * (cdf(x) + x * pdf(x)), of the normal distribution
    relu6       relu, at most 6                   dy * (0 < y < 6), NaN passes

erfc keeps the digits of the lower tail that 1 + erf would lose.
"""

import math

import numpy as np

from .compiled import Array, kernel, typed
from .elements import sum_of
from .threads import grain, parallel_for

RELU, LEAKY_RELU, ELU, SIGMOID, TANH, GELU, RELU6 = range(1, 8)
CODES = {None: 0, "linear": 0, "relu": RELU, "leaky_relu": LEAKY_RELU, "elu": ELU, "sigmoid": SIGMOID, "tanh": TANH,
         "gelu": GELU, "relu6": RELU6}  # fmt: skip


def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    """y = kind(x), element by element; y may be x."""
    x, y, code, slope = typed(x).reshape(-1), y.reshape(-1), CODES[kind], y.dtype.type(alpha)
    parallel_for(x.size, grain(x.size, 8), lambda begin, end: _activate(x[begin:end], y[begin:end], code, slope))


def activation_grad(dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None:
    """dx from dy and the activation's result y, or its argument x for gelu; dx may be dy."""
    dy, at, dx = typed(dy).reshape(-1), typed(y if x is None else x).reshape(-1), dx.reshape(-1)
    code, slope = CODES[kind], dx.dtype.type(alpha)
    parallel_for(
        dx.size,
        grain(dx.size, 8),
        lambda begin, end: _activate_grad(dy[begin:end], at[begin:end], dx[begin:end], code, slope),
    )


def add(a: Array, b: Array, y: Array, kind: str | None, alpha: float) -> None:
    """y = kind(a + b); y may be a or b."""
    sum_of(a, b, y)
    if kind is not None:
        activation(y, y, kind, alpha)


def concatenate(arrays: list[Array], y: Array, axis: int) -> None:
    np.concatenate(arrays, axis, out=y)


class Epilogue:
    """What a convolution does to its sums: activation(sum + b + residual); b, residual and activation may be None.

    Ranges count units of y in memory order: pixels with all their channels if channels_last, else elements.
    """

    def __init__(
        self, y: Array, b: Array | None, activation: str | None, alpha: float, residual: Array | None,
        channels_last: bool,
    ) -> None:  # fmt: skip
        none = np.empty(0, y.dtype)
        self.y = y.reshape(-1)
        self.b = none if b is None else typed(b)
        self.residual = none if residual is None else typed(residual).reshape(-1)
        self.channels = y.shape[-1] if channels_last else y.shape[1]
        self.inner = 0 if channels_last else math.prod(y.shape[2:])
        self.unit = self.channels if channels_last else 1
        self.code, self.alpha = CODES[activation], y.dtype.type(alpha)
        self.needed = b is not None or residual is not None or self.code != 0

    def finish(self, begin: int, end: int) -> None:
        """Finish the units [begin, end) of y."""
        if self.needed:
            begin, end = begin * self.unit, end * self.unit
            _finish(self.y, self.b, self.residual, self.channels, self.inner, self.code, self.alpha, begin, end)

    def finish_parallel(self, begin: int, end: int) -> None:
        if self.needed:
            step = grain(end - begin, 4 * self.unit)
            parallel_for(end - begin, step, lambda first, last: self.finish(begin + first, begin + last))


@kernel
def _finish(
    y: Array, b: Array, residual: Array, channels: int, inner: int, code: int, alpha: float, begin: int, end: int
) -> None:
    """inner: elements of a plane, 0 if channels_last."""
    if b.size and inner == 0:
        for start in range(begin, end, channels):
            row = y[start : start + channels]
            for c in range(channels):
                row[c] += b[c]
    elif b.size:
        start = begin
        while start < end:
            plane = start // inner
            stop = min(end, (plane + 1) * inner)
            row = y[start:stop]
            for i in range(row.size):
                row[i] += b[plane % channels]
            start = stop
    row = y[begin:end]
    if residual.size:
        by = residual[begin:end]
        for i in range(row.size):
            row[i] += by[i]
    if code:
        _activate(row, row, code, alpha)


@kernel
def _activate(x: Array, y: Array, code: int, alpha: float) -> None:
    zero, half, one, six = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(6)
    root = x.dtype.type(-math.sqrt(0.5))
    if code == RELU:
        for i in range(x.size):
            y[i] = zero if x[i] < zero else x[i]
    elif code == LEAKY_RELU:
        for i in range(x.size):
            y[i] = alpha * x[i] if x[i] < zero else x[i]
    elif code == ELU:
        for i in range(x.size):
            y[i] = x[i] if x[i] > zero else alpha * math.expm1(x[i])
    elif code == SIGMOID:
        for i in range(x.size):
            small = math.exp(-abs(x[i]))
            y[i] = (one if x[i] >= zero else small) / (one + small)
    elif code == TANH:
        for i in range(x.size):
            y[i] = math.tanh(x[i])
    elif code == GELU:
        for i in range(x.size):
            y[i] = x[i] * (half * math.erfc(x[i] * root))
    elif code == RELU6:
        for i in range(x.size):
            y[i] = zero if x[i] < zero else six if x[i] > six else x[i]


@kernel
def _activate_grad(dy: Array, at: Array, dx: Array, code: int, alpha: float) -> None:
    zero, half, one, six = dy.dtype.type(0), dy.dtype.type(0.5), dy.dtype.type(1), dy.dtype.type(6)
    root, scale = dy.dtype.type(-math.sqrt(0.5)), dy.dtype.type(math.sqrt(0.5 / math.pi))
    if code == RELU:
        for i in range(dy.size):
            dx[i] = zero if at[i] <= zero else dy[i]
    elif code == LEAKY_RELU:
        for i in range(dy.size):
            dx[i] = alpha * dy[i] if at[i] <= zero else dy[i]
    elif code == ELU:
        for i in range(dy.size):
            dx[i] = dy[i] * (at[i] + alpha) if at[i] <= zero else dy[i]
    elif code == SIGMOID:
        for i in range(dy.size):
            dx[i] = dy[i] * at[i] * (one - at[i])
    elif code == TANH:
        for i in range(dy.size):
            dx[i] = dy[i] * (one - at[i] * at[i])
    elif code == GELU:
        for i in range(dy.size):
            pdf = scale * math.exp(-half * at[i] * at[i])
            dx[i] = dy[i] * (half * math.erfc(at[i] * root) + at[i] * pdf)
    elif code == RELU6:
        for i in range(dy.size):
            dx[i] = zero if at[i] <= zero or at[i] >= six else dy[i]
    else:
        for i in range(dy.size):
            dx[i] = dy[i]
