"""Numbers to watch while a model trains, by Keras' names: update_state(y_true, y_pred), result(), reset_state()."""

from collections.abc import Mapping
from typing import Any

from ..configured import made_of
from ..layers.layer import snake_case
from .accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from .confusion import (
    AUC,
    ConfusionMatrix,
    F1Score,
    FalseNegatives,
    FalsePositives,
    MeanIoU,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from .metric import Mean, Metric
from .regression import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)

NAMED: tuple[type[Metric], ...] = (
    SparseCategoricalAccuracy,
    CategoricalAccuracy,
    BinaryAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    RootMeanSquaredError,
    R2Score,
)
CLASSES: tuple[type[Metric], ...] = (*NAMED, Accuracy, ConfusionMatrix, MeanIoU, Mean)
NAMES: dict[str, Any] = {snake_case(cls.__name__): cls for cls in NAMED} | {
    "mse": lambda: MeanSquaredError("mse"),
    "mae": lambda: MeanAbsoluteError("mae"),
    "mape": lambda: MeanAbsolutePercentageError("mape"),
}


def get(
    identifier: str | Metric | Mapping[str, Any], y_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> Metric:
    """A metric by name, by its description, or as it is; shapes with the batch axis.

    "accuracy" and "acc" are the accuracy that fits targets of y_shape and outputs of output_shape, by Keras' rule.
    Raises ValueError on an unknown name.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, Mapping):
        return made_of(identifier, CLASSES, "metric")
    if identifier in ("accuracy", "acc"):
        if output_shape[-1] == 1:
            return BinaryAccuracy(identifier)
        if len(y_shape) < len(output_shape) or y_shape[-1] == 1:
            return SparseCategoricalAccuracy(identifier)
        return CategoricalAccuracy(identifier)
    known = NAMES | {cls.__name__: cls for cls in NAMED}
    if identifier not in known:
        raise ValueError(f"metric must be one of accuracy, {', '.join(NAMES)} or a Metric, got {identifier!r}")
    return known[identifier]()  # type: ignore[no-any-return]


__all__ = [
    "AUC",
    "NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ConfusionMatrix",
    "CosineSimilarity",
    "F1Score",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "get",
]
