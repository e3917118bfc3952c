"""First values of weights, by Keras' names: initializer(shape, dtype) -> array."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .configured import Configured, made_of
from .random import generator


class Initializer(Configured):
    """Called with a shape and a floating dtype, gives a C-contiguous array."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        raise NotImplementedError


class Constant(Initializer):
    """Every element is value; or value is all of them, an array of the shape, word vectors for an Embedding."""

    def __init__(self, value: ArrayLike = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        shape, value = tuple(shape), np.asarray(self.value)
        if value.ndim and value.shape != shape:
            raise ValueError(f"value must have the shape of the weights, {shape}, got {value.shape}")
        return np.full(shape, value, dtype) if value.any() else np.zeros(shape, dtype)  # no memory until written


class Zeros(Constant):
    """Every element is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class RandomNormal(Initializer):
    """Normal with mean and stddev. With seed None each call draws new numbers, with a number always the same ones."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        return generator(self.seed).normal(self.mean, self.stddev, tuple(shape)).astype(dtype)


class RandomUniform(Initializer):
    """Uniform in [minval, maxval); seed as in RandomNormal."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        return generator(self.seed).uniform(self.minval, self.maxval, tuple(shape)).astype(dtype)


class TruncatedNormal(RandomNormal):
    """Normal with mean and stddev, drawn again where it is more than two of them away; seed as in RandomNormal."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        values = _cut(generator(self.seed), tuple(shape))
        return (self.mean + self.stddev * values).astype(dtype)


class VarianceScaling(Initializer):
    """Variance scale / fan, so that signals keep their size from layer to layer.

    fan is the number of inputs of an output ("fan_in"), of outputs of an input ("fan_out") or the mean ("fan_avg");
    distribution is "uniform" or "truncated_normal" (cut at two standard deviations); seed as in RandomNormal.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be > 0, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be fan_in, fan_out or fan_avg, got {mode!r}")
        if distribution not in ("uniform", "truncated_normal"):
            raise ValueError(f"distribution must be uniform or truncated_normal, got {distribution!r}")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> NDArray[Any]:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        rng = generator(self.seed)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return rng.uniform(-limit, limit, tuple(shape)).astype(dtype)
        return (stddev * _truncated_normal(rng, tuple(shape))).astype(dtype)


class GlorotUniform(VarianceScaling):
    """Uniform, variance 2 / (fan_in + fan_out). Glorot & Bengio, 2010."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal, variance 2 / (fan_in + fan_out). Glorot & Bengio, 2010."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform, variance 1 / fan_in."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal, variance 1 / fan_in, for layers with SELU. LeCun et al., 1998."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform, variance 2 / fan_in, for layers with ReLU. He et al., 2015."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal, variance 2 / fan_in, for layers with ReLU. He et al., 2015."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """Inputs of one output and outputs of one input for weights (*kernel, ci, co), as Keras counts them."""
    if len(shape) < 2:
        size = float(math.prod(shape))
        return size, size
    taps = math.prod(shape[:-2])
    return float(taps * shape[-2]), float(taps * shape[-1])


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """_cut, scaled back to variance 1."""
    return _cut(rng, shape) / 0.87962566103423978  # the standard deviation that the cut leaves


def _cut(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal without what lies beyond 2."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values


NAMES: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "normal": RandomNormal,
    "random_uniform": RandomUniform,
    "uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
}


def get(identifier: str | Initializer | Mapping[str, Any]) -> Initializer:
    """An initializer by name, by its description, or as it is. Raises ValueError on an unknown name."""
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, NAMES.values(), "initializer")
    if identifier not in NAMES:
        raise ValueError(f"initializer must be one of {', '.join(NAMES)} or an Initializer, got {identifier!r}")
    return NAMES[identifier]()


_postponed: ContextVar[bool] = ContextVar("postponed", default=False)


@contextmanager
def postponed() -> Iterator[None]:
    """Weights that layers make inside are zeros, which take no time, and no memory until they are written: for a model
    that gets its weights from elsewhere."""
    token = _postponed.set(True)
    try:
        yield
    finally:
        _postponed.reset(token)


def first(identifier: str | Initializer, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """The first values of a layer's weight."""
    initializer = get(identifier)
    return np.zeros(tuple(shape), dtype) if _postponed.get() else initializer(shape, dtype)
