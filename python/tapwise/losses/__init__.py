"""What training makes small, by Keras' names: loss(y_true, y_pred), a mean over the examples, and its gradient."""

from collections.abc import Mapping
from typing import Any

from ..configured import made_of
from ..layers.layer import snake_case
from .crossentropy import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CrossEntropy,
    SparseCategoricalCrossentropy,
)
from .distances import (
    CategoricalHinge,
    CosineSimilarity,
    Dice,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
)
from .loss import EPSILON, Loss

CLASSES: tuple[type[Loss], ...] = (
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    MeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    Huber,
    LogCosh,
    Poisson,
    KLDivergence,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
    CosineSimilarity,
    Dice,
)
NAMES: dict[str, type[Loss]] = {snake_case(cls.__name__): cls for cls in CLASSES} | {
    "kl_divergence": KLDivergence,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
}


def get(identifier: str | Loss | Mapping[str, Any]) -> Loss:
    """A loss by name, by its description, or as it is. Raises ValueError on an unknown name."""
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, CLASSES, "loss")
    if callable(identifier):
        raise TypeError(
            f"loss must be a name or a Loss, got the function {identifier!r}: there is no automatic differentiation, "
            "so a loss of one's own is a losses.Loss with values and gradient, as docs/training.md shows"
        )
    known = NAMES | {cls.__name__: cls for cls in CLASSES}
    if identifier not in known:
        raise ValueError(f"loss must be one of {', '.join(NAMES)} or a Loss, got {identifier!r}")
    return known[identifier]()


__all__ = [
    "EPSILON",
    "NAMES",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "CrossEntropy",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "get",
]
