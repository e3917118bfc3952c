"""Steps down the gradient, by Keras' names, of all parameters in one pass; their state is made at the first step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..configured import Configured
from ..layers.layer import Parameter
from ..ops.training import Updates, square_sums
from .schedules import LearningRateSchedule, get

Array = NDArray[Any]
Rate: TypeAlias = float | LearningRateSchedule | Mapping[str, Any]


class Optimizer(Configured):
    """apply(parameters) moves each one's value by its gradient.

    learning_rate is a number, which may be changed between steps, or one of `schedules`, by the number of steps done.

    Of each gradient first, one of: clipnorm (g *= clipnorm / max(|g|, clipnorm), for each parameter), global_clipnorm
    (the same by the norm of all together), clipvalue (g clamped to +-clipvalue). weight_decay: w *= 1 - learning_rate *
    weight_decay before the step, apart from the gradient. use_ema: after it average = ema_momentum * average +
    (1 - ema_momentum) * w, w itself at the first; every ema_overwrite_frequency steps w = average, and once more at the
    end of fit.
    """

    rule: str
    in_numpy = False  # a subclass makes the state of a parameter and steps: one parameter after the other

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
    ) -> None:
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {name: value for name, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"one of clipnorm, clipvalue and global_clipnorm may be given, got {', '.join(given)}")
        for name, value in given.items():
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        if weight_decay is not None and not weight_decay >= 0:
            raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
        check_share("ema_momentum", ema_momentum, closed=True)
        if ema_overwrite_frequency is not None and not (use_ema and ema_overwrite_frequency >= 1):
            raise ValueError(f"ema_overwrite_frequency must be >= 1 and go with use_ema, got {ema_overwrite_frequency}")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum, self.ema_overwrite_frequency = use_ema, ema_momentum, ema_overwrite_frequency
        self.iterations = 0
        self.rate = 0.0  # of the step that is being made
        self.state: dict[Parameter, dict[str, Array]] = {}
        self.updates: Updates | None = None

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return self.schedule(self.iterations) if self.schedule else self._rate

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        self.schedule = get(rate)
        if self.schedule is None:
            if not isinstance(rate, (int, float)) or not rate >= 0:
                raise ValueError(f"learning_rate must be >= 0, got {rate}")
            self._rate = float(rate)

    def apply(self, parameters: Iterable[Parameter]) -> None:
        if self.in_numpy:
            self._apply_in_numpy(list(parameters))
            return
        updates = self._prepared(list(parameters))
        self.rate = self.learning_rate
        self.iterations += 1
        first, frequency = self.iterations == 1, self.ema_overwrite_frequency
        updates.run(
            scales=self._scales(updates.dw),
            keep=1 - self.rate * (self.weight_decay or 0),
            clip=math.inf if self.clipvalue is None else self.clipvalue,
            average_rate=1 if first else 1 - self.ema_momentum,
            **self.settings(),
        )
        if self.use_ema and frequency and self.iterations % frequency == 0:
            self.finalize()

    def make_state(self, w: Array) -> dict[str, Array]:
        raise NotImplementedError

    def step(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        """Move w by its gradient g in place."""
        raise NotImplementedError

    def begin(self) -> None:
        """What all parameters of a step share; `iterations` counts it already."""

    def _apply_in_numpy(self, parameters: list[Parameter]) -> None:
        gradients = []
        for parameter in parameters:
            if parameter.gradient is None:
                raise ValueError(f"{parameter.name} has no gradient: backward comes before apply")
            gradients.append(parameter.gradient)
        scales = self._scales(gradients) or [1.0] * len(gradients)
        self.rate = self.learning_rate
        self.iterations += 1
        self.begin()
        for parameter, gradient, scale in zip(parameters, gradients, scales, strict=True):
            w, g = parameter.value, gradient if scale == 1 else gradient * gradient.dtype.type(scale)
            if self.clipvalue is not None:
                g = np.clip(g, -self.clipvalue, self.clipvalue)
            if parameter not in self.state:
                averages = {"average": np.zeros_like(w)} if self.use_ema else {}
                self.state[parameter] = {**self.make_state(w), **averages}
            if self.weight_decay:
                w *= w.dtype.type(1 - self.rate * self.weight_decay)
            self.step(w, g, self.state[parameter])
            if self.use_ema:
                average = self.state[parameter]["average"]
                average += (w - average) * w.dtype.type(1 if self.iterations == 1 else 1 - self.ema_momentum)
        if self.use_ema and self.ema_overwrite_frequency and self.iterations % self.ema_overwrite_frequency == 0:
            self.finalize()

    def finalize(self) -> None:
        """With use_ema, give every parameter its average."""
        for parameter, state in self.state.items():
            if "average" in state:
                parameter.value[...] = state["average"]

    def needs(self) -> tuple[str, ...]:
        """Of m and v, the arrays that the rule keeps for a parameter."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What Updates.run takes for the step number `iterations`."""
        raise NotImplementedError

    def _prepared(self, parameters: list[Parameter]) -> Updates:
        """The parameters with their state; those of the last step as long as the arrays are the same ones."""
        last = self.updates
        w, dw = [p.value for p in parameters], [p.gradient for p in parameters]
        if last and len(w) == len(last.w) and all(map(same, w, last.w)) and all(map(same, dw, last.dw)):
            return last
        for parameter in parameters:
            if parameter.gradient is None:
                raise ValueError(f"{parameter.name} has no gradient: backward comes before apply")
            if parameter not in self.state:
                kept = (*self.needs(), *(("average",) if self.use_ema else ()))
                self.state[parameter] = {name: np.zeros_like(parameter.value) for name in kept}
        states = [self.state[parameter] for parameter in parameters]
        arrays = ([state[name] for state in states if name in state] for name in ("m", "v", "average"))
        self.updates = Updates(self.rule, w, dw, *arrays)
        return self.updates

    def _scales(self, gradients: list[Array]) -> list[float] | None:
        bound = self.clipnorm or self.global_clipnorm
        if bound is None:
            return None
        squares = square_sums(gradients)
        if self.global_clipnorm is not None:
            squares = [sum(squares)] * len(squares)
        return [bound / max(math.sqrt(square), bound) for square in squares]


def same(a: Any, b: Any) -> bool:
    return a is b


def check_share(name: str, value: float, closed: bool = False) -> None:
    if not (0 <= value < 1 or (closed and value == 1)):
        raise ValueError(f"{name} must be in [0, 1{']' if closed else ')'}, got {value}")
