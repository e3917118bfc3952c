"""A small model of every kind of layer that has state, and what to train it on."""

import numpy as np

import tapwise
from tapwise import layers

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 6, 6, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 24)


def small(**dense):
    """Every kind of layer that has state: weights, moving statistics, a mask."""
    return tapwise.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(3, **{"activation": "softmax"} | dense),
        ]
    )


def compiled(model=None, **how):
    model = model or small()
    how = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | how
    model.compile(**how)
    return model


def assert_same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)
