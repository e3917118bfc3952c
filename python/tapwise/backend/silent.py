"""What every operation of the reference is wrapped in."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec

import numpy as np

P = ParamSpec("P")


def silent(*outputs: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Infinity and NaN are results, not something to warn of.

    And on bfloat16 an operation is that on the same numbers in float32, whose outputs are rounded once, at the end.
    """

    def decorate(operation: Callable[P, None]) -> Callable[P, None]:
        places = [list(signature(operation).parameters).index(name) for name in outputs]

        @wraps(operation)
        def quiet(*args: P.args, **kwargs: P.kwargs) -> None:
            with np.errstate(all="ignore"):
                given: list[Any] = list(args)
                wide: Any = [a.astype(np.float32) if is_bfloat16(a) else a for a in given]
                operation(*wide, **kwargs)
                for at in places:
                    if wide[at] is not given[at]:
                        given[at][...] = wide[at]

        return quiet

    return decorate


def is_bfloat16(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "V"
