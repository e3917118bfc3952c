"""The specification: what each operation computes, in NumPy, for any float type. Readable, never optimised.

Both layouts become views with the channels last. Convolutions are sums over taps, and a tap joins only those inputs
and outputs that it connects: padding is never read, so it adds nothing even where a weight is infinite or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..geometry import ConvGeometry, PoolGeometry
from .interface import Array, PlanFields
from .low_precision import bf16_algorithm as bf16_algorithm
from .low_precision import cast as cast
from .low_precision import conv_bf16 as conv_bf16
from .low_precision import conv_int8 as conv_int8
from .low_precision import pack_words as pack_words
from .rows import group_norm as group_norm
from .rows import group_norm_grad as group_norm_grad
from .separable import in_two_passes
from .separable import plan_separable as plan_separable
from .silent import silent
from .taps import images, last, sizes, taps, weights
from .updates import moving_average as moving_average
from .updates import optimizer_update as optimizer_update
from .updates import square_sums as square_sums

name = "reference"
dtypes: tuple[np.dtype[Any], ...] = tuple(map(np.dtype, (np.float16, np.float32, np.float64, np.longdouble)))
has_bfloat16 = True
memory = None
are_plain = workspace_limit = set_workspace_limit = None


@silent("y")
def conv(
    x: Array, w: Array, b: Array | None, y: Array, g: ConvGeometry,
    *, algorithm: str, accuracy: str, activation: str | None, alpha: float, residual: Array | None,
) -> None:  # fmt: skip
    """y[o] = activation(sum over taps k of x[o * stride + k * dilation - before] w[k] + b + residual)."""
    plan(g, "forward", algorithm, accuracy)
    y[...] = 0
    x_, w_, y_ = images(x, g), weights(w, g), images(y, g)
    for tap, xs, ys in taps(g):
        y_[ys] += x_[xs] @ w_[tap]
    finish(y, b, residual, activation, alpha, g.channels_last)


@silent("dx")
def conv_grad_input(
    dy: Array, w: Array, dx: Array, g: ConvGeometry,
    *, algorithm: str, accuracy: str, b: Array | None = None, activation: str | None = None, alpha: float = 0.0,
    residual: Array | None = None,
) -> None:  # fmt: skip
    plan(g, "grad_input", algorithm, accuracy)
    dx[...] = 0
    dy_, w_, dx_ = images(dy, g), weights(w, g), images(dx, g)
    for tap, xs, ys in taps(g):
        dx_[xs] += dy_[ys] @ w_[tap].swapaxes(-1, -2)
    finish(dx, b, residual, activation, alpha, g.channels_last)


separable_conv = in_two_passes(conv)


def pack(w: Array, g: ConvGeometry, direction: str, algorithm: str) -> Array:
    return w.copy()


@silent()
def conv_grad_weight(
    x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str, db: Array | None = None,
    y: Array | None = None, work: Array | None = None, activation: str | None = None, alpha: float = 0.0,
) -> None:  # fmt: skip
    plan(g, "grad_weight", algorithm, accuracy)
    if activation is not None and y is not None and work is not None:
        activation_grad(dy, y, None, work, activation, alpha)
        dy = work
    if db is not None:
        conv_grad_bias(dy, db, g.channels_last)
    x_, dy_, dw_ = images(x, g), images(dy, g), weights(dw, g)
    for tap, xs, ys in taps(g):
        products = x_[xs].swapaxes(-1, -2) @ dy_[ys]
        dw_[tap] = products.sum(axis=tuple(range(1, g.rank + 1)), keepdims=True)


conv_bf16_grad_input, conv_bf16_grad_weight = conv_grad_input, conv_grad_weight


@silent()
def conv_grad_bias(dy: Array, db: Array, channels_last: bool) -> None:
    dy = last(dy, channels_last)
    db[...] = dy.sum(axis=tuple(range(dy.ndim - 1)))


def finish(
    y: Array, b: Array | None, residual: Array | None, kind: str | None, alpha: float, channels_last: bool
) -> None:
    if b is not None:
        last(y, channels_last)[...] += b
    if residual is not None:
        y += residual
    if kind is not None:
        activation(y, y, kind, alpha)


def windows(p: PoolGeometry) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], int]]:
    """Each output with the inputs in its window and, for averages, the divisor."""
    inputs, outputs = sizes(p.x_shape, p.channels_last), sizes(p.y_shape, p.channels_last)
    for output in np.ndindex(*outputs):
        window, divisor = [slice(None)], 1
        for axis, (o, size) in enumerate(zip(output, inputs, strict=True)):
            if p.adaptive:
                positions = range(o * size // outputs[axis], -(-(o + 1) * size // outputs[axis]))
                counted = len(positions)
            else:
                (before, after), dilation = p.padding[axis], p.dilation[axis]
                start = o * p.strides[axis] - before
                positions = range(start, start + p.size[axis] * dilation, dilation)
                counted = sum(i < size + after for i in positions)
                positions = positions[-(start // dilation) if start < 0 else 0 :]
            inside = slice(positions.start, min(positions.stop, size), positions.step)
            window.append(inside)
            divisor *= counted if p.count_include_pad else len(range(size)[inside])
        yield (slice(None), *output), tuple(window), divisor


@silent("y")
def max_pool(x: Array, y: Array, indices: Array | None, p: PoolGeometry) -> None:
    """argmax takes the first of equals and the first NaN, which is the rule."""
    x, y = last(x, p.channels_last), last(y, p.channels_last)
    plane = np.arange(math.prod(x.shape[1:-1]), dtype=np.int32).reshape(x.shape[1:-1])
    for output, window, _ in windows(p):
        values = x[window]
        values = values.reshape(x.shape[0], math.prod(values.shape[1:-1]), x.shape[-1])
        first = values.argmax(axis=1)
        y[output] = np.take_along_axis(values, first[:, None], axis=1)[:, 0]
        if indices is not None:
            last(indices, p.channels_last)[output] = plane[window[1:]].ravel()[first]


@silent("dx")
def max_pool_grad(dy: Array, indices: Array, dx: Array, p: PoolGeometry) -> None:
    plane = dx[0].size // dy.shape[-1 if p.channels_last else 1] if dy.size else 0
    if dy.size and not 0 <= indices.min() <= indices.max() < plane:
        raise ValueError(f"indices must be >= 0 and < {plane}, got {indices.min()} to {indices.max()}")
    dx[...] = 0
    images, channels = np.ogrid[: dx.shape[0], : dx.shape[-1 if p.channels_last else 1]]
    dx, dy, indices = (last(a, p.channels_last) for a in (dx, dy, indices))
    for output in np.ndindex(*dy.shape[1:-1]):
        at = (slice(None), *output)
        position = np.unravel_index(indices[at], dx.shape[1:-1])
        dx[(images, *position, channels)] += dy[at]


@silent("y")
def average_pool(x: Array, y: Array, p: PoolGeometry) -> None:
    x, y = last(x, p.channels_last), last(y, p.channels_last)
    for output, window, divisor in windows(p):
        y[output] = x[window].sum(axis=tuple(range(1, x.ndim - 1))) / x.dtype.type(divisor)


@silent("dx")
def average_pool_grad(dy: Array, dx: Array, p: PoolGeometry) -> None:
    dx[...] = 0
    dx, dy = last(dx, p.channels_last), last(dy, p.channels_last)
    for output, window, divisor in windows(p):
        share = dy[output] / dx.dtype.type(divisor)
        dx[window] += share.reshape(dx.shape[0], *(1,) * (dx.ndim - 2), dx.shape[-1])


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def normal_distribution(x: Array) -> Array:
    """(1 + erf(x / sqrt(2))) / 2, as erfc, which keeps the digits of the lower tail; computed in float64."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(erfc(x.astype(np.float64) * -math.sqrt(0.5)) / 2, dtype=x.dtype)


@silent("y")
def activation(x: Array, y: Array, kind: str, alpha: float) -> None:
    if kind == "relu":
        y[...] = np.where(x < 0, 0, x)
    elif kind == "relu6":
        y[...] = np.where(x < 0, 0, np.where(x > 6, 6, x))
    elif kind == "leaky_relu":
        y[...] = np.where(x < 0, x * alpha, x)
    elif kind == "elu":
        y[...] = np.where(x > 0, x, np.expm1(x) * alpha)
    elif kind == "sigmoid":
        y[...] = sigmoid(x)
    elif kind == "tanh":
        y[...] = np.tanh(x)
    else:
        y[...] = x * normal_distribution(x)


@silent("dx")
def activation_grad(dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None:
    if kind == "relu":
        dx[...] = np.where(y <= 0, 0, dy)
    elif kind == "relu6":
        dx[...] = np.where((y <= 0) | (y >= 6), 0, dy)
    elif kind == "leaky_relu":
        dx[...] = np.where(y <= 0, dy * alpha, dy)
    elif kind == "elu":
        dx[...] = np.where(y <= 0, dy * (y + alpha), dy)
    elif kind == "sigmoid":
        dx[...] = dy * y * (1 - y)
    elif kind == "tanh":
        dx[...] = dy * (1 - y * y)
    elif x is not None:
        dx[...] = dy * (normal_distribution(x) + x * np.exp(x * x / -2) / math.sqrt(2 * math.pi))


@silent("y")
def add(a: Array, b: Array, y: Array, kind: str | None, alpha: float) -> None:
    np.add(a, b, out=y)
    finish(y, None, None, kind, alpha, True)


def concatenate(arrays: list[Array], y: Array, axis: int) -> None:
    np.concatenate(arrays, axis, out=y)


@silent("y")
def softmax(x: Array, y: Array) -> None:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y[...] = e / e.sum(axis=1, keepdims=True)


@silent("dx")
def softmax_grad(dy: Array, y: Array, dx: Array) -> None:
    dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))


def distribution(labels: Array, logits: Array) -> Array:
    """Class numbers as rows with a single one."""
    return labels if labels.ndim == 2 else (labels[:, None] == np.arange(logits.shape[1])).astype(logits.dtype)


@silent()
def softmax_cross_entropy(logits: Array, labels: Array, loss: Array) -> None:
    """loss[i] = sum over classes of -labels[i] log softmax(logits[i]); a class of label 0 adds nothing."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labels = distribution(labels, logits)
    loss[...] = -np.where(labels == 0, 0, labels * log_softmax).sum(axis=1)


@silent()
def softmax_cross_entropy_grad(logits: Array, labels: Array, scale: Array, dlogits: Array) -> None:
    labels = distribution(labels, logits)
    softmax(logits, dlogits)
    dlogits *= labels.sum(axis=1, keepdims=True)
    dlogits -= labels
    dlogits *= scale[:, None]


@silent()
def batch_norm_statistics(x: Array, mean: Array, variance: Array, channels_last: bool) -> None:
    x = last(x, channels_last)
    axes = tuple(range(x.ndim - 1))
    mean[...] = x.mean(axis=axes)
    variance[...] = x.var(axis=axes)


@silent("y")
def batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, residual: Array | None, y: Array,
    epsilon: float, kind: str | None, alpha: float, channels_last: bool,
) -> None:  # fmt: skip
    x, y = last(x, channels_last), last(y, channels_last)
    z = gamma * (x - mean) / np.sqrt(variance + x.dtype.type(epsilon)) + beta
    finish(z, None, None if residual is None else last(residual, channels_last), kind, alpha, True)
    y[...] = z


@silent("dx", "dz")
def batch_norm_grad(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, y: Array | None, beta: Array | None, dx: Array,
    dz: Array | None, dgamma: Array, dbeta: Array, epsilon: float, masked: bool, channels_last: bool,
) -> None:  # fmt: skip
    """mean and variance depend on x too, so dx loses its components along 1 and along normal."""
    if masked and y is None and beta is not None:
        y = np.empty_like(x)
        batch_norm(x, gamma, beta, mean, variance, None, y, epsilon, None, 0.0, channels_last)
    if masked and y is not None:
        dy = np.where(y <= 0, 0, dy).astype(x.dtype)
    if dz is not None:
        dz[...] = dy
    dy, x, dx = (last(a, channels_last) for a in (dy, x, dx))
    axes, count = tuple(range(x.ndim - 1)), x.dtype.type(x.size // x.shape[-1])
    deviation = np.sqrt(variance + x.dtype.type(epsilon))
    normal = (x - mean) / deviation
    dbeta[...] = dy.sum(axis=axes)
    dgamma[...] = (dy * normal).sum(axis=axes)
    dx[...] = gamma / deviation * (dy - dbeta / count - normal * (dgamma / count))


@silent("dz")
def activation_grad_bias(
    dy: Array, y: Array, x: Array | None, dz: Array, db: Array, kind: str, alpha: float, channels_last: bool
) -> None:
    activation_grad(dy, y, x, dz, kind, alpha)
    conv_grad_bias(dz, db, channels_last)


def mix(h: Array) -> Array:
    """MurmurHash3's finalizer: every bit of h reaches every bit of the result."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return np.asarray(h ^ (h >> np.uint32(16)))


@silent("y")
def dropout(x: Array, y: Array, rate: float, seed: int) -> None:
    """Element i stays, divided by 1 - rate, if its hash is >= rate * 2^32."""
    number = np.arange(x.size, dtype=np.uint64).astype(np.uint32).reshape(x.shape)
    h = mix(mix(number ^ np.uint32(seed & 0xFFFFFFFF)) + np.uint32(seed >> 32))
    y[...] = np.where(h >= np.uint32(int(rate * 2**32)), x * x.dtype.type(1 / (1 - rate)), 0)


def plan(g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
    if algorithm not in ("auto", "direct"):
        raise ValueError(f"algorithm must be auto or direct on the reference backend, got {algorithm!r}")
    product = {"forward": g.y_shape, "grad_input": g.x_shape, "grad_weight": g.w_shape}[direction]
    return {
        "algorithm": "direct", "packed_algorithm": "direct", "possible": ("direct",),
        "candidates": (("direct", None, ""),), "tile": "one tap", "workspace_bytes": 4 * math.prod(product),
        "packed_bytes": 0, "expected_gflops": None,
        "reason": "the reference sums over taps in NumPy, whatever the shape",
    }  # fmt: skip


def isa_available() -> list[str]:
    return ["numpy"]


def isa_name() -> str:
    return "numpy"


def isa_use(name: str) -> None:
    if name != "numpy":
        raise ValueError(f"isa must be numpy on the reference backend, got {name!r}")


def isa_kernels() -> list[str]:
    return []


threads = 1


def thread_count() -> int:
    """What was asked for. The loops run in the caller; NumPy's BLAS has threads of its own."""
    return threads


def set_thread_count(n: int) -> None:
    global threads
    threads = max(n, 1)


def fma_peak(steps: int, dtype: str) -> float:
    return math.nan


def build_info() -> dict[str, str]:
    return {"numpy": np.__version__}
