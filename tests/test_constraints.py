"""Constraints: what they make of arrays, and that they hold after each step of fit and in a saved model."""

import numpy as np
import pytest

import tapwise
from small_model import X, Y
from tapwise import constraints, layers, optimizers


def test_by_hand():
    w = np.array([[3.0, 0.3], [4.0, -0.4]])
    np.testing.assert_allclose(constraints.NonNeg()(w), [[3, 0.3], [4, 0]])
    np.testing.assert_allclose(constraints.MaxNorm(1.0)(w), [[0.6, 0.3], [0.8, -0.4]], rtol=1e-6)
    np.testing.assert_allclose(constraints.UnitNorm()(w), [[0.6, 0.6], [0.8, -0.8]], rtol=1e-6)
    half = constraints.MinMaxNorm(1.0, 2.0, rate=0.5)(w)  # lengths 5 and 1/2 go half the way to 2 and 1
    np.testing.assert_allclose(half, w * [3.5 / 5, 0.75 / 0.5], rtol=1e-6)
    assert constraints.MaxNorm(1.0)(w.astype(np.float32)).dtype == np.float32


def model(**dense):
    return tapwise.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(4, 3, kernel_constraint=constraints.MaxNorm(0.5, axis=(0, 1, 2)), bias_constraint="non_neg"),
            layers.BatchNormalization(gamma_constraint="NonNeg"),
            layers.SeparableConv2D(4, 3, depthwise_constraint="non_neg", pointwise_constraint="unit_norm"),
            layers.DepthwiseConv2D(2, depthwise_constraint=constraints.UnitNorm(axis=(0, 1))),
            layers.LayerNormalization(beta_constraint="non_neg"),
            layers.Flatten(),
            layers.Dense(3, "softmax", kernel_constraint=constraints.MaxNorm(0.3)),
        ]
    )


def assert_hold(trained):
    conv, norm, separable, depthwise, rows, _, dense = (layer.get_weights() for layer in trained.layers)
    assert np.linalg.norm(conv[0].reshape(-1, 4), axis=0).max() <= 0.5 + 1e-6
    assert min(conv[1].min(), norm[0].min(), separable[0].min(), rows[1].min()) >= 0
    np.testing.assert_allclose(np.linalg.norm(depthwise[0], axis=(0, 1)), 1, rtol=1e-5)
    assert np.linalg.norm(dense[0], axis=0).max() <= 0.3 + 1e-6


def test_they_hold_after_each_step_and_in_a_saved_model(tmp_path):
    tapwise.set_random_seed(1)
    first = model()
    first.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    seen = []
    first.fit(
        X, Y, epochs=2, verbose=0,
        callbacks=[tapwise.callbacks.LambdaCallback(on_train_batch_end=lambda *_: seen.append(assert_hold(first)))],
    )  # fmt: skip
    assert len(seen) == 2
    first.save(tmp_path / "model.tapwise")
    again = tapwise.load_model(tmp_path / "model.tapwise")
    again.fit(X, Y, epochs=1, verbose=0)
    assert_hold(again)


def test_an_embedding_may_keep_to_the_sphere():
    layer = layers.Embedding(5, 3, embeddings_constraint=constraints.UnitNorm(axis=1))
    words = tapwise.Sequential([layers.Input((2,)), layer, layers.Flatten(), layers.Dense(1)])
    words.compile("sgd", "mse")
    words.fit(np.array([[0, 1], [2, 3]]), np.ones((2, 1)), verbose=0)
    np.testing.assert_allclose(np.linalg.norm(layer.get_weights()[0], axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constraints.get("max"), r"constraint must be one of max_norm, min_max_norm, .*, got 'max'"),
        (lambda: constraints.MinMaxNorm(2, 1), r"min_value and max_value must be 0 <= min <= max, got 2 and 1"),
        (lambda: constraints.MinMaxNorm(rate=0), r"rate must be in \(0, 1\], got 0"),
        (lambda: layers.Embedding(5, 3, mask_zero=True), r"mask_zero must be False: layers hand no masks on"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()
