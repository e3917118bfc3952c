"""Convolutional networks as scikit-learn's estimators: CNNClassifier and CNNRegressor, for pipelines and searches.

Needs scikit-learn 1.6 or later: pip install "tapwise[sklearn]".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .estimator import Array, Examples, Saved, example_shape, merged, small_network, train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError('interop.sklearn needs scikit-learn 1.6 or later: pip install "tapwise[sklearn]"') from error

Network = Callable[[tuple[int, ...], int], Any]


class CNN(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: parameters, the images' shape, training.

    network: None for filters, kernel_size, pool_size, dense, dropout and l2 below, or a function (input_shape,
    outputs) -> model of your own, which for a classifier ends in softmax; filters and what follows are unused then.
    filters: a convolution with ReLU of so many filters for each number, with max pooling behind it; then Flatten,
    Dropout(dropout), Dense(dense). Inputs are brought to mean 0 and deviation 1, by channel, or by feature where X is
    a table; a network of your own gets them as they are.
    image_shape: how a row of X (n, values) is an image: (h, w), (h, w, c), (length,) or (d, h, w, c). Without it X
    (n, h, w) or (n, h, w, c) are images, and rows of X (n, features) signals of that length and one channel.
    batch_size, epochs, learning_rate: of Adam. early_stopping: validation_fraction of the examples is held back,
    training ends after n_iter_no_change epochs without a lower loss on them, and the best epoch's weights are kept.
    sample_weight: an example of weight 2 is the same, to the bit, as that example twice, and one of weight 0 isn't
    there: examples that occur several times are merged before training.
    """

    model_: Any
    example_shape_: tuple[int, ...]

    def __init__(
        self,
        network: Network | None = None,
        *,
        image_shape: Sequence[int] | None = None,
        filters: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        pool_size: int = 2,
        dense: int = 64,
        dropout: float = 0.0,
        l2: float = 0.0,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.filters = filters
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.dense = dense
        self.dropout = dropout
        self.l2 = l2
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: Array, y: Array, sample_weight: ArrayLike | None, outputs: int, go_on: bool) -> None:
        """Train self.model_, a new one unless go_on; y as the loss takes it."""
        self._check_numbers()
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)
        self.example_shape_ = example_shape(X.shape[1:], self.image_shape)
        examples = merged(X.reshape(len(X), *self.example_shape_), y, weights)
        seed = int(check_random_state(self.random_state).randint(2**31))
        train(self, examples, outputs, seed, go_on)

    def _check_numbers(self) -> None:
        for name in ("kernel_size", "pool_size", "dense", "epochs", "batch_size", "n_iter_no_change"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate!r}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be between 0 and 1, got {self.validation_fraction!r}")

    def _network(self, examples: Examples, outputs: int, activation: str | None) -> Any:
        if self.network is not None:
            return self.network(self.example_shape_, outputs)
        by_feature = self.image_shape is None and len(self.example_shape_) == 2
        return small_network(
            examples, outputs, activation, by_feature, self.filters, self.kernel_size, self.pool_size, self.dense,
            self.dropout, self.l2,
        )  # fmt: skip

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=np.float32, allow_nd=True, reset=False)
        shape = example_shape(X.shape[1:], self.image_shape)
        if shape != self.example_shape_:
            raise ValueError(f"X must hold examples of shape {self.example_shape_}, got {shape}")
        found: Array = self.model_.predict(X.reshape(len(X), *shape), batch_size=256, verbose=0)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """The model as the bytes of its file: what is pickled stays what it was when Tapwise changes inside."""
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = Saved.of(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(model := state.get("model_"), Saved):
            state = {**state, "model_": model.loaded()}
        super().__setstate__(state)


class CNNClassifier(ClassifierMixin, CNN):  # type: ignore[misc]
    """A convolutional network that tells classes: fit, predict, predict_proba, score, partial_fit.

    The arguments are CNN's. After fit: classes_, model_ (a tapwise model: summary(), explain and all), history_
    {"loss": [...], ...} and n_iter_.
    """

    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> CNNClassifier:
        """Train a new network on X (n, values) or (n, h, w, c) and labels y (n,), which may be anything comparable."""
        X, y = self._labelled(X, y, reset=True)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self._fit(X, labels, sample_weight, len(self.classes_), go_on=False)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> CNNClassifier:
        """`epochs` more epochs on these examples; the first call names all classes there will be."""
        first = not hasattr(self, "model_")
        X, y = self._labelled(X, y, reset=first)
        if first:
            if classes is None:
                raise ValueError("classes must be given to the first call of partial_fit, got None")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}, got {classes}")
        if not np.isin(y, self.classes_).all():
            raise ValueError(f"y must hold classes of {self.classes_}, got {np.setdiff1d(y, self.classes_)}")
        self._fit(X, np.searchsorted(self.classes_, y), sample_weight, len(self.classes_), go_on=not first)
        return self

    def _labelled(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(self, X, y, dtype=np.float32, allow_nd=True, reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def _compile(self, examples: Examples, outputs: int, optimizer: Any) -> Any:
        model = self._network(examples, outputs, "softmax")
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def predict_proba(self, X: Any) -> Array:
        """(n, classes), in the order of classes_."""
        return self._outputs(X)

    def predict(self, X: Any) -> Array:
        """The most probable class of each (n,)."""
        check_is_fitted(self, "model_")
        found: Array = self.classes_[self._outputs(X).argmax(1)]
        return found


class CNNRegressor(RegressorMixin, CNN):  # type: ignore[misc]
    """A convolutional network that tells numbers: fit, predict, score, partial_fit. Targets are scaled to [-1, 1].

    The arguments are CNN's. After fit: model_ (a tapwise model), history_ {"loss": [...], ...} and n_iter_.
    """

    _many: bool

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> CNNRegressor:
        """Train a new network on X (n, values) or (n, h, w, c) and targets y (n,) or (n, outputs)."""
        return self._fit_targets(X, y, sample_weight, go_on=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> CNNRegressor:
        """`epochs` more epochs on these examples; the range of the targets is that of the first call."""
        return self._fit_targets(X, y, sample_weight, go_on=hasattr(self, "model_"))

    def _fit_targets(self, X: Any, y: Any, sample_weight: ArrayLike | None, go_on: bool) -> CNNRegressor:
        X, y = validate_data(
            self, X, y, dtype=np.float32, allow_nd=True, multi_output=True, y_numeric=True, reset=not go_on
        )
        y = np.asarray(y, np.float64)
        columns = y.reshape(len(y), -1)
        if go_on and (y.ndim > 1, columns.shape[1]) != (self._many, self.model_.output_shape[-1]):
            raise ValueError(f"y must have the shape of the first call's, got {y.shape}")
        self._many = y.ndim > 1
        self._fit(X, columns, sample_weight, columns.shape[1], go_on)
        return self

    def _compile(self, examples: Examples, outputs: int, optimizer: Any) -> Any:
        from ..scaling import TargetScaler

        model = self._network(examples, outputs, None)
        model.compile(optimizer, "mse", target_scaler=TargetScaler())
        return model

    def predict(self, X: Any) -> Array:
        """The targets (n,) or (n, outputs), as fit got them."""
        found = self._outputs(X).astype(np.float64)
        return found if self._many else found[:, 0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
