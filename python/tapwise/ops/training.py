"""Dropout, and the steps of the optimizers."""

import math
from typing import Any

from ..backend import Backend, Update
from ..geometry import integer
from .check import Array, elementwise, number, serving, shaped, source, values, written


def dropout(x: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """A share `rate` of the elements becomes 0, the others are divided by 1 - rate. Any shape; out may be x.

    rate in [0, 1), seed in [0, 2^64). The mask depends on seed and the element's number only: the same on every
    backend and for any number of threads.
    """
    backend = serving(x, "x", out=out)
    x = values(x, "x", backend)
    rate, seed = number(rate, "rate", 0.0, 1.0), integer(seed, "seed", 0, 2**64)
    y = elementwise(out, x)
    backend.dropout(x, y, rate, seed)
    return y


def dropout_grad(dy: Any, rate: float, seed: int, *, out: Any = None) -> Array:
    """The mask is linear: its gradient is itself, with the same rate and seed."""
    return dropout(dy, rate, seed, out=out)


class Updates:
    """Parameters with their gradients and the state of an optimizer, checked once; each run is one step of them all.

    rule: "sgd" (m the velocities, or none), "adam" (m, v) or "rmsprop" (v, and m with momentum). Lists hold one array a
    parameter, of its shape; no memory is shared but by gradients. average takes the moving averages of w, if given.
    """

    def __init__(self, rule: str, w: list[Any], dw: list[Any], m: list[Any], v: list[Any], average: list[Any]) -> None:
        self.rule = rule
        self.dw = dw
        self.w, self.m, self.v, self.average = ([*a] for a in (w, m, v, average))
        states = {"m": self.m, "v": self.v, "average": self.average}
        for i, weights in enumerate(w):
            taken = {"w": weights, "dw": dw[i]}
            here = {name: arrays[i] for name, arrays in states.items() if arrays}
            parameter(weights, dw[i], serving(weights, "w", dw=dw[i], **here))
            for name, arrays in states.items():
                if arrays:
                    taken[name] = written(arrays[i], name, weights.shape, weights.dtype, **taken)

    def run(
        self,
        rate: float,
        scales: list[float] | None = None,
        *,
        keep: float = 1.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        rate_1: float = 0.0,
        rate_2: float = 0.0,
        epsilon: float = 0.0,
        clip: float = math.inf,
        average_rate: float = 0.0,
    ) -> None:
        """One step by the formulas of backend.Update; scales are those of the gradients, one a parameter."""
        step = Update(self.rule, rate, keep, momentum, nesterov, rate_1, rate_2, epsilon, clip, average_rate)
        given = [1.0] * len(self.w) if scales is None else scales
        if not self.w:
            return
        backend = serving(self.w[0], "w")
        backend.optimizer_update(step, self.w, self.dw, self.m, self.v, self.average, given)


def moving_average(average: Any, value: Any, momentum: float) -> None:
    """In place, any shape: average = momentum * average + (1 - momentum) * value, with momentum in [0, 1]."""
    backend = serving(value, "value", average=average)
    value = source(value, "value", backend.dtypes)
    average = written(average, "average", value.shape, value.dtype, value=value)
    share = number(momentum, "momentum", 0.0)
    if share > 1:
        raise ValueError(f"momentum must be <= 1, got {share:g}")
    backend.moving_average(average, value, share)


def square_sums(arrays: list[Any]) -> list[float]:
    """The sum of squares of each array."""
    if not arrays:
        return []
    backend = serving(arrays[0], "arrays[0]", **{f"arrays[{i}]": a for i, a in enumerate(arrays) if i})
    return backend.square_sums([source(a, "arrays", backend.dtypes) for a in arrays])


def sgd_update(
    w: Any, dw: Any, velocity: Any = None, *, learning_rate: float, momentum: float = 0.0, nesterov: bool = False
) -> None:
    """In place, any shape: v = momentum v - learning_rate dw, then w += v.

    nesterov: w += momentum v - learning_rate dw. velocity None, for momentum 0: w -= learning_rate dw.
    """
    backend = serving(w, "w", dw=dw, velocity=velocity)
    w, dw = parameter(w, dw, backend)
    momentum, learning_rate = number(momentum, "momentum", 0.0), number(learning_rate, "learning_rate", 0.0)
    if (velocity is None) != (momentum == 0):
        raise ValueError(f"velocity must be given if momentum > 0 and only then, got momentum={momentum:g}")
    if velocity is not None:
        velocity = written(velocity, "velocity", w.shape, w.dtype, w=w, dw=dw)
    step = Update("sgd", learning_rate, momentum=momentum, nesterov=bool(nesterov))
    backend.optimizer_update(step, [w], [dw], [] if velocity is None else [velocity], [], [], [1.0])


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
    backend = serving(w, "w", dw=dw, m=m, v=v)
    w, dw = parameter(w, dw, backend)
    m = written(m, "m", w.shape, w.dtype, w=w, dw=dw)
    v = written(v, "v", w.shape, w.dtype, w=w, dw=dw, m=m)
    rate, kept_1 = number(learning_rate, "learning_rate", 0.0), number(beta_1, "beta_1", 0.0, 1.0)
    kept_2, small = number(beta_2, "beta_2", 0.0, 1.0), number(epsilon, "epsilon", 0.0)
    rate = adam_rate(rate, kept_1, kept_2, integer(step, "step", 1))
    update = Update("adam", rate, rate_1=1 - kept_1, rate_2=1 - kept_2, epsilon=small)
    backend.optimizer_update(update, [w], [dw], [m], [v], [], [1.0])


def adam_rate(learning_rate: float, beta_1: float, beta_2: float, step: int) -> float:
    """With what the running means' start at 0 costs them put right."""
    return learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)


def parameter(w: Any, dw: Any, backend: Backend) -> tuple[Array, Array]:
    """w to be updated in place, and its gradient."""
    w = source(w, "w", backend.dtypes)
    dw = shaped(dw, "dw", w.shape, w.dtype)
    return written(w, "w", w.shape, w.dtype, dw=dw), dw
