"""Models that Keras itself saves, in each of its formats: rebuilt by load_model, and weights into models of ours."""

import os

import numpy as np
import pytest

import tapwise
from tapwise import layers

torch = pytest.importorskip("torch", reason="pip install torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="pip install keras")
pytest.importorskip("h5py", reason="pip install h5py")

# thirty seconds
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


def row():
    k = keras.layers
    parts = [
        k.Conv2D(6, 3, strides=2, padding="same", activation="relu6", kernel_regularizer="l2"),
        k.BatchNormalization(),
    ]
    parts += [k.DepthwiseConv2D(3, depth_multiplier=2), k.LeakyReLU(0.2), k.SeparableConv2D(5, 3, dilation_rate=1)]
    parts += [k.Dropout(0.3), k.MaxPooling2D(), k.Flatten(), k.Dense(4, kernel_initializer="orthogonal"), k.Softmax()]
    return keras.Sequential([keras.Input((16, 16, 3)), *parts])


def graph():
    """Nested models, one of them called twice, operators, layers frozen and of names that two models have."""
    k = keras.layers
    inner_input = keras.Input((16, 16, 4), name="input")
    convolved = k.Conv2D(4, 3, padding="same", name="conv")(inner_input)
    inner = keras.Model(inner_input, k.BatchNormalization(name="norm")(convolved), name="block")
    inner.trainable = False
    tail = keras.Sequential([k.Conv2D(4, 1), k.PReLU(shared_axes=[1, 2])], name="tail")
    x = keras.Input((16, 16, 3), name="input")
    y = first = k.Conv2D(4, 3, padding="same", name="conv", activation="gelu")(x)
    y = inner(y) + first
    y = k.Concatenate()([inner(y), tail(first) * 2.0 - 1.0])
    y = keras.ops.relu(y)
    y = k.Conv2DTranspose(3, 3, strides=2, padding="same")(k.ZeroPadding2D(1)(k.AveragePooling2D(2)(y)))
    return keras.Model(x, [k.GlobalAveragePooling2D()(y), k.Dense(2, name="head")(k.GlobalMaxPooling2D()(first))])


def randomized(model, rng):
    for weight in model.weights:
        if "seed" not in weight.path:
            low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -0.5
            weight.assign(rng.uniform(low, low + 1, weight.shape).astype(np.float32))
    return model


def same(ours, theirs, x):
    got, want = ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
    for a, b in zip(*(each if isinstance(each, list) else [each] for each in (got, want)), strict=True):
        assert b.std() > 1e-3
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("make", [row, graph])
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_saved_model_is_rebuilt(tmp_path, rng, make, kind):
    theirs = randomized(make(), rng)
    theirs.save(tmp_path / f"model.{kind}")
    ours = tapwise.load_model(tmp_path / f"model.{kind}")
    assert ours.count_params() == theirs.count_params()
    assert sum(w.value.size for w in ours.trainable_weights) == sum(np.prod(w.shape) for w in theirs.trainable_weights)
    same(ours, theirs, rng.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32))
    ours.save(tmp_path / "model.tapwise")  # initializers and regularizers came along, or were left at ours
    again = tapwise.load_model(tmp_path / "model.tapwise")
    for a, b in zip(again.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model.weights.h5"])
def test_weights_go_into_the_same_layers_of_ours(tmp_path, rng, file):
    theirs = randomized(row(), rng)
    (theirs.save_weights if "weights" in file else theirs.save)(tmp_path / file)
    parts = [layers.Conv2D(6, 3, strides=2, padding="same", activation="relu6"), layers.BatchNormalization()]
    parts += [layers.DepthwiseConv2D(3, depth_multiplier=2), layers.LeakyReLU(0.2), layers.SeparableConv2D(5, 3)]
    parts += [layers.MaxPooling2D(), layers.Flatten(), layers.Dense(4, activation="softmax", name="mine")]
    ours = tapwise.Sequential([layers.Input((16, 16, 3)), *parts])
    ours.load_weights(tmp_path / file)
    same(ours, theirs, rng.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32))


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121", "Xception"])
def test_an_application_of_keras_is_rebuilt_from_its_file(tmp_path, rng, name):
    size = 80
    make = getattr(keras.applications, name)
    theirs = make(weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg")
    theirs.save(tmp_path / "model.keras")
    ours = tapwise.load_model(tmp_path / "model.keras")
    x = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    got, want = ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
    assert np.abs(got - want).max() <= 1e-4 * want.std()
    assert np.abs(want[0] - want[1]).max() > 1e-2 * want.std()
