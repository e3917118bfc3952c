"""Every layer of layer_cases: gradients against central differences, in plans and outside, and configs that make it."""

import json

import numpy as np
import pytest

import tapwise
from differences import assert_gradient
from layer_cases import CASES, inputs
from tapwise import layers

NOISE = [
    ("SpatialDropout1D", {"rate": 0.5, "seed": 3}, (4, 6)),
    ("SpatialDropout2D", {"rate": 0.5, "data_format": "channels_first", "seed": 3}, (6, 2, 3)),
    ("SpatialDropout3D", {"rate": 0.5, "seed": 3}, (2, 1, 2, 6)),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1, 3), "seed": 3}, (4, 3)),
    ("AlphaDropout", {"rate": 0.4, "seed": 3}, (4, 3)),
    ("GaussianDropout", {"rate": 0.4, "seed": 3}, (4, 3)),
    ("GaussianNoise", {"stddev": 0.4, "seed": 3}, (4, 3)),
]


@pytest.fixture(autouse=True)
def _reference():
    tapwise.set_random_seed(3)
    with tapwise.backend.use("reference"):
        yield


def check(layer, x, dy, forward):
    arrays = x if isinstance(x, list) else [x]
    y = forward()
    dx = layer.backward(dy)
    found = dx if isinstance(x, list) else [dx]

    def f():
        return float((forward() * dy).sum())

    mass = float(np.abs(y * dy).sum() + np.abs(dy).sum())
    if not isinstance(layer, layers.Embedding):
        for got, array in zip(found, arrays, strict=True):
            assert_gradient(np.array(got), array, f, mass)
    for weight in layer.trainable_weights:
        assert weight.gradient.flags.c_contiguous
        assert_gradient(weight.gradient.copy(), weight.value, f, mass)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_central_differences(case, rng):
    layer = getattr(layers, case.name)(**case.arguments, dtype="float64")
    x = inputs(case, rng)
    layer(x, training=True)
    for weight in layer.trainable_weights:
        weight.value += 0.1 * rng.standard_normal(weight.shape)
    dy = rng.standard_normal(layer(x, training=True).shape)
    check(layer, x, dy, lambda: layer.forward(x, training=True))


@pytest.mark.parametrize(("name", "arguments", "shape"), NOISE, ids=[each[0] for each in NOISE])
def test_gradients_of_noise(name, arguments, shape, rng):
    layer = getattr(layers, name)(**arguments, dtype="float64")
    x = rng.standard_normal((3, *shape))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    layer.next_seed = lambda: 5  # the same noise in each forward
    assert (layer(x, training=True) != x).any()
    check(layer, x, rng.standard_normal(x.shape), lambda: layer.forward(x, training=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_model_finds_the_layers_own_gradients(case, rng):
    """In a model's memory, behind one layer and before another: what the layer finds alone."""
    if case.name == "Embedding":
        return
    layer = getattr(layers, case.name)(**case.arguments, dtype="float64")
    x = inputs(case, rng)
    arrays = x if isinstance(x, list) else [x]
    given = [tapwise.Input(a.shape[1:], dtype="float64") for a in arrays]
    before = [layers.Rescaling(2.0, dtype="float64")(each) for each in given]
    y = layers.Activation("tanh", dtype="float64")(layer(before if isinstance(x, list) else before[0]))
    model = tapwise.Model(given, y)
    for weight in layer.trainable_weights:
        weight.value += 0.1 * rng.standard_normal(weight.shape)
    kept = [weight.value.copy() for weight in layer.weights]
    model.run(arrays, training=True)
    dy = rng.standard_normal((3, *model.outputs[0].example))
    model.backward([dy])
    got = [weight.gradient.copy() for weight in layer.trainable_weights]
    for weight, value in zip(layer.weights, kept, strict=True):
        weight.value[...] = value
    doubled = [2 * a for a in arrays]
    y = np.tanh(layer.forward(doubled if isinstance(x, list) else doubled[0], training=True))
    layer.backward(dy * (1 - y * y))
    for mine, weight in zip(got, layer.trainable_weights, strict=True):
        np.testing.assert_allclose(mine, weight.gradient, rtol=0, atol=1e-12 * max(1, np.abs(mine).max()))


@pytest.mark.parametrize(
    ("name", "arguments"), [*((c.name, c.arguments) for c in CASES), *((n, a) for n, a, _ in NOISE)], ids=str
)
def test_a_config_makes_the_layer_again(name, arguments):
    layer = getattr(layers, name)(**arguments, name="mine", trainable=False)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert again.get_config() == layer.get_config() == config
    assert (again.name, again.trainable, again.dtype) == ("mine", False, np.float32)


def test_noise_keeps_mean_and_variance():
    x = tapwise.initializers.RandomNormal(stddev=1.0, seed=1)((200, 500), "float64")
    bound = 5 / np.sqrt(x.size)
    for layer, mean, variance in (
        (layers.AlphaDropout(0.3, seed=1, dtype="float64"), 0, 1),
        (layers.GaussianNoise(0.5, seed=1, dtype="float64"), 0, 1.25),
        (layers.GaussianDropout(0.2, seed=1, dtype="float64"), 0, 1.25),
        (layers.SpatialDropout1D(0.2, seed=1, dtype="float64"), 0, 1.25),
    ):
        y = layer(x[:, None] if "Spatial" in type(layer).__name__ else x, training=True)
        assert abs(y.mean() - mean) < bound * np.sqrt(variance)
        assert abs(y.var() - variance) < 2 * bound * variance**2


def test_spatial_dropout_drops_whole_maps():
    y = layers.SpatialDropout2D(0.5, seed=1)(np.ones((8, 3, 3, 16), np.float32), training=True)
    maps = y.reshape(8, 9, 16)
    assert ((maps == maps[:, :1]).all(1)).all()
    assert {*np.unique(maps)} == {0.0, 2.0}


def test_normalization_adapts_to_data(rng):
    x = 3 + 2 * rng.standard_normal((50, 4, 3))
    layer = layers.Normalization(dtype="float64")
    layer.adapt(x)
    y = layer(x)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-14)
    np.testing.assert_allclose(y.var((0, 1)), 1, rtol=1e-13)
    assert [w.shape for w in layer.weights] == [(3,), (3,), ()]
    assert layer.trainable_weights == []
    back = layers.Normalization(mean=x.mean((0, 1)), variance=x.var((0, 1)), invert=True, dtype="float64")
    np.testing.assert_allclose(back(y), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: layers.Reshape((5, -1)), (4, 3), r"reshape: target_shape must hold the 12 values .* got \(n, 5, -1\)"),
        (lambda: layers.Permute((1, 3)), None, r"dims must be different axes of 1 to 2, got \(1, 3\)"),
        (lambda: layers.Cropping2D(2), (4, 5, 1), r"cropping2d: cropping must leave at least one row"),
        (lambda: layers.ZeroPadding2D(((0, -1), (0, 0))), None, r"padding must be >= 0"),
        (lambda: layers.Embedding(3, 2), (4,), r"embedding: x must be whole numbers in \[0, 3\), got 7 to 7"),
        (lambda: layers.GroupNormalization(3), (4, 4), r"groups must divide the 4 channels, got 3"),
        (lambda: layers.LayerNormalization(axis=1), (4, 4), r"axis must be the last one or the last ones of 3"),
        (lambda: layers.UpSampling2D(interpolation="lanczos3"), None, r"interpolation must be one of nearest"),
        (lambda: layers.Resizing(0, 3), None, r"height must be >= 1, got 0"),
        (lambda: layers.Dense(3, "glu"), None, r"activation must keep the shape, got 'glu'"),
        (lambda: layers.Dense(3, kernel_regularizer="l3"), None, r"regularizer must be one of l1, l2, .* got 'l3'"),
        (lambda: layers.Dropout(0.5, (None, 2)), (4,), r"noise_shape must have None, 1 or x's own size"),
        (lambda: layers.GaussianNoise(-1), None, r"stddev must be in \[0, 1\], got -1"),
        (lambda: layers.Normalization(mean=1), None, r"mean and variance must be given both or neither"),
    ],
)  # fmt: skip
def test_rejects(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make()(np.full((2, *shape), 7, np.float64), training=True)
