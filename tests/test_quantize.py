"""quantize: int8 models whose predictions stay those of the float model, and what it refuses."""

import numpy as np
import pytest

import tapwise
from engines import LOW_PRECISION, Engine
from tapwise import layers


@pytest.fixture(params=[*LOW_PRECISION[:1], Engine("reference")], ids=str)
def engine(request):
    with request.param.use():
        yield request.param


def digits_model():
    return tapwise.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    (x, y), (x_test, y_test) = tapwise.datasets.load_digits()
    tapwise.set_random_seed(1)
    model = digits_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=8, verbose=0)
    return model, x, x_test, y_test


def test_digits_lose_less_than_a_percent(trained, engine):
    model, x, x_test, y_test = trained
    small = tapwise.quantize(model, x[:300])
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    small_loss, small_accuracy = small.evaluate(x_test, y_test, verbose=0)
    assert accuracy > 0.95
    assert abs(small_accuracy - accuracy) <= 0.01
    assert abs(small_loss - loss) <= 0.02
    p, q = model.predict(x_test, verbose=0), small.predict(x_test, verbose=0)
    assert (p.argmax(1) == q.argmax(1)).mean() >= 0.98


def test_same_bytes_on_every_backend(trained):
    """Packed on each; what runs in float32 between differs by rounding alone, which no byte shows here."""
    model, x, x_test, _ = trained
    results = []
    for engine in [*LOW_PRECISION, Engine("reference")]:
        with engine.use():
            small = tapwise.quantize(model, x[:64])
            y = x_test[:32].astype(np.float32) / 16
            linear = small.steps[1]
            results.append(linear.run(linear.source.bytes(y)))
    for other in results[1:]:
        assert np.abs(results[0].astype(int) - other).max() <= 1


def test_what_runs_in_int8(trained, engine):
    model, x, *_ = trained
    lines = str(tapwise.quantize(model, x[:64])).splitlines()
    kinds = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert kinds == {
        "rescaling": "float32",
        "conv2d": "int8",
        "max_pooling2d": "int8",
        "conv2d_1": "int8",
        "flatten": "int8",
        "dense": "int8",
    }


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_every_layer(data_format, engine, rng):
    """Layers without an int8 form run in float32 between those that have one; both layouts."""
    last = data_format == "channels_last"
    how = {"data_format": data_format}
    model = tapwise.Sequential(
        [
            layers.Input((9, 10, 4) if last else (4, 9, 10)),
            layers.Conv2D(12, 3, strides=2, padding="same", activation="tanh", **how),
            layers.AveragePooling2D(2, padding="same", **how),
            layers.Conv2D(8, (1, 3), dilation_rate=1, groups=2, activation="relu", padding="same", **how),
            layers.MaxPooling2D(2, strides=1, padding="same", **how),
            layers.Conv2D(6, 1, **how),
            layers.Activation("relu"),
            layers.MaxPooling2D((2, 1), **how),
            layers.GlobalAveragePooling2D(**how),
            layers.Dense(5, activation="gelu"),
            layers.Dense(3),
        ]
    )
    x = rng.standard_normal((20, *model.input_shape[1:])).astype(np.float32)
    want = model.predict(x, verbose=0)
    got = tapwise.quantize(model, x).predict(x, verbose=0)
    assert np.abs(got - want).max() <= 0.05 * np.abs(want).max()


def test_max_pooling_of_bytes_is_that_of_values(engine, rng):
    model = tapwise.Sequential(
        [layers.Input((7, 9, 3)), layers.Conv2D(4, 1), layers.MaxPooling2D((3, 2), strides=(2, 3)), layers.Flatten()]
    )
    x = rng.standard_normal((5, 7, 9, 3)).astype(np.float32)
    small = tapwise.quantize(model, x)
    conv, pool, _ = small.steps
    sums = conv.run(conv.source.bytes(x))
    want = tapwise.max_pool(sums.astype(np.float32), (3, 2), strides=(2, 3))
    np.testing.assert_array_equal(pool.run(sums), want)
    assert sums.dtype == np.uint8


def test_percentile_leaves_outliers_out(engine, rng):
    model = tapwise.Sequential([layers.Input((16,)), layers.Dense(8), layers.Dense(4)])
    x = rng.standard_normal((640, 16)).astype(np.float32)
    x[3, 0] = 1e4
    wide, narrow = (tapwise.quantize(model, x, percentile=p) for p in (100, 99.9))
    assert wide.steps[0].source.scale > 30
    assert narrow.steps[0].source.scale < 0.1
    want = model.predict(x[100:], verbose=0)
    error_wide, error_narrow = (np.abs(m.predict(x[100:], verbose=0) - want).mean() for m in (wide, narrow))
    assert error_narrow < 0.1 * error_wide


def test_rejects(engine):
    model = tapwise.Sequential([layers.Input((4,)), layers.Dense(3)])
    x = np.zeros((2, 4), np.float32)
    for arguments, error, message in [
        ((layers.Dense(3), x), TypeError, "model must be a Sequential of float32, got"),
        ((model, x[:0]), ValueError, "samples must hold at least one example, got 0"),
        ((model, x[:, :3]), ValueError, r"must get x of shape \(n, 4\), got \(2, 3\)"),
    ]:
        with pytest.raises(error, match=message):
            tapwise.quantize(*arguments)
    with pytest.raises(ValueError, match="percentile must be > 50 and <= 100, got 50"):
        tapwise.quantize(model, x, percentile=50)
    small = tapwise.quantize(model, x)
    with pytest.raises(ValueError, match="compile must come before evaluate"):
        small.evaluate(x, x[:, :3])
    small.compile("sgd", "mse")
    with pytest.raises(TypeError, match="a quantized model can't be trained"):
        small.fit(x, x[:, :3], verbose=0)
