"""Steps down the gradient, by Keras' names; their state is made at the first step."""

from collections.abc import Mapping
from typing import Any

from ..configured import made_of
from . import schedules
from .arrays import Adadelta, Adagrad, Lion, Nadam
from .kernels import SGD, Adam, AdamW, RMSprop
from .optimizer import Optimizer

NAMES: dict[str, type[SGD | Adam | AdamW | RMSprop | Nadam | Adagrad | Adadelta | Lion]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "nadam": Nadam,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "lion": Lion,
}


def get(identifier: str | Optimizer | Mapping[str, Any]) -> Optimizer:
    """An optimizer by name, in any case as in Keras, by its description, or as it is.

    Raises ValueError on an unknown name.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, NAMES.values(), "optimizer")
    if identifier.lower() not in NAMES:
        raise ValueError(f"optimizer must be one of {', '.join(NAMES)} or an Optimizer, got {identifier!r}")
    return NAMES[identifier.lower()]()


__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "Nadam", "Optimizer", "RMSprop", "get", "schedules"]
