"""Callbacks, weights of examples and classes, regularizers: each against what it says, on a small model."""

import csv

import numpy as np
import pytest

import tapwise
from differences import differences
from small_model import X, Y, assert_same, compiled
from tapwise import callbacks, layers, optimizers, regularizers


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


class Scripted(callbacks.Callback):
    """Gives the epochs these values of val_loss, and notes the learning rates."""

    def __init__(self, values):
        self.values, self.rates = values, []

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.values[epoch]
        self.rates.append(self.model.optimizer.learning_rate)


def fit(script, *others, model=None):
    model = model or compiled()
    scripted = Scripted(script)
    model.fit(X, Y, epochs=len(script), callbacks=[scripted, *others], verbose=0)
    return model, scripted


def test_early_stopping_waits_and_gives_the_best_weights_back():
    kept = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(stopping.model.get_weights()))
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, _ = fit([3, 2, 1, 4, 1.5, 0], keep, stopping)
    assert model.history.epoch == [0, 1, 2, 3, 4]
    assert (stopping.stopped_epoch, stopping.best_epoch) == (4, 2)
    assert_same(model.get_weights(), kept[2])
    model, _ = fit([3, 3, 3, 3], callbacks.EarlyStopping(patience=2, start_from_epoch=1))
    assert model.history.epoch == [0, 1, 2, 3]


def test_learning_rates_follow_their_callbacks():
    plateau = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.2)
    _, scripted = fit([3, 3, 3, 3, 3, 3, 3], plateau, model=compiled(optimizer=optimizers.SGD(1.0)))
    assert scripted.rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    model = compiled(optimizer=optimizers.SGD(1.0))
    history = model.fit(
        X, Y, epochs=3, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch))]
    )
    assert history.history["learning_rate"] == [1, 0.5, 0.5 / 3]


def test_a_schedule_sets_the_rate_of_each_step():
    rates = []
    model = compiled(optimizer=optimizers.SGD(optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.3, 0.2, 0.1])))
    note = callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(model.optimizer.learning_rate)
    )
    model.fit(X, Y, batch_size=6, epochs=1, callbacks=[note], verbose=0)
    assert rates == [0.3, 0.3, 0.2, 0.2]


def test_csv_logger_writes_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    model = compiled()
    first = model.fit(X, Y, epochs=2, callbacks=[callbacks.CSVLogger(path)], verbose=0).history["loss"]
    second = model.fit(X, Y, epochs=1, callbacks=[callbacks.CSVLogger(path, append=True)], verbose=0).history["loss"]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert [float(row["loss"]) for row in rows] == [*first, *second]


def test_tensorboard_files_are_its_own(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2)
    history = compiled().fit(X, Y, batch_size=6, epochs=2, validation_split=0.5, callbacks=[board], verbose=0).history
    for part, name in (("train", "loss"), ("validation", "val_loss")):
        events = reader.EventAccumulator(str(tmp_path / part)).Reload()
        np.testing.assert_allclose([e.value for e in events.Scalars("epoch_loss")], history[name], rtol=1e-6)
    events = reader.EventAccumulator(str(tmp_path / "train")).Reload()
    assert [e.step for e in events.Scalars("batch_loss")] == [2, 4]
    assert len(events.Tags()["histograms"]) == 8


def test_a_callback_that_raises_leaves_the_model_usable():
    def fail(batch, logs):
        if batch == 2:
            raise ZeroDivisionError

    model = compiled()
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, batch_size=6, callbacks=[callbacks.LambdaCallback(on_train_batch_end=fail)], verbose=0)
    assert model.optimizer.iterations == 3
    assert model.fit(X, Y, verbose=0).epoch == [0]


def test_a_loss_of_nan_stops_and_infinity_may():
    x = X.copy()
    x[13] = np.nan
    model = compiled()
    with pytest.warns(RuntimeWarning, match=r"the loss is NaN from epoch 1, step 3 on: training stops"):
        model.fit(x, Y, batch_size=6, epochs=3, shuffle=False, verbose=0)
    assert (model.history.epoch, model.optimizer.iterations) == ([0], 3)
    model = compiled(optimizer=optimizers.SGD(1e30))
    with pytest.raises(RuntimeError, match=r"the loss is (inf|nan) after batch"), np.errstate(all="ignore"):
        model.fit(X, Y, batch_size=6, epochs=3, callbacks=[callbacks.TerminateOnNaN(True)], verbose=0)


def test_weights_of_examples_are_repetitions():
    """An example of weight 2 counts as two, up to the mean's number of examples; one of weight 0 not at all."""
    weights = np.array([2, 0, 1, 1])
    one, other = (
        compiled(tapwise.Sequential([layers.Input((6, 6, 2)), layers.Flatten(), layers.Dense(3, "softmax")]))
        for _ in range(2)
    )
    other.set_weights(one.get_weights())
    loss = one.train_on_batch(X[:4], Y[:4], sample_weight=weights, return_dict=True)["loss"]
    repeated = [0, 0, 2, 3]
    assert loss == pytest.approx(other.train_on_batch(X[repeated], Y[repeated], return_dict=True)["loss"], rel=1e-5)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_class_weight_is_the_sample_weight_of_each_class():
    results = []
    for given in ({"class_weight": {0: 3.0, 2: 0.5}}, {"sample_weight": np.array([3.0, 1.0, 0.5])[Y]}):
        tapwise.set_random_seed(3)
        model = compiled()
        history = model.fit(X, Y, batch_size=5, epochs=2, validation_data=(X, Y, np.ones(len(X))), verbose=0, **given)
        results.append([*model.get_weights(), history.history["loss"], history.history["val_loss"]])
    assert_same(*results)


def regularized(**arguments):
    return tapwise.Sequential(
        [
            layers.Input((5,)),
            layers.Dense(4, "tanh", dtype="float64", **arguments),
            layers.Activation("relu", dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )


@pytest.mark.parametrize("argument", ["kernel_regularizer", "bias_regularizer", "activity_regularizer"])
def test_regularizers_are_part_of_the_loss_and_its_gradient(argument, rng):
    x, y = rng.standard_normal((6, 5)), rng.standard_normal((6, 2))
    with tapwise.backend.use("reference"):
        model = regularized(**{argument: regularizers.L1L2(0.03, 0.02)})
        plain = regularized()
        for each in (model, plain):
            each.compile(optimizers.SGD(0.0), "mse")
            each.set_weights(
                [0.3 + rng.random(w.shape) for w in each.weights] if each is model else model.get_weights()
            )
        kernel, bias = (w.value for w in model.layers[0].weights)
        part = {"kernel": kernel, "bias": bias}.get(argument.split("_")[0])
        if part is None:
            part = np.tanh(x @ kernel + bias)
        cost = (0.03 * np.abs(part).sum() + 0.02 * (part**2).sum()) / (6 if "activity" in argument else 1)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(plain.evaluate(x, y, verbose=0) + cost)
        assert model.train_on_batch(x, y) == pytest.approx(plain.train_on_batch(x, y) + cost)
        found = [weight.gradient.copy() for weight in model.weights]
        for weight, gradient in zip(model.weights, found, strict=True):
            want = differences(lambda: model.evaluate(x, y, verbose=0), weight.value)
            np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit([1, 2], callbacks.EarlyStopping("val_acc")), r"monitor must be one of loss, .*, got 'val_acc'"),
        (lambda: callbacks.EarlyStopping(mode="best"), r"mode must be auto, min or max, got 'best'"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1), r"factor must be in \[0, 1\), got 1"),
        (lambda: callbacks.ModelCheckpoint("a", save_freq=0), r'save_freq must be "epoch" or a number'),
        (lambda: compiled().fit(X, Y, sample_weight=[1.0], verbose=0), r"a finite number for each of 24 examples"),
        (lambda: compiled().fit(X, Y, sample_weight=Y, class_weight={0: 1}, verbose=0), r"may be given, got both"),
        (lambda: regularizers.L1(-1), r"l1 must be >= 0 and finite, got -1"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()
