"""Models of several inputs and outputs: lists and dicts of arrays, losses, weights and metrics."""

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same
from tapwise import layers, losses, metrics, optimizers
from tapwise.data import Batches

N = len(X)
RNG = np.random.default_rng(1)
SIDE = RNG.standard_normal((N, 3)).astype(np.float32)
GOAL = RNG.standard_normal((N, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


def two(dtype="float32"):
    """Images and numbers to a class and two numbers; the class is read again on the way to the numbers."""
    image, side = tapwise.Input((6, 6, 2), name="image"), tapwise.Input((3,), name="side")
    x = layers.Flatten(dtype=dtype)(layers.Conv2D(4, 3, activation="relu", dtype=dtype)(image))
    x = layers.Concatenate(dtype=dtype)([x, side])
    kind = layers.Dense(3, activation="softmax", name="kind", dtype=dtype)(x)
    size = layers.Dense(2, name="size", dtype=dtype)(layers.Concatenate(dtype=dtype)([x, kind]))
    return tapwise.Model([image, side], [kind, size])


def compiled(model, **how):
    how = {"loss": ["sparse_categorical_crossentropy", "mse"], "loss_weights": [1.0, 0.5]} | how
    model.compile(**{"optimizer": optimizers.SGD(0.05)} | how)
    return model


def test_lists_and_dicts_are_the_same_training():
    results = []
    for named in (False, True):
        tapwise.set_random_seed(4)
        if named:
            model = compiled(
                two(), loss={"size": "mse", "kind": "sparse_categorical_crossentropy"},
                loss_weights={"size": 0.5}, metrics={"kind": ["accuracy"]},
            )  # fmt: skip
            x, y = {"side": SIDE, "image": X}, {"kind": Y, "size": GOAL}
        else:
            model = compiled(two(), metrics=["accuracy", None])
            x, y = [X, SIDE], [Y, GOAL]
        history = model.fit(x, y, batch_size=7, epochs=2, validation_split=0.25, verbose=0)
        assert list(history.history)[:4] == ["loss", "kind_loss", "size_loss", "kind_accuracy"]
        results.append([*model.get_weights(), *history.history.values(), *model.predict(x, 5, 0)])
        results[-1] += model.evaluate(x, y, verbose=0)
        results[-1] += model.train_on_batch(x, y)
        results[-1] += model.test_on_batch(x, y, return_dict=True).values()
        results[-1] += model.predict_on_batch(x)
    assert_same(*results)


def test_the_loss_is_the_weighted_sum_and_its_gradient_that_of_central_differences():
    with tapwise.backend.use("reference"):
        model = compiled(two("float64"))
        x, y = [X[:5].astype(float), SIDE[:5].astype(float)], [Y[:5], GOAL[:5].astype(float)]

        def loss():
            kind, size = model.forward(x, training=True)
            return losses.SparseCategoricalCrossentropy()(y[0], kind) + 0.5 * losses.MeanSquaredError()(y[1], size)

        total, kind_loss, size_loss = model.test_on_batch(x, y)
        assert total == pytest.approx(kind_loss + 0.5 * size_loss, rel=1e-12)
        assert total == pytest.approx(loss(), rel=1e-12)
        weights = model.trainable_weights
        before = [weight.value.copy() for weight in weights]
        model.train_on_batch(x, y)
        found = [weight.gradient.copy() for weight in weights]
        for weight, old in zip(weights, before, strict=True):
            weight.value[...] = old
        step = np.finfo(float).eps ** (1 / 3)
        for weight, gradient in zip(weights, found, strict=True):
            at = tuple(size // 2 for size in weight.shape)
            middle = weight.value[at]
            weight.value[at] = middle + step
            above = loss()
            weight.value[at] = middle - step
            want = (above - loss()) / (2 * step)
            weight.value[at] = middle
            assert abs(gradient[at] - want) <= 100 * step**2, weight


def test_an_output_without_a_loss_trains_nothing_and_needs_no_target():
    model = compiled(two(), loss={"kind": "sparse_categorical_crossentropy"}, loss_weights=None)
    kept = [w.value.copy() for w in model.get_layer("size").weights]
    first = [w.value.copy() for w in model.get_layer("kind").weights]
    history = model.fit([X, SIDE], {"kind": Y}, verbose=0).history
    model.train_on_batch([X, SIDE], [Y, None])
    assert list(history) == ["loss", "kind_loss"]
    assert history["loss"] == history["kind_loss"]
    assert_same([w.value for w in model.get_layer("size").weights], kept)
    assert not np.array_equal(model.get_layer("kind").weights[0].value, first[0])
    model.compile("sgd", ["sparse_categorical_crossentropy", "mse"])  # the same model, now for both
    model.train_on_batch([X, SIDE], [Y, GOAL])
    assert not np.array_equal(model.get_layer("size").weights[0].value, kept[0])


def test_two_outputs_of_one_shared_layer():
    a, b = tapwise.Input((3,), name="a"), tapwise.Input((3,), name="b")
    head = layers.Dense(3, activation="softmax", name="head")
    model = tapwise.Model([a, b], [head(a), head(b)])
    assert model.output_names == ["head", "head_1"]
    model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy", ["accuracy"]])
    single = tapwise.Sequential([tapwise.Input((3,)), layers.Dense(3, activation="softmax")])
    single.set_weights(model.get_weights())
    single.compile(optimizers.SGD(0.2), "sparse_categorical_crossentropy")  # the mean of both halves, not their sum
    logs = model.train_on_batch([SIDE[:8], SIDE[8:16]], [Y[:8], Y[8:16]], return_dict=True)
    assert list(logs) == ["loss", "head_loss", "head_1_loss", "head_accuracy", "head_1_accuracy"]
    assert logs["loss"] == pytest.approx(2 * single.train_on_batch(SIDE[:16], Y[:16]), rel=1e-6)
    for got, want in zip(model.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def test_batches_of_lists_and_the_same_bits_on_two_threads():
    def run(threads):
        with tapwise.threads.set(threads):
            tapwise.set_random_seed(2)
            model = compiled(two())
            model.fit(Batches([X, SIDE], [Y, GOAL], batch_size=9, seed=3), epochs=2, verbose=0)
            return model.get_weights()

    assert_same(run(1), run(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit([X], [Y, GOAL]), r"x must be a list of 2 arrays, for image, side, got 1 of them"),
        (lambda m: m.fit(X, [Y, GOAL]), r"x must be a list of 2 arrays, for image, side, got ndarray"),
        (lambda m: m.fit({"image": X}, [Y, GOAL]), r"x must hold arrays for image, side, got image"),
        (lambda m: m.fit({"image": X, "side": SIDE, "s": X}, Y),
         r"x must hold arrays for image, side, got image, side, s"),
        (lambda m: m.fit([X, SIDE], Y), r"y must be a list of 2 arrays, for kind, size, got ndarray"),
        (lambda m: m.fit([X, SIDE], {"kind": Y}), r"y must hold arrays for kind, size, got kind"),
        (lambda m: m.fit([X, SIDE[:5]], [Y, GOAL]), r"same number of examples >= 1, got 24 and 5 and 24 and 24"),
        (lambda m: m.fit([X, SIDE], [Y + 1, GOAL]), r"y must be in \[0, 3\) for outputs \(n, 3\), got 3"),
        (lambda m: m.fit([SIDE, SIDE], [Y, GOAL]),
         r"image of functional must get x of shape \(n, 6, 6, 2\), got \(24, 3\)"),
        (lambda m: m.compile("sgd", ["mse"]), r"loss must have an entry for each output, kind, size, got 1 entries"),
        (lambda m: m.compile("sgd", {"sort": "mse"}), r"loss must be by the names of outputs, kind, size, got 'sort'"),
        (lambda m: m.compile("sgd", "mse", loss_weights=[1]), r"loss_weights must have an entry for each output"),
        (lambda m: m.compile("sgd", "mse", metrics=["accuracy"]), r"metrics must have an entry for each output"),
        (lambda m: (m.compile("sgd"), m.fit([X, SIDE], [None, None])),
         r"compile must give a loss before fit, got None"),
    ],
)  # fmt: skip
def test_rejects(call, message):
    model = compiled(two())
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        call(model)
    assert_same(model.get_weights(), before)


def test_a_metric_of_ones_own_watches_one_output():
    class Largest(metrics.Metric):
        def update_state(self, y_true, y_pred):
            self.total, self.count = max(self.total, float(np.max(y_pred))), 1

    model = compiled(two(), metrics={"size": Largest("largest")})
    logs = model.test_on_batch([X, SIDE], [Y, GOAL], return_dict=True)
    assert logs["size_largest"] == pytest.approx(model.predict([X, SIDE], verbose=0)[1].max())
