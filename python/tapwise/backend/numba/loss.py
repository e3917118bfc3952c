"""Softmax and cross-entropy over rows (n, classes); the largest element is taken off first, so nothing overflows.

    y = e^(x - max) / sum                                 dx = y * (dy - sum of dy * y)
    loss = sum of -labels * (x - max - log(sum))          dx = scale * (softmax(x) * sum of labels - labels)

A NaN in a row makes the row NaN. A class of label 0 adds nothing to the loss, even if its logit is -infinity.
"""

from __future__ import annotations

import math

from .compiled import Array, kernel, typed
from .threads import grain, parallel_for

WORK = 16  # of an element: an exponential


def softmax(x: Array, y: Array) -> None:
    """y (rows, classes) = softmax of each row of x."""
    x = typed(x)
    parallel_for(x.shape[0], grain(x.shape[0], WORK * x.shape[1]), lambda begin, end: _softmax(x, y, begin, end))


def softmax_grad(dy: Array, y: Array, dx: Array) -> None:
    """dx (rows, classes) from dy and softmax's result y."""
    dy, y = typed(dy), typed(y)
    parallel_for(y.shape[0], grain(y.shape[0], y.shape[1]), lambda begin, end: _softmax_grad(dy, y, dx, begin, end))


def softmax_cross_entropy(logits: Array, labels: Array, loss: Array) -> None:
    """logits (n, c), labels int32 (n,) or a distribution (n, c) -> loss (n,)."""
    logits, labels = typed(logits), typed(labels)
    loss_of = _class_loss if labels.ndim == 1 else _distribution_loss
    step = grain(logits.shape[0], WORK * logits.shape[1])
    parallel_for(logits.shape[0], step, lambda begin, end: loss_of(logits, labels, loss, begin, end))


def softmax_cross_entropy_grad(logits: Array, labels: Array, scale: Array, dlogits: Array) -> None:
    """dlogits[i] = scale[i] * (softmax(logits[i]) * sum(labels[i]) - labels[i])."""
    logits, labels, scale = typed(logits), typed(labels), typed(scale)
    grad_of = _class_grad if labels.ndim == 1 else _distribution_grad
    step = grain(logits.shape[0], WORK * logits.shape[1])
    parallel_for(logits.shape[0], step, lambda begin, end: grad_of(logits, labels, scale, dlogits, begin, end))


@kernel
def _largest(x: Array) -> float:
    """The largest of a row; NaN if one is in it."""
    largest: float = x[0]
    for j in range(1, x.size):
        if largest == largest and not x[j] <= largest:
            largest = x[j]
    return largest


@kernel
def _softmax(x: Array, y: Array, begin: int, end: int) -> None:
    for row in range(begin, end):
        by, to = x[row], y[row]
        largest, total = _largest(by), x.dtype.type(0)
        for j in range(by.size):
            to[j] = math.exp(by[j] - largest)
            total += to[j]
        for j in range(by.size):
            to[j] /= total


@kernel
def _softmax_grad(dy: Array, y: Array, dx: Array, begin: int, end: int) -> None:
    for row in range(begin, end):
        by, at, to = dy[row], y[row], dx[row]
        total = y.dtype.type(0)
        for j in range(at.size):
            total += by[j] * at[j]
        for j in range(at.size):
            to[j] = at[j] * (by[j] - total)


@kernel
def _log_of_sum(x: Array, largest: float) -> float:
    total = x.dtype.type(0)
    for j in range(x.size):
        total += math.exp(x[j] - largest)
    return math.log(total)


@kernel
def _class_loss(logits: Array, labels: Array, loss: Array, begin: int, end: int) -> None:
    for row in range(begin, end):
        x = logits[row]
        largest = _largest(x)
        loss[row] = _log_of_sum(x, largest) - (x[labels[row]] - largest)


@kernel
def _distribution_loss(logits: Array, labels: Array, loss: Array, begin: int, end: int) -> None:
    for row in range(begin, end):
        x, share = logits[row], labels[row]
        largest, total = _largest(x), logits.dtype.type(0)
        log_of_sum = _log_of_sum(x, largest)
        for j in range(x.size):
            if share[j] != 0:
                total += share[j] * (log_of_sum - (x[j] - largest))
        loss[row] = total


@kernel
def _class_grad(logits: Array, labels: Array, scale: Array, dlogits: Array, begin: int, end: int) -> None:
    _softmax(logits, dlogits, begin, end)
    for row in range(begin, end):
        to = dlogits[row]
        to[labels[row]] -= logits.dtype.type(1)
        for j in range(to.size):
            to[j] *= scale[row]


@kernel
def _distribution_grad(logits: Array, labels: Array, scale: Array, dlogits: Array, begin: int, end: int) -> None:
    _softmax(logits, dlogits, begin, end)
    for row in range(begin, end):
        to, share = dlogits[row], labels[row]
        total = logits.dtype.type(0)
        for j in range(share.size):
            total += share[j]
        for j in range(to.size):
            to[j] = scale[row] * (to[j] * total - share[j])
