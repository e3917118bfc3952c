"""Steps that repeat what they recorded: the same bits, and nothing is repeated that might be something else."""

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled
from tapwise import layers, repeat
from tapwise.layers.policy import DTypePolicy


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


def network(dense=layers.Dense):
    x = inputs = tapwise.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(x))
    x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
    x = layers.Dropout(0.25)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = dense(5, activation="tanh")(layers.Flatten()(x))
    return tapwise.Model(inputs, layers.Dense(3, activation="softmax")(x))


def trained(between=lambda model: None, make=network, steps=9):
    tapwise.set_random_seed(3)
    model = compiled(make())
    for step in range(steps):
        model.train_on_batch(X[:8] + step, Y[:8])
        between(model)
    return model


def recorded(model):
    """The layers whose forward and backward are repeated."""
    (plan,) = (plan for plan in model._plans.values() if plan.training)
    return [{step.call.layer.name for step in plan.steps if getattr(step, way).recorded} for way in ("ahead", "back")]


def test_repetition_changes_no_bit(engine, monkeypatch):
    again = trained()
    ahead, back = recorded(again)
    assert {"conv2d_1", "batch_normalization", "max_pooling2d", "depthwise_conv2d", "dense"} <= ahead & back
    assert "dropout" not in ahead | back
    assert "conv2d" not in ahead | back  # its x is another one each time
    monkeypatch.setattr(repeat, "TRIES", 0)
    plain = trained()
    assert recorded(plain) == [set(), set()]
    assert_same(again.get_weights(), plain.get_weights())


def test_repetition_in_bfloat16_changes_no_bit(monkeypatch):
    pytest.importorskip("ml_dtypes", reason='pip install "tapwise[bf16]"')
    monkeypatch.setattr("tapwise.layers.policy._policy", DTypePolicy("mixed_bfloat16"))
    again = trained()
    ahead, back = recorded(again)
    assert {"conv2d", "conv2d_1", "batch_normalization", "max_pooling2d", "depthwise_conv2d", "dense"} <= ahead & back
    assert not {"dropout", "conv2d_cast"} & (ahead | back)  # the cast's x is another one each time
    monkeypatch.setattr(repeat, "TRIES", 0)
    plain = trained()
    assert recorded(plain) == [set(), set()]
    assert_same(again.get_weights(), plain.get_weights())


def test_what_happens_between_steps_is_seen():
    """Predictions, other batches, a trace, another backend's step, weights in other arrays, an arena that grew."""

    def plain(model):
        model.set_weights([weight * 0.9 for weight in model.get_weights()])

    def disturbed(model):
        for weight in model.weights:
            weight.value = weight.value * np.float32(0.9)
        model.predict(X, 24, 0)
        model.plan(64)
        with tapwise.trace() as trace:
            model.test_on_batch(X[:5], Y[:5])
        assert trace.records
        with tapwise.backend.use("reference"):
            model.test_on_batch(X[:5], Y[:5])

    assert_same(trained(plain).get_weights(), trained(disturbed).get_weights())


def test_a_trace_sees_every_operation_of_a_repeated_step():
    model = trained()
    seen = []
    for _ in range(2):
        with tapwise.trace() as trace:
            model.train_on_batch(X[:8], Y[:8])
        seen.append([record.name for record in trace.records])
    assert seen[0] == seen[1]
    assert seen[0].count("conv_grad_weight") == 5
    assert {"moving_average", "batch_norm_grad", "max_pool_grad", "optimizer_update"} <= set(seen[0])


class Counted(layers.Dense):
    """A subclass may do anything, so it is never repeated."""

    runs = 0

    def forward(self, x, training=False):
        type(self).runs += training
        return super().forward(x, training)


def test_a_layer_of_ones_own_runs_every_time():
    model = trained(make=lambda: network(Counted))
    assert Counted.runs == 9
    assert all("counted" not in names for names in recorded(model))


def test_moving_average(rng):
    average, value = rng.standard_normal((2, 37)).astype(np.float32)
    for backend in tapwise.backend.available():
        with tapwise.backend.use(backend):
            got = average.copy()
            tapwise.ops.moving_average(got, value, 0.9)
        want = 0.9 * average.astype(float) + 0.1 * value
        assert (abs(got - want) <= 3 * 2**-23 * (abs(average) + abs(value))).all()
    with pytest.raises(ValueError, match=r"momentum must be <= 1, got 2"):
        tapwise.ops.moving_average(average, value, 2)
    with pytest.raises(ValueError, match=r"average must have shape \(36,\), got \(37,\)"):
        tapwise.ops.moving_average(average, value[:36], 0.5)
