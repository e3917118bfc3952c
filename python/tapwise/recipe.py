"""The small network that the command line trains, and how."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from . import layers, optimizers
from .data import Dataset
from .model import Sequential

LARGEST_MAP = 32


class Trained(NamedTuple):
    """accuracy is that of the test images, seen once, after training."""

    accuracy: float
    images_per_second: float


def network(dataset: Dataset) -> Sequential:
    """Images (n, ih, iw, c) -> probabilities (n, classes): two convolutions, pooling, two dense layers.

    Larger maps are pooled, and convolved once more, until no side is above LARGEST_MAP: the weights between the
    flattened maps and the first dense layer are the bottleneck. Pixels come to [-1, 1] by the training images' range.
    """
    image_shape = dataset.x_train.shape[1:]
    low, high = float(dataset.x_train.min()), float(dataset.x_train.max())
    scale = 2 / (high - low) if high > low else 1.0
    model = Sequential([layers.Input(image_shape), layers.Rescaling(scale, -1 - low * scale)])
    add_convolution(model, 32)
    while max(model.result_shape[:2]) > LARGEST_MAP:
        model.add(layers.MaxPooling2D(padding="same"))
        add_convolution(model, 64)
    add_convolution(model, 64)
    model.add(layers.MaxPooling2D(padding="same"))
    model.add(layers.Dropout(0.25))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(len(dataset.class_names), activation="softmax"))
    return model


def add_convolution(model: Sequential, filters: int) -> None:
    """3x3 and ReLU; maps too small to lose their border keep it."""
    padding = "valid" if min(model.result_shape[:2]) >= 16 else "same"
    model.add(layers.Conv2D(filters, 3, padding=padding, activation="relu"))


def train(
    model: Sequential,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    verbose: int | str = "auto",
    callbacks: Sequence[Any] = (),
    validation_data: Any = None,
) -> Trained:
    """Adam on the cross-entropy, its rate falling to 0 along half a cosine; callbacks and validation_data are fit's."""
    x, y = dataset.x_train, dataset.y_train
    steps = epochs * -(-len(x) // batch_size)
    rate = optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        verbose=verbose,
        callbacks=callbacks,
        validation_data=validation_data,
    )
    seconds = time.perf_counter() - start
    scores = model.evaluate(dataset.x_test, dataset.y_test, batch_size=batch_size, verbose=0, return_dict=True)
    return Trained(cast(dict[str, float], scores)["accuracy"], epochs * len(x) / seconds)
