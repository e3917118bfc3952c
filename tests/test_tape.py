"""Gradients of scores with respect to inputs and inner layers, in inference, against central differences."""

import numpy as np
import pytest

import tapwise
from differences import EPS, differences
from small_model import X, Y, assert_same, compiled, small
from tapwise import layers
from test_graph import branches, pooled, residual

SLACK = 1000 * EPS ** (2 / 3)


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


class Shift(layers.Layer):
    """y = x + shift, whose gradient is that of what it gives."""

    def build(self, input_shape):
        self.shift = self.add_weight(input_shape[1:], "zeros", name="shift")

    def forward(self, x, training=False):
        return x + self.shift.value

    def backward(self, dy):
        return dy


def moved(model, rng):
    for weight in model.weights:
        weight.value += 0.2 * rng.random(weight.shape)
    return model


@pytest.mark.parametrize("make", [residual, branches, pooled, small], ids=lambda make: make.__name__)
def test_gradients_of_the_input_are_those_of_central_differences(make, rng):
    with tapwise.backend.use("reference"):
        if make is small:
            model = tapwise.Sequential([type(layer).from_config(layer.get_config() | {"dtype": "float64"})
                                        for layer in small().layers])  # fmt: skip
            model.build((None, 6, 6, 2))
        else:
            model = make(dtype="float64")
        moved(model, rng)
        x, dy = X[:2].astype(np.float64), rng.standard_normal((2, 3))
        tape = model.tape(x)
        (dx,) = tape.gradients(dy)
        np.testing.assert_allclose(tape.probabilities, model.predict(x, verbose=0), rtol=1e-12)
        np.testing.assert_array_equal(tape.values[0], x)
        want = differences(lambda: float((model.tape(x, None).scores * dy).sum()), x)
        np.testing.assert_allclose(dx, want, rtol=0, atol=SLACK * max(1, np.abs(want).max()))
        assert_same(tape.gradients(dy), [dx])  # a tape is read as often as wanted


def test_gradients_of_an_inner_layer_with_a_way_around_it(rng):
    """The cut passes through a residual block; two layers are asked for, one behind the other."""
    how = {"dtype": "float64"}
    with tapwise.backend.use("reference"):
        x = inputs = tapwise.Input((6, 6, 2))
        x = layers.Conv2D(3, 3, padding="same", activation="relu", **how)(x)
        y = layers.Conv2D(3, 3, padding="same", **how)(x)
        y = layers.BatchNormalization(**how)(Shift(name="first", **how)(y))
        y = layers.Add(**how)([Shift(name="second", **how)(layers.Activation("relu", **how)(y)), x])
        y = layers.GlobalAveragePooling2D(**how)(layers.Dropout(0.5, **how)(layers.MaxPooling2D(**how)(y)))
        model = moved(tapwise.Model(inputs, layers.Dense(3, "softmax", **how)(y)), rng)
        x, dy = X[:1].astype(np.float64), rng.standard_normal((1, 3))
        tape = model.tape(x, at=["first", "second"])
        assert [value.shape for value in tape.values] == [(1, 6, 6, 3)] * 2
        for name, got in zip(("first", "second"), tape.gradients(dy), strict=True):
            shift = model.get_layer(name).shift.value
            want = differences(lambda: float((model.tape(x, None).scores * dy).sum()), shift)
            np.testing.assert_allclose(got[0], want, rtol=0, atol=SLACK)
            assert np.abs(want).max() > 0.01


@pytest.mark.parametrize("shape", [(9, 2), (6, 5, 2), (4, 5, 3, 1)], ids=["1-D", "2-D", "3-D"])
def test_every_rank_and_a_sigmoid_at_the_end(shape, rng):
    rank = len(shape) - 1
    conv = getattr(layers, f"Conv{rank}D")
    pool = getattr(layers, f"GlobalMaxPooling{rank}D")
    with tapwise.backend.use("reference"):
        model = tapwise.Sequential(
            [tapwise.Input(shape), conv(3, 2, activation="tanh", dtype="float64"), pool(dtype="float64"),
             layers.Dense(2, "sigmoid", dtype="float64")]
        )  # fmt: skip
        x, dy = rng.standard_normal((2, *shape)), rng.standard_normal((2, 2))
        tape = model.tape(x)
        np.testing.assert_allclose(tape.probabilities, model.predict(x, verbose=0), rtol=1e-12)
        want = differences(lambda: float((model.tape(x, None).scores * dy).sum()), x)
        np.testing.assert_allclose(tape.gradients(dy)[0], want, rtol=0, atol=SLACK)


def test_the_fused_model_gives_the_same_scores_and_a_softmax_layer_is_looked_through(rng):
    x = inputs = tapwise.Input((6, 6, 2))
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x))))
    scores = layers.Dense(3, name="scores")(y)
    plain, ends = tapwise.Model(inputs, scores), tapwise.Model(inputs, layers.Softmax()(scores))
    for at in (None, (), ["conv2d"]):
        np.testing.assert_allclose(ends.tape(X, at).scores, plain.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    assert plain.tape(X).probabilities is None


def test_guided_gradients_let_what_is_positive_through():
    model = tapwise.Sequential([tapwise.Input((2,)), layers.Dense(2, "relu"), layers.Dense(1)])
    model.set_weights([np.eye(2), [0, 0], [[1], [-1]], [0]])
    tape = model.tape(np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(tape.gradients(np.ones((1, 1)))[0], [[1, -1]])
    np.testing.assert_array_equal(tape.gradients(np.ones((1, 1)), guided=True)[0], [[1, 0]])


def test_a_tape_between_two_steps_changes_nothing():
    def run(between):
        tapwise.set_random_seed(3)
        model = compiled(small())
        for _ in range(3):
            model.train_on_batch(X[:8], Y[:8])
            if between:
                model.tape(X, ["conv2d"]).gradients(np.ones((24, 3), np.float32))
                assert all(layer.trainable for layer in model.layers)
                assert model.layers[-1].activation == "softmax"
        return model.get_weights()

    assert_same(run(False), run(True))


def test_two_tapes_of_one_model_are_apart():
    model = small()
    first = model.tape(X[:4], ["batch_normalization"])
    kept, (gradient,) = first.values[0].copy(), first.gradients(np.eye(3, dtype=np.float32)[[0] * 4])
    model.tape(-X[4:8], ["batch_normalization"])
    np.testing.assert_array_equal(first.values[0], kept)
    np.testing.assert_array_equal(first.gradients(np.eye(3, dtype=np.float32)[[0] * 4])[0], gradient)


def test_augmentation_in_a_model_hands_the_gradient_on(rng):
    model = tapwise.Sequential(
        [tapwise.Input((6, 6, 1)), layers.RandomFlip(), layers.RandomCrop(4, 4), layers.Flatten(), layers.Dense(1)]
    )
    (dx,) = model.tape(rng.standard_normal((2, 6, 6, 1)).astype(np.float32)).gradients(np.ones((2, 1), np.float32))
    kernel = model.get_weights()[0].reshape(4, 4, 1)
    np.testing.assert_array_equal(dx[0], np.pad(kernel, ((1, 1), (1, 1), (0, 0))))


def test_splits_are_few():
    model = small()
    for name in [layer.name for layer in model.layers[:-1]]:
        model.tape(X, [name])
    assert len(model._splits) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.tape(X, ["conv9"]), r"layer must be one of conv2d, batch_normalization, .*, dense, got 'conv9'"),
        (lambda m: m.tape(X, ["dense"]), r"at must name layers before the scores, which dense gives, got dense"),
        (lambda m: m.tape(X, output=1), r"output must be that of one of 1 outputs, got 1"),
        (lambda m: m.tape(X[..., :1]), r"sequential must get x of shape \(n, 6, 6, 2\), got \(24, 6, 6, 1\)"),
        (lambda m: m.tape(X).gradients(np.ones(3)), r"dy must have the shape of the scores, \(24, 3\), got \(3,\)"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(small())
