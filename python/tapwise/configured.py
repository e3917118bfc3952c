"""What can be written down and made again: layers and what they and training are made with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

Made = TypeVar("Made", bound="Configured")


class Configured:
    """Keeps the arguments it was made with: get_config gives them, from_config makes another one of them."""

    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __new__(cls: type[Made], *args: Any, **kwargs: Any) -> Made:
        made = super().__new__(cls)
        made._given = args, kwargs
        return made

    def get_config(self) -> dict[str, Any]:
        """All arguments by name, as JSON has them."""
        args, kwargs = self._given
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        config: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            config |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return {name: plain(value, f"{type(self).__name__}'s {name}") for name, value in config.items()}

    @classmethod
    def from_config(cls: type[Made], config: Mapping[str, Any]) -> Made:
        return cls(**config)


def described(thing: Configured) -> dict[str, Any]:
    """The name of its class, and get_config."""
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def function_name(value: Any) -> Any:
    """The name of one of tapwise.activations' functions, anything else as it is."""
    return value.__name__ if getattr(value, "__module__", None) == "tapwise.activations" else value


def plain(value: Any, name: str) -> Any:
    """value as JSON has it. Raises TypeError on what can't be made again from text, a function for example."""
    value = function_name(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Configured):
        return described(value)
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(item, name) for item in value]
    raise TypeError(f"{name} must be numbers, text or lists of them to be written down, got {value!r}")


def made_of(description: Mapping[str, Any], classes: Iterable[type[Made]], kind: str) -> Made:
    """What `described` told, of one of classes. Raises ValueError on any other."""
    known = {cls.__name__: cls for cls in classes}
    name = description.get("class_name")
    if name not in known or not isinstance(config := description.get("config"), Mapping):
        raise ValueError(f"{kind} must be the description of one of {', '.join(sorted(known))}, got {name!r}")
    return known[name].from_config(config)
