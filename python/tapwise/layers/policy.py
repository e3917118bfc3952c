"""The types of a layer by Keras' names: that of its weights, and that of its activations and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.bf16 import bfloat16

MIXED = "mixed_bfloat16"


class DTypePolicy:
    """name: a float type for both, "float32", "float64", ..., or "mixed_bfloat16": float32 weights, bfloat16 the rest.

    Layers that have nothing of their own for bfloat16 compute in float32 under it.
    """

    def __init__(self, name: str = "float32") -> None:
        mixed = name == MIXED
        try:
            self.variable_dtype = np.dtype(np.float32 if mixed else name)
        except TypeError:
            raise ValueError(f"dtype must be a float type or {MIXED}, got {name!r}") from None
        if self.variable_dtype.kind != "f":
            raise ValueError(f"dtype must be a float type or {MIXED}, got {name!r}")
        self.compute_dtype: np.dtype[Any] = bfloat16() if mixed else self.variable_dtype
        self.name = MIXED if mixed else self.variable_dtype.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"


_policy = DTypePolicy()


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """The policy of layers made from now on without dtype=."""
    global _policy
    _policy = policy_of(policy)


def dtype_policy() -> DTypePolicy:
    return _policy


def policy_of(given: Any) -> DTypePolicy:
    """A policy, a policy's name or a float type; None is the global policy."""
    if given is None:
        return _policy
    if isinstance(given, DTypePolicy):
        return given
    return DTypePolicy(given if isinstance(given, str) else np.dtype(given).name)
