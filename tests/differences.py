"""Gradients by central differences in float64."""

import numpy as np

EPS = np.finfo(np.float64).eps
STEP = EPS ** (1 / 3)  # the difference's error is then about EPS ** (2 / 3)


def differences(f, array):
    """df/darray, element by element."""
    found = np.empty_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + STEP
        above = f()
        array[i] = kept - STEP
        found[i] = (above - f()) / (2 * STEP)
        array[i] = kept
    return found


def assert_gradient(got, array, f, mass):
    """got is df/darray; mass is the size of what f adds up, whose rounding differences magnify."""
    assert got.shape == array.shape
    np.testing.assert_allclose(got, differences(f, array), rtol=0, atol=20 * EPS ** (2 / 3) * mass)
