"""What the engines are held to: the NumPy reference in a wider type."""

import numpy as np

import tapwise


def wide(*arguments, dtype=np.float64):
    """Copies of the arrays among the arguments, in float64."""
    return tuple(a.astype(dtype) if isinstance(a, np.ndarray) else a for a in arguments)


def exact(operation, *arguments, dtype=np.float64, **options):
    """operation on the reference, and its mass: the same on absolute values, so the sum of the terms' sizes."""
    arguments = wide(*arguments, dtype=dtype)
    sizes = tuple(np.abs(a) if isinstance(a, np.ndarray) else a for a in arguments)
    with tapwise.backend.use("reference"):
        return operation(*arguments, **options), operation(*sizes, **options)
