"""fit, evaluate and predict on batches, weights of examples, validation now and then, scaled targets, Keras' names."""

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled, small
from tapwise import activations, callbacks, data, layers, models, optimizers, utils

WEIGHTS = np.linspace(0.5, 2, len(X))


class Pairs(utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        rows = slice(6 * i, 6 * i + 6)
        return X[rows], Y[rows], WEIGHTS[rows]


def sources():
    """The same weighted examples in the same batches."""
    return {
        "Batches": data.Batches(X, Y, WEIGHTS, batch_size=6, shuffle=False, workers=1),
        "PyDataset": Pairs(),
        "Stream": data.Stream(Pairs(), workers=0),
    }


@pytest.mark.parametrize("name", ["Batches", "PyDataset", "Stream"])
def test_batches_do_what_arrays_do(name):
    results = []
    for given in ({"x": X, "y": Y, "sample_weight": WEIGHTS, "shuffle": False}, {"x": sources()[name]}):
        tapwise.set_random_seed(3)
        net = tapwise.Sequential([layers.Input((6, 6, 2)), layers.Flatten(), layers.Dense(3, "softmax")])
        model = compiled(net, metrics=[], weighted_metrics=["accuracy"])
        validation = (X, Y, WEIGHTS) if "y" in given else sources()[name]
        history = model.fit(**given, batch_size=6, epochs=2, validation_data=validation, verbose=0)
        tested = {key: value for key, value in given.items() if key != "shuffle"}
        scores = model.evaluate(**tested, batch_size=6, verbose=0)
        predicted = model.predict(given["x"], batch_size=6, verbose=0)
        results.append([*model.get_weights(), *history.history.values(), scores, predicted])
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert_same(*results)


def test_weighted_metrics_count_by_weight():
    model = compiled(metrics=["accuracy"], weighted_metrics=[tapwise.metrics.SparseCategoricalAccuracy("weighted")])
    right = model.predict(X, verbose=0).argmax(-1) == Y
    scores = model.evaluate(X, Y, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(right.mean())
    assert scores["weighted"] == pytest.approx((right * WEIGHTS).sum() / WEIGHTS.sum())
    two = tapwise.Sequential([layers.Input((3,)), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"weighted_metrics must be by the names of outputs, dense, got 'other'"):
        two.compile("sgd", "mse", weighted_metrics={"other": ["mae"]})


def test_validation_comes_now_and_then(tmp_path):
    monitors = [
        callbacks.EarlyStopping(patience=9),
        callbacks.ReduceLROnPlateau(patience=9),
        callbacks.ModelCheckpoint(tmp_path / "best.tapwise", save_best_only=True),
    ]
    model = compiled()
    history = model.fit(X, Y, epochs=5, validation_split=0.25, validation_freq=2, callbacks=monitors, verbose=0)
    assert history.epochs["val_loss"] == [1, 3]
    assert len(history.history["loss"]) == 5
    assert (tmp_path / "best.tapwise").exists()
    history = model.fit(X, Y, epochs=4, validation_data=(X, Y), validation_freq=[1, 4], verbose=0)
    assert history.epochs["val_accuracy"] == [0, 3]
    figure = history.plot()
    assert [line.get_xdata().tolist() for line in figure.axes[0].lines[:2]] == [[1, 2, 3, 4], [1, 4]]


def test_validation_has_a_batch_size_of_its_own():
    sizes = []

    class Watch(layers.Layer):
        def forward(self, x, training=False):
            sizes.append((training, len(x)))
            return x

        def backward(self, dy):
            return dy

    model = tapwise.Sequential([layers.Input((6, 6, 2)), Watch(), layers.Flatten(), layers.Dense(3, "softmax")])
    sizes.clear()
    compiled(model).fit(X, Y, 8, validation_data=(X, Y), validation_batch_size=12, verbose=0)
    assert sizes == [(True, 8)] * 3 + [(False, 12)] * 2


def test_an_epoch_may_be_shorter():
    model = compiled()
    history = model.fit(X, Y, batch_size=6, epochs=3, steps_per_epoch=2, verbose=0)
    assert (model.optimizer.iterations, history.params["steps"]) == (6, 2)
    with pytest.raises(ValueError, match=r"steps_per_epoch must be from 1 to the 4 batches that there are, got 5"):
        model.fit(X, Y, batch_size=6, steps_per_epoch=5, verbose=0)


def line():
    model = tapwise.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile(optimizers.Adam(0.05), "mse", target_scaler=tapwise.TargetScaler())
    return model


def test_the_scaler_sees_the_training_part_alone(rng):
    x = rng.standard_normal((100, 2)).astype(np.float32)
    y = 100 * x[:, 0] + 50
    y[80:] *= 1000
    results = []
    for given in (
        {"x": x, "y": y, "validation_split": 0.2, "shuffle": False},
        {"x": data.Batches(x[:80], y[:80], shuffle=False), "validation_data": (x[80:], y[80:])},
        {"x": data.Batches(x[:80], y[:80], shuffle=False), "validation_data": data.Batches(x[80:], y[80:])},
    ):
        tapwise.set_random_seed(0)
        model = line()
        history = model.fit(**given, epochs=3, verbose=0)
        assert (model.target_scaler.low, model.target_scaler.high) == (y[:80].min(), y[:80].max())
        results.append([*model.get_weights(), history.history["loss"], history.history["val_loss"]])
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])
    with pytest.raises(ValueError, match=r"target_scaler must have seen targets before batches of a generator"):
        line().fit(iter([(x, y)] * 3), steps_per_epoch=1, verbose=0)
    seen = line()
    seen.target_scaler.fit(y[:80])
    seen.fit(iter([(x, y)] * 3), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.fit(sources()["Batches"], class_weight={0: 2.0}, verbose=0),
            r"class_weight and sample_weight",
        ),
        (lambda m: m.fit(X, Y, validation_data=(X, Y + 9), verbose=0), r"validation_data: y must be in \[0, 3\)"),
        (lambda m: m.fit(X, Y, validation_data=data.Batches(X, Y + 9), verbose=0), r"validation_data: y must be in"),
        (lambda m: m.fit(X, Y, validation_freq=0, validation_data=(X, Y), verbose=0), r"validation_freq must"),
        (
            lambda m: m.evaluate(sources()["Batches"], Y, verbose=0),
            r"y and sample_weight must be left out",
        ),
        (lambda m: data.Batches(X, Y, WEIGHTS[1:]), r"sample_weight must hold a finite number for each of 24 items"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(compiled())


def test_functions_of_activations_are_names(tmp_path):
    model = tapwise.Sequential(
        [layers.Input((4,)), layers.Dense(3, activation=activations.gelu), layers.Activation(activations.softmax)]
    )
    x = X.reshape(-1, 4)
    kernel, bias = model.get_weights()
    want = activations.softmax(activations.gelu(x @ kernel + bias))
    np.testing.assert_allclose(model.predict(x, verbose=0), want, rtol=1e-5)
    model.save(tmp_path / "model.tapwise")
    assert tapwise.load_model(tmp_path / "model.tapwise").layers[0].activation == "gelu"
    np.testing.assert_array_equal(activations.get("relu")([-1.0, 2.0]), [0, 2])
    np.testing.assert_array_equal(activations.relu([-1.0, 9.0], 0.5, max_value=6.0), [-0.5, 6])
    with pytest.raises(ValueError, match=r"activation must be a name or a function of tapwise.activations"):
        layers.Dense(3, activation=np.tanh)
    with pytest.raises(ValueError, match=r"activation must be one of linear, relu, .* got 'rely'"):
        activations.get("rely")


def test_a_clone_has_weights_of_its_own():
    model = small()
    clone = models.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert isinstance(clone, models.Sequential)
    assert clone.compute_output_shape((None, 6, 6, 2)) == (None, 3)
    before = model.get_weights()
    compiled(clone).fit(X, Y, verbose=0)
    assert_same(model.get_weights(), before)
    clone.set_weights(before)
    np.testing.assert_array_equal(clone.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match=r"sequential must get x of shape .*, got \(0, 5, 6, 2\)"):
        model.compute_output_shape((None, 5, 6, 2))
