"""Steps down the gradient, by Keras' names; the state of each parameter is made at its first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import ops
from .layers.layer import Parameter


class Optimizer:
    """apply(parameters) moves each one's value by its gradient; learning_rate may be changed between steps."""

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate >= 0:
            raise ValueError(f"learning_rate must be >= 0, got {learning_rate}")
        self.learning_rate = float(learning_rate)
        self.iterations = 0
        self.state: dict[Parameter, tuple[NDArray[Any], ...]] = {}

    def apply(self, parameters: Iterable[Parameter]) -> None:
        self.iterations += 1
        for parameter in parameters:
            if parameter.gradient is None:
                raise ValueError(f"{parameter.name} has no gradient: backward comes before apply")
            if parameter not in self.state:
                self.state[parameter] = self.start(parameter.value)
            self.update(parameter.value, parameter.gradient, *self.state[parameter])

    def start(self, w: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The arrays that update keeps for a parameter."""
        raise NotImplementedError

    def update(self, w: NDArray[Any], dw: NDArray[Any], *state: NDArray[Any]) -> None:
        """One step, in place on w and its state."""
        raise NotImplementedError


class SGD(Optimizer):
    """w += v, with v = momentum * v - learning_rate * dw; with nesterov w += momentum * v - learning_rate * dw."""

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(learning_rate)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov

    def start(self, w: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return (np.zeros_like(w),) if self.momentum else ()

    def update(self, w: NDArray[Any], dw: NDArray[Any], *state: NDArray[Any]) -> None:
        velocity = state[0] if state else None
        ops.sgd_update(
            w, dw, velocity, learning_rate=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov
        )


class Adam(Optimizer):
    """w -= a * m / (sqrt(v) + epsilon), with step t counted from 1 and

    m += (1 - beta_1) * (dw - m), v += (1 - beta_2) * (dw**2 - v),
    a = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t).

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015.
    """

    def __init__(
        self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate)
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} must be in [0, 1), got {beta}")
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def start(self, w: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return np.zeros_like(w), np.zeros_like(w)

    def update(self, w: NDArray[Any], dw: NDArray[Any], *state: NDArray[Any]) -> None:
        ops.adam_update(
            w, dw, *state, learning_rate=self.learning_rate, step=self.iterations,
            beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon,
        )  # fmt: skip


NAMES: dict[str, type[SGD | Adam]] = {"sgd": SGD, "adam": Adam}


def get(identifier: str | Optimizer) -> Optimizer:
    """An optimizer by name, in any case as in Keras, or as it is. Raises ValueError on an unknown name."""
    if isinstance(identifier, Optimizer):
        return identifier
    if identifier.lower() not in NAMES:
        raise ValueError(f"optimizer must be one of {', '.join(NAMES)} or an Optimizer, got {identifier!r}")
    return NAMES[identifier.lower()]()
