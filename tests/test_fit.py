"""fit: digits learned, bits repeated, gradients fused, interruptions and NaN survived."""

import re

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled
from tapwise import layers, losses, optimizers
from tapwise.data import Batches


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's 1,797 digits in its own order, bytes 0..16."""
    sets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    bunch = sets.load_digits()
    return bunch.images[..., None].astype(np.uint8), bunch.target


def test_a_small_cnn_learns_digits(digits):
    x, y = digits
    model = tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(0.004), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x[:1437], y[:1437], batch_size=32, epochs=6, verbose=0)
    loss, accuracy = model.evaluate(x[1437:], y[1437:], verbose=0)
    assert accuracy >= 0.93  # the last fifth was written by other people than the rest
    assert history.history["accuracy"][-1] >= 0.98
    assert loss == pytest.approx(-np.log(model.predict(x[1437:], verbose=0)[range(360), y[1437:]]).mean(), rel=1e-5)


def run(threads):
    with tapwise.threads.set(threads):
        tapwise.set_random_seed(4)
        model = compiled()
        history = model.fit(X, Y, batch_size=5, epochs=2, verbose=0)
        return [*model.get_weights(), model.predict(X, verbose=0), history.history["loss"]]


def test_a_seed_gives_the_same_bits_for_any_number_of_threads(engine):
    first = run(1)
    assert_same(first, run(1))
    assert_same(first, run(2))


def test_history_has_an_entry_for_each_epoch():
    model = compiled()
    history = model.fit(X, Y, epochs=3, initial_epoch=1, validation_data=(X, Y), verbose=0)
    assert model.history is history
    assert history.epoch == [1, 2]
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 2 for values in history.history.values())
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 1}
    assert model.evaluate(X, Y, verbose=0) == [history.history[f"val_{name}"][-1] for name in ("loss", "accuracy")]
    assert model.fit(X, Y, epochs=1, verbose=0).epoch == [0]


def test_validation_split_holds_back_the_last_part():
    results = []
    for arguments in (
        {"x": X, "y": Y, "validation_split": 0.3},  # Keras: floor(24 * 0.7) to train on
        {"x": X[:16], "y": Y[:16], "validation_data": (X[16:], Y[16:])},
    ):
        tapwise.set_random_seed(2)
        model = compiled()
        history = model.fit(**arguments, batch_size=6, epochs=2, verbose=0)
        results.append([*model.get_weights(), *history.history.values()])
    assert_same(*results)


def test_batches_may_be_made_by_the_caller():
    results = []
    for batches in (Batches(X, Y, batch_size=10, seed=7, scale=0.5), Batches(X / 2, Y, batch_size=10, seed=7)):
        tapwise.set_random_seed(2)
        model = compiled()
        history = model.fit(batches, epochs=2, verbose=0)
        assert history.params["steps"] == 3
        results.append(model.get_weights())
    assert_same(*results)


def test_batches_keep_the_precision_of_a_float64_model(rng):
    x = rng.standard_normal((5, 3))
    (got, labels), *_ = Batches(x, np.arange(5), shuffle=False, scale=0.1, dtype="float64").epoch(0)
    np.testing.assert_array_equal(got, x * 0.1)
    np.testing.assert_array_equal(labels, np.arange(5))


@pytest.mark.parametrize("kind", ["float64", "uint8", "int64", "list", "strided", "shuffled"])
def test_inputs_are_converted_batch_by_batch(kind, rng):
    plain = rng.integers(0, 9, X.shape).astype(np.float32)
    given = {
        "list": lambda: plain.tolist(),
        "strided": lambda: np.stack([plain, plain], 1)[:, 0],
        "shuffled": lambda: plain.astype(np.uint8),
    }.get(kind, lambda: plain.astype(kind))()
    results = []
    for x in (plain, given):
        tapwise.set_random_seed(2)
        model = compiled()
        model.fit(x, Y, batch_size=7, shuffle=kind == "shuffled", verbose=0)
        results.append([*model.get_weights(), model.predict(x, verbose=0), model.evaluate(x, Y, verbose=0)])
    assert_same(*results)


@pytest.mark.parametrize("end", ["dense", "activation", "layer"])
def test_the_fused_softmax_gradient_is_the_unfused_one(end, rng):
    """In float64 and away from 0 and 1 they agree to rounding; where p is 0 only the fused one knows the way."""
    kinds = {"dense": [], "activation": [layers.Activation("softmax", dtype="float64")], "layer": []}
    kinds["layer"] = [layers.Softmax(dtype="float64")]
    with tapwise.backend.use("reference"):
        dense = layers.Dense(3, "softmax" if end == "dense" else None, dtype="float64")
        model = tapwise.Sequential([layers.Input((4,)), layers.Dense(5, "tanh", dtype="float64"), dense, *kinds[end]])
        x = rng.standard_normal((6, 4))
        loss = losses.SparseCategoricalCrossentropy()
        y = Y[:6]
        p = model.forward(x, training=True)
        model.backward(loss.gradient(y, p))
        unfused = [w.gradient.copy() for w in model.weights]
        model.forward(x, training=True)
        model.backward(loss.on_logits().gradient(y, model.logits()), at_logits=True)
        for weight, want in zip(model.weights, unfused, strict=True):
            np.testing.assert_allclose(weight.gradient, want, rtol=0, atol=1e-13)

        model.layers[1].set_weights([1e4 * dense.get_weights()[0], np.zeros(3)])
        model.compile("sgd", loss)
        worst = model.predict(x, verbose=0).argmin(-1)
        before = [w.copy() for w in model.get_weights()]
        assert 1e2 < model.train_on_batch(x, worst) < 1e6  # a difference of logits, not the -log(1e-7) = 16 of p
        assert not np.array_equal(model.get_weights()[2], before[2])


def test_train_on_batch_is_one_step_of_the_optimizer():
    with tapwise.backend.use("reference"):
        model = tapwise.Sequential([layers.Input((2,)), layers.Dense(1, dtype="float64")])
        model.compile(optimizers.SGD(0.1), "mse")
        w, b = np.array([[2.0], [-1.0]]), np.array([0.5])
        model.set_weights([w, b])
        x, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([1.0, 5.0])
        error = x @ w + b - y[:, None]
        assert model.train_on_batch(x, y) == pytest.approx(np.mean(error**2))
        got = model.get_weights()
        np.testing.assert_allclose(got[0], w - 0.1 * x.T @ error, rtol=1e-14)
        np.testing.assert_allclose(got[1], b - 0.1 * error.sum(0), rtol=1e-14)


def test_a_loss_of_nan_is_told_and_recorded():
    model = compiled(optimizer=optimizers.SGD(0.01))
    x = X.copy()
    x[13] = np.nan
    with pytest.warns(RuntimeWarning, match=r"the loss is NaN from epoch 1, step 3 on"):
        history = model.fit(x, Y, batch_size=6, epochs=2, shuffle=False, verbose=2)
    assert np.isnan(history.history["loss"]).all()


class Scale(layers.Layer):
    """A layer of one's own: y = x * gain; interrupted as if by Ctrl-C in the fifth step of training."""

    def build(self, input_shape):
        self.gain = self.add_weight(input_shape[1:], "ones", name="gain")
        self.steps = 0

    def forward(self, x, training=False):
        self.steps += training
        if self.steps == 5:
            self.steps = 0
            raise KeyboardInterrupt
        self.x = x
        return x * self.gain.value

    def backward(self, dy):
        self.gain.gradient = (dy * self.x).sum(0)
        return dy * self.gain.value if self.input_gradient else None


def test_an_interrupted_fit_leaves_the_model_and_its_history():
    model = compiled(tapwise.Sequential([layers.Flatten(), layers.Dense(4), Scale(), layers.Dense(3, "softmax")]))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, epochs=5, verbose=0)
    assert model.history.epoch == [0]  # three steps each; the fifth is the second epoch's
    assert len(model.history.history["loss"]) == 1
    assert (model.get_weights()[2] != 1).all()
    assert model.fit(X, Y, epochs=1, verbose=0).epoch == [0]


def test_a_callback_is_told_each_epochs_entries_of_the_history():
    told = []

    class Tell:
        def on_epoch_end(self, epoch, logs):
            told.append((epoch, logs))

    history = compiled().fit(X, Y, epochs=2, callbacks=[Tell()], verbose=0)
    assert [epoch for epoch, _ in told] == history.epoch
    assert {name: [logs[name] for _, logs in told] for name in history.history} == history.history


def test_fit_writes_a_line_an_epoch_with_images_per_second(capsys):
    compiled().fit(X, Y, epochs=2, validation_split=0.5)
    lines = capsys.readouterr().out.split("\n")
    number = r"\d\.\d{4}"
    assert len(lines) == 3
    assert re.fullmatch(
        rf"Epoch 2/2 - \d+s - loss: {number} - accuracy: {number} - val_loss: {number} - val_accuracy: {number} - "
        r"[\d,]+ images/s",
        lines[1],
    )
