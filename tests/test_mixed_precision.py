"""The policy mixed_bfloat16: types of layers, casts between them, and training that keeps up with float32."""

import numpy as np
import pytest

import tapwise
from engines import LOW_PRECISION, Engine
from small_model import X, Y, assert_same, compiled, small
from tapwise import layers, mixed_precision

ml_dtypes = pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)
F32 = np.dtype(np.float32)
MIXED = "mixed_bfloat16"


@pytest.fixture(autouse=True)
def policy():
    """Each test starts and ends in float32, on a backend that has bfloat16."""
    with (LOW_PRECISION[0] if LOW_PRECISION else Engine("reference")).use():
        yield
        mixed_precision.set_global_policy("float32")


def mixed(**dense):
    mixed_precision.set_global_policy(MIXED)
    return small(dtype="float32", **dense)


def residual(policy):
    """Two branches that meet, a stride, an activation that isn't fused, a merge that has nothing for bfloat16."""
    mixed_precision.set_global_policy(policy)
    x = layers.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    z = layers.Conv2D(8, 3, strides=2, padding="same", activation="elu")(y)
    y = layers.Conv2D(8, 1, strides=2)(y)
    y = layers.ReLU()(layers.Add()([layers.Conv2D(8, 3, padding="same")(z), y]))
    y = layers.Multiply()([layers.AveragePooling2D()(y), layers.MaxPooling2D()(y)])
    y = layers.Concatenate()([y, layers.MaxPooling2D()(z)])
    return tapwise.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


def test_types_of_a_layer():
    assert mixed_precision.global_policy().name == "float32"
    mixed_precision.set_global_policy(MIXED)
    layer, other = layers.Conv2D(4, 3), layers.Dense(4, dtype="float32")
    assert (layer.dtype_policy.name, layer.compute_dtype, layer.variable_dtype) == (MIXED, BF16, F32)
    assert (other.dtype_policy.name, other.compute_dtype, other.variable_dtype) == ("float32", F32, F32)
    assert layers.Subtract().compute_dtype == F32  # it has nothing for bfloat16
    assert layer.get_config()["dtype"] == MIXED
    assert layers.Conv2D.from_config(layer.get_config()).compute_dtype == BF16
    mixed_precision.set_global_policy(mixed_precision.Policy("float32"))
    assert layers.Conv2D(4, 3).compute_dtype == F32
    y = layer(np.ones((1, 4, 4, 2), np.float32))
    assert y.dtype == BF16
    assert [w.value.dtype for w in layer.weights] == [F32, F32]
    layer.backward(y)
    assert [w.gradient.dtype for w in layer.weights] == [F32, F32]


@pytest.mark.parametrize("name", ["bfloat16", "mixed_float16", "int8", "nonsense"])
def test_other_policies_are_refused(name):
    with pytest.raises(ValueError, match="dtype must be a float type or mixed_bfloat16, got"):
        mixed_precision.set_global_policy(name)


def test_casts_lie_between_the_types():
    """In the plan, which shows them, but not among the layers; activations take half the bytes."""
    model = compiled(mixed())
    assert [layer.name for layer in model.layers] == [layer.name for layer in small().layers]
    plan = str(model.plan(8))
    assert "conv2d_cast" in plan
    assert "dense_cast" in plan
    mixed_precision.set_global_policy("float32")
    wide = compiled().plan(8)
    assert "cast" not in str(wide)
    assert model.plan(8).peak_bytes < 0.75 * wide.peak_bytes
    big = [compiled(residual(p), loss="mse").plan(64).peak_bytes for p in (MIXED, "float32")]
    assert big[0] < 0.62 * big[1]


def test_outputs_and_what_the_loss_reads():
    model = residual(MIXED)
    assert model(X[:2, :, :, :1].repeat(3, 3).repeat(2, 1).repeat(2, 2)[:, :8, :8]).dtype == BF16
    model.compile("sgd", tapwise.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    x = np.random.default_rng(0).standard_normal((6, 8, 8, 3)).astype(np.float32)
    loss, _ = model.train_on_batch(x, Y[:6])
    assert np.isfinite(loss)
    assert model.predict(x, verbose=0).dtype == F32
    model = compiled(mixed())
    assert model.predict(X, verbose=0).dtype == F32
    assert model(X).dtype == F32


def test_gradients_are_those_of_float32():
    """A dozen roundings by up to 2^-9 on the way there and back, where no mask or maximum can flip."""
    found = []
    x = np.random.default_rng(1).standard_normal((16, 8, 8, 3)).astype(np.float32)
    for policy in ("float32", MIXED):
        mixed_precision.set_global_policy(policy)
        tapwise.set_random_seed(3)
        given = layers.Input((8, 8, 3))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", activation="tanh")(given))
        z = layers.Conv2D(8, 3, strides=2, padding="same", activation="silu")(y)
        z = layers.Add()([layers.AveragePooling2D()(y), layers.Conv2D(8, 3, padding="same", activation="gelu")(z)])
        z = layers.Dense(9, activation="elu")(layers.Concatenate()([z, layers.AveragePooling2D()(y)]))
        model = tapwise.Model(given, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(z)))
        model.compile(tapwise.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        model.train_on_batch(x, Y[:16])
        found.append([w.gradient.copy() for w in model.trainable_weights])
    for wide, narrow in zip(*found, strict=True):
        assert narrow.dtype == F32
        assert np.linalg.norm(narrow - wide) <= 24 * 2.0**-9 * np.linalg.norm(wide)


def test_training_repeats_to_the_bit():
    """For any number of threads."""
    results = []
    for count in (1, 2):
        tapwise.set_random_seed(4)
        with tapwise.threads.set(count):
            model = compiled(mixed())
            model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
        results.append(model.get_weights())
    assert_same(*results)


def test_training_learns():
    tapwise.set_random_seed(5)
    model = compiled(mixed())
    model.compile(tapwise.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    history = model.fit(X, Y, batch_size=8, epochs=60, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert all(w.dtype == F32 for w in model.get_weights())


def test_shared_layers_and_models_in_models():
    mixed_precision.set_global_policy(MIXED)
    inner = tapwise.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(4, 3, activation="tanh"), layers.Flatten()])
    x = layers.Input((6, 6, 2))
    model = tapwise.Model(x, layers.Dense(3, dtype="float32")(layers.Add()([inner(x), inner(x)])))
    model.compile("sgd", tapwise.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert all(np.isfinite(a).all() and (a != b).any() for a, b in zip(model.get_weights(), before, strict=True))
    with pytest.raises(ValueError, match="dtype must be that of"):
        layers.Dense(3, dtype="float64")(inner.output)


def test_saved_models_keep_their_types(tmp_path):
    x = np.random.default_rng(2).standard_normal((4, 8, 8, 3)).astype(np.float32)
    model = residual(MIXED)
    model.compile("adam", tapwise.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(x, Y[:4])
    model.save(tmp_path / "mixed.tapwise")
    mixed_precision.set_global_policy("float32")
    again = tapwise.saving.load_model(tmp_path / "mixed.tapwise")
    assert [layer.compute_dtype for layer in again.layers] == [layer.compute_dtype for layer in model.layers]
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
