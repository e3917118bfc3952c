"""Sequential: how it is built, named, summed up, given weights and refused what doesn't fit."""

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled, small
from tapwise import layers
from tapwise.data import Batches


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


def test_summary_is_keras_table_and_points_at_the_bottleneck(capsys):
    model = tapwise.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(8, 3), layers.BatchNormalization()])
    for layer in (layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5), layers.Dense(64), layers.Dense(10)):
        model.add(layer)
    model.summary()
    text = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line[1:-1].split(line[0])] for line in text.split("\n") if line[:1] in "┃│" and line
    ]
    assert rows == [
        ["Layer (type)", "Output Shape", "Param #", "Share"],
        ["conv2d (Conv2D)", "(None, 26, 26, 8)", "80", "0.1%"],
        ["batch_normalization (BatchNormalization)", "(None, 26, 26, 8)", "32", "0.0%"],
        ["max_pooling2d (MaxPooling2D)", "(None, 13, 13, 8)", "0", "0.0%"],
        ["flatten (Flatten)", "(None, 1352)", "0", "0.0%"],
        ["dropout (Dropout)", "(None, 1352)", "0", "0.0%"],
        ["dense (Dense)", "(None, 64)", "86,592", "99.1% ◀"],
        ["dense_1 (Dense)", "(None, 10)", "650", "0.7%"],
    ]
    assert text.startswith('Model: "sequential"\n┏━')
    assert text.endswith(
        "┘\n Total params: 87,354 (341.23 KB)\n Trainable params: 87,338 (341.16 KB)\n"
        " Non-trainable params: 16 (64.00 B)\n"
        " Largest share: ◀ dense, 99.1%, as it reads all 1,352 values of flatten\n"
    )
    widths = {len(line) for line in text.split("\n") if line[:1] in "┏┃┡│├└" and line}
    assert len(widths) == 1
    unbuilt = []
    tapwise.Sequential([layers.Dense(2)]).summary(print_fn=unbuilt.append)
    assert "│ dense (Dense)                   │ ?                      │   0 (unbuilt) │" in unbuilt[0]


def test_models_are_built_by_input_by_input_shape_or_at_the_first_call():
    shapes = [(3, 3, 2, 4), (4,), (64, 3), (3,)]
    tail = [lambda: layers.Flatten(), lambda: layers.Dense(3)]
    models = [
        tapwise.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(4, 3), *(make() for make in tail)]),
        tapwise.Sequential([layers.Conv2D(4, 3, input_shape=(6, 6, 2)), *(make() for make in tail)]),
        tapwise.Sequential([layers.Conv2D(4, 3), *(make() for make in tail)], name="late"),
    ]
    with pytest.raises(ValueError, match=r"late has no shapes yet: give Input first, or call the model once"):
        models[2].count_params()
    models[2].build((None, 6, 6, 2))
    for model in models:
        assert [w.shape for w in model.weights] == shapes
        assert (model.input_shape, model.output_shape) == ((None, 6, 6, 2), (None, 3))
        assert model.count_params() == 76 + 195
    late = tapwise.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match=r"conv2d: kernel must not be larger .*; its input is \(n, 2, 2, 1\)"):
        late.predict(np.zeros((1, 2, 2, 1)))
    assert late(X).shape == (24, 3)  # the refused shape has left nothing behind


def test_names_are_counted_within_a_model():
    for _ in range(2):
        model = tapwise.Sequential([layers.Dense(3), layers.ReLU(), layers.Dense(3), layers.Dense(3, name="head")])
        assert [layer.name for layer in model.layers] == ["dense", "re_lu", "dense_1", "head"]
    assert model.get_layer("head") is model.get_layer(index=-1) is model.layers[3]


def test_weights_survive_a_round_trip():
    model, other = small(), small()
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(3, 3, 2, 4), (4,), (4,), (4,), (4,), (4,), (16, 3), (3,)]
    assert not np.array_equal(model.predict(X, verbose=0), other.predict(X, verbose=0))
    other.set_weights(weights)
    np.testing.assert_array_equal(model.predict(X, verbose=0), other.predict(X, verbose=0))
    weights[0][:] = 0
    assert model.get_weights()[0].any()
    wrong = [*weights[:-1], np.zeros(4)]
    with pytest.raises(ValueError, match=r"array 7 is bias and must have shape \(3,\), got \(4,\)"):
        other.set_weights(wrong)
    assert_same(other.get_weights(), model.get_weights())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: small().fit(X, Y), ValueError, r"compile must come before fit: model\.compile\(optimizer, loss\)"),
        (lambda m: small().evaluate(X, Y), ValueError, r"compile must come before evaluate"),
        (lambda m: m.fit(X[..., 0], Y), ValueError, r"sequential must get x of shape \(n, 6, 6, 2\), got \(24, 6, 6\)"),
        (lambda m: m.fit(X, Y[:-1]), ValueError, r"x and y must hold the same number of examples >= 1, got 24 and 23"),
        (lambda m: m.fit(X[:0], Y[:0]), ValueError, r"same number of examples >= 1, got 0 and 0"),
        (lambda m: m.fit(X, Y + 1), ValueError, r"y must be in \[0, 3\) for outputs \(n, 3\), got 3 at index \d+"),
        (lambda m: m.fit(X, Y.astype(float)), ValueError, r"y must hold whole numbers, the classes, .* got float64"),
        (lambda m: m.fit(X, np.eye(3)[Y]), ValueError, r"got float64"),
        (lambda m: m.fit(X, Y, validation_data=(X, Y + 1)), ValueError, r"validation_data: y must be in \[0, 3\)"),
        (lambda m: m.fit(X, Y, validation_split=0.99), ValueError, r"validation_split must leave .* got 0.99 of 24"),
        (lambda m: m.fit(X, Y, batch_size=0), ValueError, r"batch_size must be >= 1, got 0"),
        (lambda m: m.predict(X, batch_size=0), ValueError, r"batch_size must be >= 1, got 0"),
        (lambda m: m.fit(Batches(X, Y), Y), ValueError, r"y and validation_split must be left out with Batches"),
        (lambda m: m.fit(X), TypeError, r"y must be an array of numbers, .* got object of shape \(\)"),
        (lambda m: m.predict(X.astype(complex)), TypeError, r"x must be an array of numbers, .* got complex128"),
        (lambda m: m.compile("adma", "mse"), ValueError, r"optimizer must be one of sgd, adam"),
        (lambda m: m.add(layers.Input((3,))), ValueError, r"Input must come first, got it behind 6 layers"),
        (lambda m: m.add("dense"), TypeError, r"layers must be Layer objects, got 'dense'"),
        (lambda m: m.add(m.layers[0]), ValueError, r"each layer must have its own name, got 'conv2d' twice"),
        (lambda m: m.add(layers.Dense(2, name="dense")), ValueError, r"own name, got 'dense' twice"),
        (lambda m: m.add(layers.Conv2D(2, 3)), ValueError, r"conv2d_1: x must have 4 dimensions.*\(n, 3\)"),
        (lambda m: m.add(layers.Dense(2, dtype="float64")), ValueError, r"dense: dtype must be that of the model"),
        (lambda m: m.build((None, 3)), ValueError, r"sequential is built already, for x \(n, 6, 6, 2\)"),
        (lambda m: m.get_layer("conv"), ValueError, r"name must be one of conv2d, .* got 'conv'"),
        (lambda m: m.get_layer(index=6), ValueError, r"index must be that of one of 6 layers, got 6"),
        (lambda m: m.get_layer(), ValueError, r"either name or index must be given"),
        (lambda m: tapwise.Sequential().predict(X), ValueError, r"sequential must have at least one layer"),
    ],
)
def test_rejects(call, error, message):
    model = compiled()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        call(model)
    assert_same(model.get_weights(), before)
    assert len(model.layers) == 6


def test_a_missing_axis_of_channels_is_pointed_at():
    model = tapwise.Sequential([layers.Input((8, 8, 1)), layers.Flatten()])
    with pytest.raises(ValueError, match=r"got \(5, 8, 8\); x\[..., None\] has the axis of channels"):
        model.predict(np.zeros((5, 8, 8)))


def test_prediction_keeps_no_activations():
    model = compiled()
    model.fit(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert all(layer.saved is None for layer in model.layers[:-1])


def test_only_what_is_trained_gets_gradients():
    """No gradient reaches the pixels, or a frozen layer that has none to train before it."""
    model = compiled()

    def traced():
        with tapwise.trace() as trace:
            model.train_on_batch(X, Y)
        return [record.name for record in trace.records]

    assert traced().count("conv_grad_weight") == 2
    assert traced().count("conv_grad_input") == 1  # the dense layer's
    model.layers[0].trainable = model.layers[1].trainable = False
    kept = model.get_weights()
    assert traced().count("conv_grad_weight") == 1
    assert traced().count("conv_grad_input") == 0
    assert_same(model.get_weights()[:6], kept[:6])
    assert not np.array_equal(model.get_weights()[6], kept[6])


def test_results_do_not_depend_on_the_batches_of_evaluate_and_predict():
    model = compiled()
    whole = model.test_on_batch(X, Y)
    assert model.evaluate(X, Y, batch_size=7, verbose=0) == pytest.approx(whole, rel=1e-6)
    assert model.evaluate(X, Y, verbose=0, return_dict=True) == dict(zip(("loss", "accuracy"), whole, strict=True))
    np.testing.assert_allclose(model.predict(X, 7, 0), model.predict_on_batch(X), rtol=1e-5)
    assert model.predict(X[:0], verbose=0).shape == (0, 3)
    np.testing.assert_array_equal(model(X), model.predict_on_batch(X))
