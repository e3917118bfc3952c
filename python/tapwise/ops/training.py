"""Dropout, and the steps of the optimizers."""

from typing import Any

from ..backend import current
from .check import Array, elementwise, number, shaped, source, written
from .geometry import integer


def dropout(x: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """A share `rate` of the elements becomes 0, the others are divided by 1 - rate. Any shape; out may be x.

    rate in [0, 1), seed in [0, 2^64). The mask depends on seed and the element's number only: the same on every
    backend and for any number of threads.
    """
    backend = current()
    x = source(x, "x", backend.dtypes)
    rate, seed = number(rate, "rate", 0.0, 1.0), integer(seed, "seed", 0, 2**64)
    y = elementwise(out, x)
    backend.dropout(x, y, rate, seed)
    return y


def dropout_grad(dy: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """The mask is linear: its gradient is itself, with the same rate and seed."""
    return dropout(dy, rate, seed, out=out)


def sgd_update(
    w: Any, dw: Any, velocity: Any = None, *, learning_rate: float, momentum: float = 0.0, nesterov: bool = False
) -> None:
    """In place, any shape: v = momentum v - learning_rate dw, then w += v.

    nesterov: w += momentum v - learning_rate dw. velocity None, for momentum 0: w -= learning_rate dw.
    """
    backend = current()
    w, dw = parameter(w, dw)
    momentum, learning_rate = number(momentum, "momentum", 0.0), number(learning_rate, "learning_rate", 0.0)
    if (velocity is None) != (momentum == 0):
        raise ValueError(f"velocity must be given if momentum > 0 and only then, got momentum={momentum:g}")
    if velocity is not None:
        velocity = written(velocity, "velocity", w.shape, w.dtype, w=w, dw=dw)
    backend.sgd_update(w, dw, velocity, learning_rate, momentum, bool(nesterov))


def adam_update(
    w: Any,
    dw: Any,
    m: Any,
    v: Any,
    *,
    learning_rate: float,
    step: int,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> None:
    """In place, any shape: m += (1 - beta_1)(dw - m); v += (1 - beta_2)(dw^2 - v); w -= a m / (sqrt(v) + epsilon).

    a = learning_rate sqrt(1 - beta_2^step) / (1 - beta_1^step); step counts from 1.
    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, in the order of section 2's last paragraph.
    """
    backend = current()
    w, dw = parameter(w, dw)
    m = written(m, "m", w.shape, w.dtype, w=w, dw=dw)
    v = written(v, "v", w.shape, w.dtype, w=w, dw=dw, m=m)
    backend.adam_update(
        w,
        dw,
        m,
        v,
        number(learning_rate, "learning_rate", 0.0),
        number(beta_1, "beta_1", 0.0, 1.0),
        number(beta_2, "beta_2", 0.0, 1.0),
        number(epsilon, "epsilon", 0.0),
        integer(step, "step", 1),
    )


def parameter(w: Any, dw: Any) -> tuple[Array, Array]:
    """w to be updated in place, and its gradient."""
    w = source(w, "w", current().dtypes)
    dw = shaped(dw, "dw", w.shape, w.dtype)
    return written(w, "w", w.shape, w.dtype, dw=dw), dw
