"""What every operation of the reference is wrapped in, and on bfloat16 those of the devices."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec

import numpy as np

P = ParamSpec("P")


def on_float32(outputs: tuple[str, ...], operation: Callable[..., None], cast: Callable[[Any, Any], None]) -> Any:
    """The operation, and on bfloat16 that on the same numbers in float32, whose outputs are rounded once, at the end.

    cast(x, y) turns one into the other.
    """
    places = [list(signature(operation).parameters).index(name) for name in outputs]

    @wraps(operation)
    def wide_or_not(*given: Any, **named: Any) -> None:
        if not any(map(is_bfloat16, given)):
            operation(*given, **named)
            return
        wide = [np.empty_like(a, np.float32) if is_bfloat16(a) else a for a in given]
        for at, (a, b) in enumerate(zip(given, wide, strict=True)):
            if a is not b and at not in places:
                cast(a, b)
        operation(*wide, **named)
        for at in places:
            if wide[at] is not given[at]:
                cast(wide[at], given[at])

    return wide_or_not


def silent(*outputs: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Infinity and NaN are results, not something to warn of; and bfloat16 as on_float32 has it."""

    def decorate(operation: Callable[P, None]) -> Callable[P, None]:
        wide_or_not = on_float32(outputs, operation, copy)

        @wraps(operation)
        def quiet(*args: P.args, **kwargs: P.kwargs) -> None:
            with np.errstate(all="ignore"):
                wide_or_not(*args, **kwargs)

        return quiet

    return decorate


def copy(x: Any, y: Any) -> None:
    y[...] = x


def is_bfloat16(a: Any) -> bool:
    return getattr(getattr(a, "dtype", None), "kind", "") == "V"
