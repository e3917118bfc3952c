"""The two ends of a network of this folder: the images that come in, and what becomes of its features."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeAlias

from .. import initializers, layers
from ..layers.symbolic import Symbolic
from ..model import Model

File: TypeAlias = str | os.PathLike[str]
Features: TypeAlias = Callable[[Symbolic], Symbolic]


class Ends:
    """Keras' arguments of an application, checked; size and channels are those of its images without input_shape."""

    def __init__(
        self,
        include_top: bool,
        weights: File | None,
        input_tensor: Symbolic | None,
        input_shape: Sequence[int] | None,
        pooling: str | None,
        classes: int,
        classifier_activation: str | None,
        name: str,
        *,
        size: int = 224,
        smallest: int = 32,
        channels: int = 3,
    ) -> None:
        if pooling not in (None, "avg", "max"):
            raise ValueError(f"pooling must be None, avg or max, got {pooling!r}")
        if weights is not None and not Path(weights).is_file():
            raise ValueError(f"weights must be None or the path of a file, as nothing is downloaded, got {weights!r}")
        if classes < 1:
            raise ValueError(f"classes must be >= 1, got {classes}")
        self.include_top, self.weights, self.pooling = include_top, weights, pooling
        self.classes, self.activation, self.name = classes, classifier_activation, name
        shape = tuple(input_shape or (size, size, channels)) if input_tensor is None else input_tensor.example
        if len(shape) != 3 or min(shape[:2]) < smallest:
            raise ValueError(
                f"input_shape must be (height, width, channels), height and width >= {smallest}, got {shape}"
            )
        self.input = layers.Input(shape) if input_tensor is None else input_tensor

    def model(self, features: Features, top: Features | None = None) -> Model:
        """The model, with the weights of the file if there is one; top makes the classifier, as `head` does."""
        with initializers.postponed() if self.weights else nullcontext():
            maps = features(self.input)
            if self.include_top:
                x = (top or self.head)(maps)
            elif self.pooling == "avg":
                x = layers.GlobalAveragePooling2D(name="avg_pool")(maps)
            elif self.pooling == "max":
                x = layers.GlobalMaxPooling2D(name="max_pool")(maps)
            else:
                x = maps
            model = Model(self.input, x, name=self.name)
        if self.weights:
            self._load(model, maps, top or self.head)
        return model

    def _load(self, model: Model, maps: Symbolic, top: Features) -> None:
        """A file with the classifier serves a model without it."""
        assert self.weights
        try:
            model.load_weights(self.weights)
        except ValueError as error:
            if self.include_top:
                raise
            with initializers.postponed():
                whole = Model(self.input, top(maps), name=self.name)
            try:
                whole.load_weights(self.weights)
            except ValueError:
                raise error from None

    def head(self, x: Symbolic) -> Symbolic:
        return self.classifier(layers.GlobalAveragePooling2D(name="avg_pool")(x))

    def classifier(self, x: Symbolic) -> Symbolic:
        y: Symbolic = layers.Dense(self.classes, activation=self.activation, name="predictions")(x)
        return y


class Application:
    """A function that makes a network, with Keras' arguments; x (n, height, width, channels) -> (n, classes).

    Without include_top it gives the features (n, h, w, c), or by pooling "avg" or "max" (n, c). weights is a file that
    load_weights reads, with the classifier or, where include_top is False, without; None: random ones, as nothing is
    downloaded. classifier_activation None gives the logits. loaded(model) follows on the reading of a file.
    """

    def __init__(
        self,
        name: str,
        features: Features,
        top: Callable[[Ends, Symbolic], Symbolic] = Ends.head,
        *,
        size: int = 224,
        smallest: int = 32,
        channels: int = 3,
        classes: int = 1000,
        loaded: Callable[[Model], None] | None = None,
    ) -> None:
        self.name, self.features, self.top, self.loaded = name, features, top, loaded
        self.size, self.smallest, self.channels, self.classes = size, smallest, channels, classes

    def __call__(
        self,
        include_top: bool = True,
        weights: File | None = None,
        input_tensor: Symbolic | None = None,
        input_shape: Sequence[int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
    ) -> Model:
        ends = Ends(
            include_top, weights, input_tensor, input_shape, pooling, self.classes if classes is None else classes,
            classifier_activation, name or self.name, size=self.size, smallest=self.smallest, channels=self.channels,
        )  # fmt: skip
        model = ends.model(self.features, lambda x: self.top(ends, x))
        if weights is not None and self.loaded:
            self.loaded(model)
        return model

    def __repr__(self) -> str:
        return f"<Application {self.name}>"
