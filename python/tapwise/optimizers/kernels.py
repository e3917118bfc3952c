"""The optimizers whose step over all parameters is one call of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.training import adam_rate
from .optimizer import Array, Optimizer, Rate, check_share


class SGD(Optimizer):
    """w += v, with v = momentum * v - learning_rate * dw; with nesterov w += momentum * v - learning_rate * dw."""

    rule = "sgd"

    def __init__(self, learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False, **step: Any) -> None:
        super().__init__(learning_rate, **step)
        check_share("momentum", momentum, closed=True)
        self.momentum, self.nesterov = momentum, nesterov

    def needs(self) -> tuple[str, ...]:
        return ("m",) if self.momentum else ()

    def settings(self) -> dict[str, Any]:
        return {"rate": self.rate, "momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """w -= a * m / (sqrt(v) + epsilon), with step t counted from 1 and

    m += (1 - beta_1) * (dw - m), v += (1 - beta_2) * (dw**2 - v),
    a = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t).

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015. amsgrad: in place of v the largest v so far, in
    NumPy. Reddi et al., "On the Convergence of Adam and Beyond", 2018.
    """

    rule = "adam"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **step: Any,
    ) -> None:
        super().__init__(learning_rate, **step)
        check_share("beta_1", beta_1)
        check_share("beta_2", beta_2)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.amsgrad = self.in_numpy = amsgrad

    def make_state(self, w: Array) -> dict[str, Array]:
        return {name: np.zeros_like(w) for name in ("m", "v", "largest")}

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        m, v, largest, number = state["m"], state["v"], state["largest"], w.dtype.type
        m += (g - m) * number(1 - self.beta_1)
        v += (g * g - v) * number(1 - self.beta_2)
        np.maximum(largest, v, out=largest)
        rate = adam_rate(self.rate, self.beta_1, self.beta_2, self.iterations)
        w -= number(rate) * m / (np.sqrt(largest) + number(self.epsilon))

    def needs(self) -> tuple[str, ...]:
        return "m", "v"

    def settings(self) -> dict[str, Any]:
        rate = adam_rate(self.rate, self.beta_1, self.beta_2, self.iterations)
        return {"rate": rate, "rate_1": 1 - self.beta_1, "rate_2": 1 - self.beta_2, "epsilon": self.epsilon}


class AdamW(Adam):
    """Adam with weight_decay. Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **step: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **step)


class RMSprop(Optimizer):
    """w -= m, with v = rho * v + (1 - rho) * dw**2, m = momentum * m + learning_rate * dw / sqrt(v + epsilon).

    Hinton, "Neural Networks for Machine Learning", lecture 6e, 2012. centered: v less the square of the gradients'
    own running mean, so an estimate of their variance; in NumPy. Graves, 2013.
    """

    rule = "rmsprop"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **step: Any,
    ) -> None:
        super().__init__(learning_rate, **step)
        check_share("rho", rho)
        check_share("momentum", momentum, closed=True)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon
        self.centered = self.in_numpy = centered

    def make_state(self, w: Array) -> dict[str, Array]:
        names = ("m", "v", "mean") if self.momentum else ("v", "mean")
        return {name: np.zeros_like(w) for name in names}

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        v, mean, number = state["v"], state["mean"], w.dtype.type
        v += (g * g - v) * number(1 - self.rho)
        mean += (g - mean) * number(1 - self.rho)
        change = number(self.rate) * g / np.sqrt(v - mean * mean + number(self.epsilon))
        if self.momentum:
            state["m"] *= number(self.momentum)
            state["m"] += change
            change = state["m"]
        w -= change

    def needs(self) -> tuple[str, ...]:
        return ("m", "v") if self.momentum else ("v",)

    def settings(self) -> dict[str, Any]:
        rates = {"rate": self.rate, "rate_2": 1 - self.rho}
        return {**rates, "momentum": self.momentum, "epsilon": self.epsilon}
