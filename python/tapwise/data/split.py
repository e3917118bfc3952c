"""Training and test images from one set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Split = tuple[tuple[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


def stratified_split(x: NDArray[Any], y: NDArray[Any], *, test_size: float = 0.2, seed: int = 0) -> Split:
    """x (n, ...), y (n,) -> ((x_train, y_train), (x_test, y_test)), test_size of each class in the test part.

    Raises ValueError if a class would be missing from one of the parts.
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1, got {test_size}")
    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        count = round(test_size * len(members))
        if not 0 < count < len(members):
            raise ValueError(
                f"test_size must leave each class an item on both sides: class {label} has {len(members)} items, "
                f"{count} of them would be in the test part"
            )
        test[members[:count]] = True
    return (x[~test], y[~test]), (x[test], y[test])
