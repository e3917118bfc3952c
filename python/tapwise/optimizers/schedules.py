"""Learning rates by the number of steps done, by Keras' names: schedule(step) -> rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..configured import Configured, made_of


class LearningRateSchedule(Configured):
    """Called with the number of steps done gives the rate of the next one."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ** (step / decay_steps); staircase cuts the exponent to whole numbers."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate, self.decay_rate = initial_learning_rate, decay_rate
        self.decay_steps, self.staircase = positive("decay_steps", decay_steps), staircase

    def __call__(self, step: int) -> float:
        done = step / self.decay_steps
        return float(self.initial_learning_rate * self.decay_rate ** (math.floor(done) if self.staircase else done))


class InverseTimeDecay(ExponentialDecay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); staircase as in ExponentialDecay."""

    def __call__(self, step: int) -> float:
        done = step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(done) if self.staircase else done))


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) * (1 - step / decay_steps) ** power + end, then end; cycle doubles, triples decay_steps..."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate, self.end_learning_rate = initial_learning_rate, end_learning_rate
        self.decay_steps, self.power, self.cycle = positive("decay_steps", decay_steps), power, cycle

    def __call__(self, step: int) -> float:
        steps = self.decay_steps * (max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1)
        left = 1 - min(step, steps) / steps
        return float((self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], values[1] up to boundaries[1], ..., the last one behind."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"values must be one more than boundaries, got {len(values)} and {len(boundaries)}")
        self.boundaries, self.values = list(boundaries), list(values)

    def __call__(self, step: int) -> float:
        return float(self.values[sum(step > boundary for boundary in self.boundaries)])


class CosineDecay(LearningRateSchedule):
    """Half a cosine from initial_learning_rate to alpha times it in decay_steps.

    With warmup_target the rate first rises in warmup_steps from initial_learning_rate to warmup_target, and falls from
    there. Loshchilov & Hutter, "SGDR", 2017.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.alpha = initial_learning_rate, alpha
        self.decay_steps = positive("decay_steps", decay_steps)
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: int) -> float:
        start, top = self.initial_learning_rate, self.warmup_target
        if top is not None:
            if step < self.warmup_steps:
                return start + (top - start) * step / self.warmup_steps
            start, step = top, step - self.warmup_steps
        falls = (1 + math.cos(math.pi * min(step / self.decay_steps, 1))) / 2
        return start * ((1 - self.alpha) * falls + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """CosineDecay again and again: each period t_mul times as long as the one before, from m_mul times its rate."""

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.initial_learning_rate, self.t_mul, self.m_mul, self.alpha = initial_learning_rate, t_mul, m_mul, alpha
        self.first_decay_steps = positive("first_decay_steps", first_decay_steps)

    def __call__(self, step: int) -> float:
        length, gain, left = float(self.first_decay_steps), 1.0, float(step)
        while left >= length:
            left, length, gain = left - length, length * self.t_mul, gain * self.m_mul
        falls = gain * (1 + math.cos(math.pi * left / length)) / 2
        return self.initial_learning_rate * ((1 - self.alpha) * falls + self.alpha)


def positive(name: str, value: int) -> int:
    if value <= 0:
        raise ValueError(f"{name} must be > 0, got {value}")
    return value


CLASSES: tuple[type[LearningRateSchedule], ...] = (
    ExponentialDecay,
    InverseTimeDecay,
    PolynomialDecay,
    PiecewiseConstantDecay,
    CosineDecay,
    CosineDecayRestarts,
)


def get(rate: float | LearningRateSchedule | Mapping[str, Any]) -> LearningRateSchedule | None:
    """A schedule as it is or by its description; None for a number."""
    if isinstance(rate, Mapping):
        return made_of(rate, CLASSES, "learning_rate")
    return rate if isinstance(rate, LearningRateSchedule) else None
