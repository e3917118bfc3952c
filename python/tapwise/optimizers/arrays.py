"""The optimizers that step in NumPy, one parameter after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .optimizer import Array, Optimizer, Rate, check_share


class ArrayOptimizer(Optimizer):
    """A subclass makes the state of a parameter, and moves w by its gradient g in place."""

    in_numpy = True


class Nadam(ArrayOptimizer):
    """Adam with Nesterov's momentum, of u(t) = beta_1 * (1 - 0.96**t / 2), t counted from 1:

    m += (1 - beta_1) * (dw - m), v += (1 - beta_2) * (dw**2 - v),
    h = u(t+1) * m / (1 - u(1) ... u(t+1)) + (1 - u(t)) * dw / (1 - u(1) ... u(t)),
    w -= learning_rate * h / (sqrt(v / (1 - beta_2**t)) + epsilon). Dozat, 2016.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **step: Any,
    ) -> None:
        super().__init__(learning_rate, **step)
        check_share("beta_1", beta_1)
        check_share("beta_2", beta_2)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def make_state(self, w: Array) -> dict[str, Array]:
        return {"m": np.zeros_like(w), "v": np.zeros_like(w)}

    def momentum(self, t: int) -> float:
        return float(self.beta_1 * (1 - 0.5 * 0.96**t))

    def begin(self) -> None:
        t = self.iterations
        self.product = math.prod(self.momentum(i) for i in range(1, min(t, 1000) + 1)) if self.beta_1 < 1 else 1.0

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        t, number = self.iterations, w.dtype.type
        m, v = state["m"], state["v"]
        m += (g - m) * number(1 - self.beta_1)
        v += (g * g - v) * number(1 - self.beta_2)
        now, then = self.momentum(t), self.momentum(t + 1)
        h = m * number(then / (1 - self.product * then)) + g * number((1 - now) / (1 - self.product))
        w -= number(self.rate) * h / (np.sqrt(v * number(1 / (1 - self.beta_2**t))) + number(self.epsilon))


class Adagrad(ArrayOptimizer):
    """v += dw**2, from initial_accumulator_value on; w -= learning_rate * dw / sqrt(v + epsilon). Duchi, 2011."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **step: Any,
    ) -> None:
        super().__init__(learning_rate, **step)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def make_state(self, w: Array) -> dict[str, Array]:
        return {"v": np.full_like(w, self.initial_accumulator_value)}

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        v = state["v"]
        v += g * g
        w -= w.dtype.type(self.rate) * g / np.sqrt(v + w.dtype.type(self.epsilon))


class Adadelta(ArrayOptimizer):
    """v = rho * v + (1 - rho) * dw**2, d = sqrt(u + epsilon) / sqrt(v + epsilon) * dw, u = rho * u + (1 - rho) * d**2,

    w -= learning_rate * d. Zeiler, 2012.
    """

    def __init__(self, learning_rate: Rate = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **step: Any) -> None:
        super().__init__(learning_rate, **step)
        check_share("rho", rho)
        self.rho, self.epsilon = rho, epsilon

    def make_state(self, w: Array) -> dict[str, Array]:
        return {"v": np.zeros_like(w), "u": np.zeros_like(w)}

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        v, u, number = state["v"], state["u"], w.dtype.type
        v += (g * g - v) * number(1 - self.rho)
        d = np.sqrt(u + number(self.epsilon)) / np.sqrt(v + number(self.epsilon)) * g
        u += (d * d - u) * number(1 - self.rho)
        w -= number(self.rate) * d


class Lion(ArrayOptimizer):
    """w -= learning_rate * sign(beta_1 * m + (1 - beta_1) * dw), then m += (1 - beta_2) * (dw - m). Chen, 2023."""

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **step: Any) -> None:
        super().__init__(learning_rate, **step)
        check_share("beta_1", beta_1)
        check_share("beta_2", beta_2)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def make_state(self, w: Array) -> dict[str, Array]:
        return {"m": np.zeros_like(w)}

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        m, number = state["m"], w.dtype.type
        w -= number(self.rate) * np.sign(m * number(self.beta_1) + g * number(1 - self.beta_1))
        m += (g - m) * number(1 - self.beta_2)
