"""Each layer's output against its formula, gradients against differences, weights and defaults against Keras'."""

import inspect

import numpy as np
import pytest

import tapwise
from differences import EPS, assert_gradient
from tapwise import layers
from tapwise.layers.activation import NAMES

# name, layer, shape of x, training
LAYERS = {
    "conv1d causal, dilated": (lambda: layers.Conv1D(3, 2, padding="causal", dilation_rate=2, dtype="float64"), (7, 2)),
    "conv2d same, strides, relu": (
        lambda: layers.Conv2D(3, 3, strides=(2, 1), padding="same", activation="relu", dtype="float64"),
        (5, 4, 2),
    ),
    "conv2d groups, elu": (lambda: layers.Conv2D(4, 2, groups=2, activation="elu", dtype="float64"), (4, 4, 4)),
    "conv2d channels first": (
        lambda: layers.Conv2D(3, (2, 3), data_format="channels_first", activation="tanh", dtype="float64"),
        (2, 4, 5),
    ),
    "depthwise conv2d": (
        lambda: layers.DepthwiseConv2D((3, 2), 2, "same", depth_multiplier=2, activation="tanh", dtype="float64"),
        (5, 4, 3),
    ),
    "depthwise conv1d channels first": (
        lambda: layers.DepthwiseConv1D(3, data_format="channels_first", depth_multiplier=2, dtype="float64"),
        (2, 5),
    ),
    "conv2d without bias": (lambda: layers.Conv2D(2, 2, use_bias=False, dtype="float64"), (3, 3, 2)),
    "max pooling 1d": (lambda: layers.MaxPooling1D(2, dtype="float64"), (5, 2)),
    "max pooling overlapping": (lambda: layers.MaxPooling2D(3, 2, "same", dtype="float64"), (5, 4, 2)),
    "max pooling channels first": (
        lambda: layers.MaxPooling2D(data_format="channels_first", dtype="float64"),
        (2, 4, 4),
    ),
    "average pooling 1d": (lambda: layers.AveragePooling1D(3, 1, "same", dtype="float64"), (5, 2)),
    "average pooling same": (lambda: layers.AveragePooling2D((2, 3), padding="same", dtype="float64"), (5, 4, 2)),
    "global average pooling": (lambda: layers.GlobalAveragePooling2D(dtype="float64"), (3, 4, 2)),
    "global average keepdims": (
        lambda: layers.GlobalAveragePooling1D("channels_first", keepdims=True, dtype="float64"),
        (3, 4),
    ),
    "flatten": (lambda: layers.Flatten(dtype="float64"), (2, 3, 2)),
    "flatten channels first": (lambda: layers.Flatten("channels_first", dtype="float64"), (2, 3, 2)),
    "dense": (lambda: layers.Dense(3, dtype="float64"), (4,)),
    "dense on maps, sigmoid": (lambda: layers.Dense(3, activation="sigmoid", dtype="float64"), (2, 2, 4)),
    "dense without bias, gelu": (lambda: layers.Dense(3, "gelu", use_bias=False, dtype="float64"), (4,)),
    "dense softmax": (lambda: layers.Dense(3, activation="softmax", dtype="float64"), (4,)),
    "batch normalization": (lambda: layers.BatchNormalization(dtype="float64"), (3, 2, 2)),
    "batch normalization axis 1": (lambda: layers.BatchNormalization(axis=1, dtype="float64"), (2, 3, 2)),
    "batch normalization bare": (lambda: layers.BatchNormalization(center=False, scale=False, dtype="float64"), (3,)),
    "dropout": (lambda: layers.Dropout(0.4, dtype="float64"), (4, 3)),
    "rescaling": (lambda: layers.Rescaling(0.5, -1, dtype="float64"), (4, 3)),
    "relu 6-like": (lambda: layers.ReLU(1.0, 0.1, 0.2, dtype="float64"), (4, 5)),
    "softmax": (lambda: layers.Softmax(dtype="float64"), (2, 4)),
    "softmax over channels first": (lambda: layers.Softmax(axis=1, dtype="float64"), (4, 3)),
    **{f"activation {name}": (lambda name=name: layers.Activation(name, dtype="float64"), (3, 4)) for name in NAMES},
}


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(3)


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_gradients_are_those_of_central_differences(make, shape, rng, monkeypatch):
    with tapwise.backend.use("reference"):
        layer = make()
        if isinstance(layer, layers.Dropout):
            monkeypatch.setattr(layer, "next_seed", lambda: 5)  # the same mask in each forward
        x = rng.standard_normal((3, *shape))
        y = layer(x, training=True)
        for weight in layer.weights:
            weight.value += 0.1 * rng.standard_normal(weight.shape)  # no bias of exactly 0, no gamma of 1
        dy = rng.standard_normal(y.shape)
        y = layer.forward(x, training=True)
        dx = layer.backward(dy)

        def f():
            return float((layer.forward(x, training=True) * dy).sum())

        mass = float(np.abs(y * dy).sum() + np.abs(dy).sum())
        assert_gradient(dx, x, f, mass)
        trained = [weight for weight in layer.weights if weight.trainable]
        for weight in trained:
            assert weight.gradient.flags.c_contiguous
            assert_gradient(weight.gradient, weight.value, f, mass)
        if trained:
            layer.forward(x, training=True)
            layer.input_gradient = False
            assert isinstance(layer, layers.BatchNormalization) or layer.backward(dy) is None


def test_conv2d_is_the_lectures_worked_example(engine):
    x = np.zeros((1, 7, 7, 1), np.float32)
    x[0, 1, 2:5], x[0, 2:6, 3] = 1, 1
    layer = layers.Conv2D(1, 3, activation="relu")
    assert layer(x).shape == (1, 5, 5, 1)
    layer.set_weights([np.tile(np.float32([-1, 2, 0]), (3, 1))[:, :, None, None], np.zeros(1)])
    want = [[0, 2, 3, 0, 0], [0, 2, 5, 0, 0], [0, 0, 6, 0, 0], [0, 0, 6, 0, 0], [0, 0, 4, 0, 0]]
    np.testing.assert_array_equal(layer(x)[0, :, :, 0], want)


def test_channels_first_is_channels_last_with_the_axes_moved(rng):
    """The kernel is Keras' in both, and so are its gradients."""
    x = rng.integers(-3, 4, (2, 6, 5, 4)).astype(np.float32)
    last, first = layers.Conv2D(6, 3, 2, "same", groups=2), layers.Conv2D(6, 3, 2, "same", "channels_first", groups=2)
    y = last(x)
    moved = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    first(moved)
    weights = [rng.integers(-3, 4, w.shape) for w in last.weights]
    last.set_weights(weights)
    first.set_weights(weights)
    y = last(x)
    np.testing.assert_array_equal(np.moveaxis(first(moved), 1, -1), y)
    dy = rng.integers(-3, 4, y.shape).astype(np.float32)
    np.testing.assert_array_equal(
        np.moveaxis(first.backward(np.ascontiguousarray(np.moveaxis(dy, -1, 1))), 1, -1), last.backward(dy)
    )
    for a, b in zip(first.weights, last.weights, strict=True):
        np.testing.assert_array_equal(a.gradient, b.gradient)


def test_pooling_takes_each_windows_largest_or_mean(rng):
    x = rng.integers(-9, 10, (2, 4, 6, 3)).astype(np.float32)
    windows = x.reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(layers.MaxPooling2D()(x), windows.max((2, 4)))
    np.testing.assert_array_equal(layers.AveragePooling2D()(x), windows.mean((2, 4)))
    np.testing.assert_array_equal(layers.MaxPooling1D(3)(x[0]), x[0].reshape(4, 2, 3, 3).max(2))
    np.testing.assert_array_equal(layers.AveragePooling1D(2)(x[0]), x[0].reshape(4, 3, 2, 3).mean(2))
    np.testing.assert_array_equal(layers.AveragePooling2D(3, 1, "same")(np.ones_like(x)), np.ones_like(x))


def test_dense_multiplies_by_the_kernel(rng):
    x, w, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((5, 2, 4), (4, 3), (3,)))
    layer = layers.Dense(3)
    layer(x)
    layer.set_weights([w, b])
    np.testing.assert_array_equal(layer(x), x @ w + b)


def test_global_average_is_the_mean_of_each_map(rng):
    x = rng.integers(-8, 9, (2, 4, 2, 4)).astype(np.float32)
    np.testing.assert_array_equal(layers.GlobalAveragePooling2D()(x), x.mean((1, 2)))
    np.testing.assert_array_equal(layers.GlobalAveragePooling2D(keepdims=True)(x), x.mean((1, 2), keepdims=True))
    np.testing.assert_array_equal(layers.GlobalAveragePooling2D("channels_first")(x), x.mean((2, 3)))
    np.testing.assert_array_equal(layers.GlobalAveragePooling1D()(x[0]), x[0].mean(1))


def test_flatten_puts_channels_last():
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(layers.Flatten()(x)[0], np.arange(12))
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(layers.Flatten("channels_first")(first)[0], np.arange(12))
    assert layers.Flatten()(np.zeros((0, 2, 3), np.float32)).shape == (0, 6)
    assert layers.Flatten()(np.zeros(4, np.float32)).shape == (4, 1)


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ({}, [0, 0, 0, 0.5, 1, 7, np.nan]),
        ({"negative_slope": 0.5}, [-2, -0.5, 0, 0.5, 1, 7, np.nan]),
        ({"max_value": 6}, [0, 0, 0, 0.5, 1, 6, np.nan]),
        ({"threshold": 1}, [0, 0, 0, 0, 1, 7, np.nan]),
        ({"max_value": 6, "negative_slope": 0.5, "threshold": 1}, [-2.5, -1, -0.5, -0.25, 1, 6, np.nan]),
    ],
    ids=str,
)
def test_relu_follows_keras_formula(arguments, want):
    x = np.array([[-4, -1, 0, 0.5, 1, 7, np.nan]], np.float32)
    np.testing.assert_array_equal(layers.ReLU(**arguments)(x)[0], np.float32(want))


def test_softmax_sums_to_one_along_its_axis(rng):
    x = rng.standard_normal((2, 3, 4))
    e = np.exp(x)
    with tapwise.backend.use("reference"):
        np.testing.assert_allclose(layers.Softmax(dtype="float64")(x), e / e.sum(-1, keepdims=True), rtol=8 * EPS)
        np.testing.assert_allclose(layers.Softmax(1, dtype="float64")(x), e / e.sum(1, keepdims=True), rtol=8 * EPS)


def test_rescaling_takes_bytes_to_minus_one_and_one():
    x = np.array([[0, 51, 255]], np.float32)
    np.testing.assert_array_equal(layers.Rescaling(2 / 255, -1)(x)[0], x[0] * np.float32(2 / 255) - 1)


@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_normalization_keeps_moving_statistics(axis, rng):
    x = rng.standard_normal((4, 3, 2, 5))
    c, others = x.shape[axis], tuple(i for i in range(4) if i != axis % 4)
    shape = tuple(c if i == axis % 4 else 1 for i in range(4))
    mean, variance = x.mean(others), x.var(others)
    gamma, beta, moving_mean, moving_variance = weights = [rng.random(c) + 0.5 for _ in range(4)]

    def normalized(x, mean, variance):
        gain = gamma / np.sqrt(variance + 1e-3)
        return (x - mean.reshape(shape)) * gain.reshape(shape) + beta.reshape(shape)

    with tapwise.backend.use("reference"):
        layer = layers.BatchNormalization(axis, momentum=0.9, dtype="float64")
        layer(x)
        layer.set_weights(weights)
        np.testing.assert_allclose(layer(x), normalized(x, moving_mean, moving_variance), rtol=0, atol=1e-13)
        dy = rng.standard_normal(x.shape)
        gain = (gamma / np.sqrt(moving_variance + 1e-3)).reshape(shape)
        np.testing.assert_allclose(layer.backward(dy), dy * gain, rtol=8 * EPS)
        np.testing.assert_allclose(layer(x, training=True), normalized(x, mean, variance), rtol=0, atol=1e-13)
        np.testing.assert_allclose(layer.get_weights()[2], 0.9 * moving_mean + 0.1 * mean, rtol=0, atol=1e-14)
        np.testing.assert_allclose(layer.get_weights()[3], 0.9 * moving_variance + 0.1 * variance, rtol=0, atol=1e-14)
        layer.trainable = False
        kept = layer.get_weights()
        np.testing.assert_array_equal(layer(x, training=True), layer(x))
        assert layer.trainable_weights == []
        for before, after in zip(kept, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)


def test_dropout_zeroes_its_share_and_scales_the_rest(engine):
    x = np.ones((100, 100), np.float32)
    layer = layers.Dropout(0.3)
    y = layer(x, training=True)
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)  # five standard deviations
    np.testing.assert_array_equal(y[~dropped], np.float32(1 / 0.7))
    np.testing.assert_array_equal(layer.backward(x), y)
    assert not np.array_equal(layer(x, training=True), y)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)


def test_dropout_masks_come_from_the_runs_seed_or_the_layers_own():
    x = np.ones((5, 7), np.float32)

    def masks(layer):
        return [layer(x, training=True) for _ in range(3)]

    tapwise.set_random_seed(8)
    first, own = masks(layers.Dropout(0.5)), masks(layers.Dropout(0.5, seed=1))
    np.testing.assert_array_equal(masks(layers.Dropout(0.5, seed=1)), own)
    tapwise.set_random_seed(8)
    np.testing.assert_array_equal(masks(layers.Dropout(0.5)), first)


def test_weights_have_keras_order_and_shapes():
    def shapes(layer, *x_shape):
        layer(np.zeros((1, *x_shape), np.float32))
        return [(w.name, w.shape, w.trainable) for w in layer.weights]

    assert shapes(layers.Conv2D(6, (2, 3), groups=2), 5, 5, 4) == [
        ("kernel", (2, 3, 2, 6), True),
        ("bias", (6,), True),
    ]
    assert shapes(layers.Conv2D(6, 3, data_format="channels_first"), 4, 5, 5)[0] == ("kernel", (3, 3, 4, 6), True)
    assert shapes(layers.Conv1D(6, 3, use_bias=False), 5, 4) == [("kernel", (3, 4, 6), True)]
    assert shapes(layers.DepthwiseConv2D(3, depth_multiplier=2), 5, 5, 4) == [
        ("kernel", (3, 3, 4, 2), True),
        ("bias", (8,), True),
    ]
    assert shapes(layers.Dense(3), 2, 5) == [("kernel", (5, 3), True), ("bias", (3,), True)]
    moving = [("moving_mean", (4,), False), ("moving_variance", (4,), False)]
    assert shapes(layers.BatchNormalization(), 2, 4) == [("gamma", (4,), True), ("beta", (4,), True), *moving]
    assert shapes(layers.BatchNormalization(scale=False), 2, 4) == [("beta", (4,), True), *moving]


# Keras 3's arguments in their order, as far as they are ours, with their defaults; () is one that must be given.
KERAS = {
    layers.Conv2D: {
        "filters": (), "kernel_size": (), "strides": 1, "padding": "valid", "data_format": "channels_last",
        "dilation_rate": 1, "groups": 1, "activation": None, "use_bias": True,
        "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros",
        "kernel_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
        "kernel_constraint": None, "bias_constraint": None,
    },
    layers.DepthwiseConv2D: {
        "kernel_size": (), "strides": 1, "padding": "valid", "depth_multiplier": 1, "data_format": "channels_last",
        "dilation_rate": 1, "activation": None, "use_bias": True,
        "depthwise_initializer": "glorot_uniform", "bias_initializer": "zeros",
        "depthwise_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
        "depthwise_constraint": None, "bias_constraint": None,
    },
    layers.Concatenate: {"axis": -1},
    layers.Dense: {
        "units": (), "activation": None, "use_bias": True,
        "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros",
        "kernel_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
        "kernel_constraint": None, "bias_constraint": None,
    },
    layers.MaxPooling2D: {"pool_size": 2, "strides": None, "padding": "valid", "data_format": "channels_last"},
    layers.GlobalAveragePooling2D: {"data_format": "channels_last", "keepdims": False},
    layers.BatchNormalization: {
        "axis": -1, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True,
        "beta_initializer": "zeros", "gamma_initializer": "ones",
        "moving_mean_initializer": "zeros", "moving_variance_initializer": "ones",
        "beta_regularizer": None, "gamma_regularizer": None, "beta_constraint": None, "gamma_constraint": None,
    },
    layers.ReLU: {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    layers.Softmax: {"axis": -1},
    layers.Rescaling: {"scale": (), "offset": 0.0},
    tapwise.optimizers.SGD: {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False},
    tapwise.optimizers.Adam: {
        "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False,
    },
    tapwise.optimizers.AdamW: {
        "learning_rate": 0.001, "weight_decay": 0.004, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
        "amsgrad": False,
    },
    tapwise.optimizers.RMSprop: {
        "learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("cls", KERAS, ids=lambda cls: cls.__name__)
def test_arguments_and_defaults_are_keras(cls):
    arguments = inspect.signature(cls).parameters.values()
    got = {
        a.name: () if a.default is inspect.Parameter.empty else a.default
        for a in arguments
        if a.kind is a.POSITIONAL_OR_KEYWORD
    }
    assert list(got.items()) == list(KERAS[cls].items())


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: layers.Conv2D(0, 3), None, r"filters must be >= 1, got 0"),
        (lambda: layers.Conv2D(4, (3, 3, 3)), None, r"kernel_size must be one integer .* 2 .* got \(3, 3, 3\)"),
        (lambda: layers.Conv2D(4, 3, activation="swishy"), None, r"activation must be None, linear, .* got 'swishy'"),
        (lambda: layers.Conv2D(4, 3, kernel_initializer="glort"), None, r"initializer must be one of .* got 'glort'"),
        (lambda: layers.Conv2D(4, 0), None, r"kernel_size must be >= 1, got 0"),
        (lambda: layers.Conv2D(4, 3, groups=0), None, r"groups must be >= 1, got 0"),
        (lambda: layers.Flatten("channel_first"), None, r"data_format must be .* got 'channel_first'"),
        (lambda: layers.Dense(0), None, r"units must be >= 1, got 0"),
        (lambda: layers.Dropout(1.0), None, r"rate must be in \[0, 1\), got 1.0"),
        (lambda: layers.ReLU(max_value=-1), None, r"max_value must be >= 0, got -1"),
        (lambda: layers.Input((28, 0)), None, r"shape must hold whole numbers >= 1, got \(28, 0\)"),
        (lambda: layers.Conv2D(4, 3), (8, 8), r"conv2d: x must have 4 dimensions.*; its input is \(n, 8, 8\)"),
        (lambda: layers.Conv2D(4, 3), (2, 8, 1), r"conv2d: kernel .* larger .*; its input is \(n, 2, 8, 1\)"),
        (lambda: layers.Conv2D(4, 3, groups=3), (8, 8, 4), r"conv2d: groups must divide .* groups=3, ci=4, filters=4"),
        (lambda: layers.MaxPooling2D(), (8, 8), r"max_pooling2d: x must have 4 dimensions"),
        (lambda: layers.GlobalAveragePooling2D(), (8,), r"global_average_pooling2d: x must have 4 dimensions"),
        (lambda: layers.Dense(4), (), r"dense: x must have at least 2 dimensions"),
        (lambda: layers.BatchNormalization(axis=2), (4, 4, 4), r"batch_normalization: axis must be the last one or 1"),
        (lambda: layers.Softmax(axis=5), (4,), r"softmax: axis must be .* got 5"),
    ],
)  # fmt: skip
def test_rejects(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make()(np.zeros((2, *shape), np.float32))


def test_a_built_layer_names_itself_and_both_shapes():
    layer = layers.Conv2D(4, 3, name="stem")
    layer(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"stem: w must have ci // groups = 1 input channels, got 3.*\(n, 8, 8, 1\)"):
        layer(np.zeros((1, 8, 8, 1), np.float32))
    with pytest.raises(ValueError, match=r"stem must get 2 arrays, got 1"):
        layer.set_weights([np.zeros((3, 3, 3, 4))])
    with pytest.raises(ValueError, match=r"stem: array 0 is kernel and must have shape \(3, 3, 3, 4\), got \(4,\)"):
        layer.set_weights([np.zeros(4), np.zeros(4)])


@pytest.mark.parametrize("groups", [1, 3, 6, -1])
def test_groups_are_the_same_wherever_the_channels_lie(groups, engine, rng):
    """An image at a time with the channels last, rows of one pass with them first: the same sums in another order."""
    x, dy = (3 + rng.standard_normal((3, 5, 4, 6)).astype(np.float32) for _ in range(2))
    made = [np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6)]
    last, first = layers.GroupNormalization(groups), layers.GroupNormalization(groups, axis=1)
    results = []
    for layer, given in ((last, x), (first, np.ascontiguousarray(np.moveaxis(x, -1, 1)))):
        layer(given)  # builds it
        layer.set_weights(made)
        results.append(layer(given))
    y, turned = results
    np.testing.assert_allclose(y, np.moveaxis(turned, 1, -1), rtol=0, atol=2e-5)
    dx, other = last.backward(dy), first.backward(np.ascontiguousarray(np.moveaxis(dy, -1, 1)))
    np.testing.assert_allclose(dx, np.moveaxis(other, 1, -1), rtol=0, atol=2e-5)
    for mine, theirs in zip(last.weights, first.weights, strict=True):
        np.testing.assert_allclose(mine.gradient, theirs.gradient, rtol=0, atol=2e-4)
