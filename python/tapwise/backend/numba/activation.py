"""Activations and their gradients, element by element, and what follows the sums of a convolution.

    relu        x < 0 ? 0 : x                     dy * (y > 0), NaN passes
    leaky_relu  x < 0 ? alpha * x : x             y <= 0 ? alpha * dy : dy
    elu         x > 0 ? x : alpha * (e^x - 1)     y <= 0 ? dy * (y + alpha) : dy
    sigmoid     1 / (1 + e^-x)                    dy * y * (1 - y)
    tanh        tanh x                            dy * (1 - y^2)
    gelu        x * cdf(x)                        dy * (cdf(x) + x * pdf(x)), of the normal distribution

erfc keeps the digits of the lower tail that 1 + erf would lose.
"""

import math

import numpy as np

from .compiled import Array, kernel, typed
from .threads import grain, parallel_for

EXPONENTIAL = 16  # numbers moved in the time of one
RELU, LEAKY_RELU, ELU, SIGMOID, TANH, GELU = range(1, 7)
CODES = {None: 0, "linear": 0, "relu": RELU, "leaky_relu": LEAKY_RELU, "elu": ELU, "sigmoid": SIGMOID, "tanh": TANH,
         "gelu": GELU}  # fmt: skip


def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    """y = kind(x), element by element; y may be x."""
    x, y, code, slope = typed(x).reshape(-1), y.reshape(-1), CODES[kind], y.dtype.type(alpha)
    parallel_for(
        x.size, grain(x.size, EXPONENTIAL), lambda begin, end: _activate(x[begin:end], y[begin:end], code, slope)
    )


def activation_grad(dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None:
    """dx from dy and the activation's result y, or its argument x for gelu; dx may be dy."""
    dy, at, dx = typed(dy).reshape(-1), typed(y if x is None else x).reshape(-1), dx.reshape(-1)
    code, slope = CODES[kind], dx.dtype.type(alpha)
    parallel_for(
        dx.size,
        grain(dx.size, EXPONENTIAL),
        lambda begin, end: _activate_grad(dy[begin:end], at[begin:end], dx[begin:end], code, slope),
    )


class Epilogue:
    """What a convolution does to its sums: activation(sum + b + residual); b, residual and activation may be None.

    y is a matrix (pixels, channels), or (images x channels, pixels) channels first.
    """

    def __init__(
        self, y: Array, b: Array | None, activation: str | None, alpha: float, residual: Array | None,
        channels_last: bool,
    ) -> None:  # fmt: skip
        channels = y.shape[-1] if channels_last else y.shape[1]
        width = channels if channels_last else math.prod(y.shape[2:])
        none = np.empty(0, y.dtype)
        self.y = y.reshape(-1, width)
        self.residual = none.reshape(0, 0) if residual is None else typed(residual).reshape(-1, width)
        self.b = none if b is None else typed(b)
        self.by_row = not channels_last
        self.code, self.alpha = CODES[activation], y.dtype.type(alpha)
        self.needed = b is not None or residual is not None or self.code != 0

    def finish(self, begin: int, end: int, left: int = 0, right: int | None = None) -> None:
        """Finish the elements [begin, end) of y, in memory order, as far as they are in the columns [left, right)."""
        if self.needed:
            right = self.y.shape[1] if right is None else right
            _finish(self.y, self.b, self.residual, self.by_row, self.code, self.alpha, begin, end, left, right)

    def finish_rows(self, begin: int, end: int, left: int = 0, right: int | None = None) -> None:
        """The same for rows of y, in parallel."""
        width = self.y.shape[1]
        if self.needed:
            step = grain(end - begin, width * (1 if self.code <= LEAKY_RELU else EXPONENTIAL))
            parallel_for(
                end - begin,
                step,
                lambda first, last: self.finish((begin + first) * width, (begin + last) * width, left, right),
            )


@kernel
def _finish(
    y: Array, b: Array, residual: Array, by_row: bool, code: int, alpha: float,
    begin: int, end: int, left: int, right: int,
) -> None:  # fmt: skip
    """b is one a row, or one a column; b and residual are empty if there are none."""
    width = y.shape[1]
    for r in range(begin // width, -(-end // width)):
        lo, hi = max(left, begin - r * width), min(right, end - r * width)
        row = y[r, lo:hi]
        if b.size and by_row:
            add = b[r % b.size]
            for i in range(row.size):
                row[i] += add
        elif b.size:
            by = b[lo:hi]
            for i in range(row.size):
                row[i] += by[i]
        if residual.size:
            by = residual[r, lo:hi]
            for i in range(row.size):
                row[i] += by[i]
        if code:
            _activate(row, row, code, alpha)


@kernel
def _activate(x: Array, y: Array, code: int, alpha: float) -> None:
    zero, half, one = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1)
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


@kernel
def _activate_grad(dy: Array, at: Array, dx: Array, code: int, alpha: float) -> None:
    zero, half, one = dy.dtype.type(0), dy.dtype.type(0.5), dy.dtype.type(1)
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
    else:
        for i in range(dy.size):
            dx[i] = dy[i]
