"""Losses, metrics, optimizers and schedules against Keras itself, on its torch backend."""

import inspect
import os

import numpy as np
import pytest

import tapwise
from tapwise import activations, constraints, losses, metrics, optimizers, regularizers, utils
from tapwise.layers import Parameter

torch = pytest.importorskip("torch", reason="pip install torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="pip install keras")

# ten seconds
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore:You are passing weight"),
]

LOSSES = [
    *((name, arguments, "distribution") for name in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy")
      for arguments in ({}, {"label_smoothing": 0.1}, {"from_logits": True})),
    *(("SparseCategoricalCrossentropy", arguments, "classes") for arguments in ({}, {"from_logits": True})),
    *((name, arguments, "bits") for name in ("BinaryCrossentropy", "BinaryFocalCrossentropy")
      for arguments in ({}, {"label_smoothing": 0.1}, {"from_logits": True})),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, "bits"),
    *((name, {}, "numbers") for name in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
                                         "Huber", "LogCosh", "CosineSimilarity")),
    *((name, {}, "positive") for name in ("MeanSquaredLogarithmicError", "Poisson")),
    ("KLDivergence", {}, "distribution"),
    *((name, {}, "bits") for name in ("Hinge", "SquaredHinge", "Dice")),
    ("Dice", {"axis": (1, 2)}, "bits"),
    ("CategoricalHinge", {}, "one-hot"),
    *((name, {"reduction": reduction}, kind) for reduction in ("sum", "mean", "mean_with_sample_weight")
      for name, kind in (("SparseCategoricalCrossentropy", "classes"), ("MeanSquaredError", "numbers"))),
    *(("SparseCategoricalCrossentropy", {"ignore_class": 1, "from_logits": logits, "reduction": reduction}, "classes")
      for logits in (False, True) for reduction in ("sum_over_batch_size", "sum")),
]  # fmt: skip


def targets(kind, rng, shape):
    classes = rng.integers(0, shape[-1], shape[:-1])
    made = {
        "distribution": rng.dirichlet(np.ones(shape[-1]), shape[:-1]),
        "classes": classes,
        "one-hot": np.eye(shape[-1])[classes],
        "bits": rng.integers(0, 2, shape),
        "numbers": rng.standard_normal(shape),
        "positive": rng.random(shape) + 0.1,
    }[kind]
    return made if kind == "classes" else made.astype(np.float32)


@pytest.mark.parametrize(("name", "arguments", "kind"), LOSSES, ids=str)
def test_losses(name, arguments, kind, rng):
    y = targets(kind, rng, (4, 2, 3))
    output = (rng.random((4, 2, 3)) * 0.8 + 0.1).astype(np.float32)
    given = torch.tensor(output, requires_grad=True)
    want = getattr(keras.losses, name)(**arguments)(torch.tensor(y), given)
    want.backward()
    loss = getattr(losses, name)(**arguments)
    assert loss(y, output) == pytest.approx(float(want.detach()), rel=1e-5)
    gradient = given.grad.numpy()
    mine = loss.gradient(y, output) * loss.reduced(loss.values(y, output), None, len(y))[1]
    np.testing.assert_allclose(mine, gradient, rtol=0, atol=2e-5 * max(1, np.abs(gradient).max()))


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight", None])
def test_reductions_with_weights(reduction, rng):
    y, output, weights = rng.random((5, 3)), rng.random((5, 3)), rng.random(5)
    want = keras.losses.MeanSquaredError(reduction=reduction, dtype="float64")(y, output, weights).numpy()
    got = losses.MeanSquaredError(reduction=reduction)(y, output, weights)
    np.testing.assert_allclose(got, want, rtol=1e-6)


CONSTRAINTS = [
    ("NonNeg", {}),
    ("MaxNorm", {"max_value": 1.5}),
    ("MaxNorm", {"max_value": 0.5, "axis": (0, 1, 2)}),
    ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {"min_value": 0.8, "max_value": 1.2, "rate": 0.7}),
]


@pytest.mark.parametrize(("name", "arguments"), CONSTRAINTS, ids=str)
def test_constraints(name, arguments, rng):
    w = rng.standard_normal((3, 2, 4, 5)).astype(np.float32)
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    want = getattr(keras.constraints, name)(**given)(torch.tensor(w)).numpy()
    np.testing.assert_allclose(getattr(constraints, name)(**arguments)(w), want, rtol=1e-5, atol=1e-7)


# Keras' sparsemax gives zeros on some rows on its torch backend; test_layers.py has ours against its definition.
FUNCTIONS = sorted({n for n in dir(activations) if n.islower() and not n.startswith("_")} & {*dir(keras.activations)})
FUNCTIONS = [name for name in FUNCTIONS if name not in ("get", "serialize", "deserialize", "sparsemax")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name, rng):
    x = 2 * rng.standard_normal((4, 6)).astype(np.float32)
    want = getattr(keras.activations, name)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(getattr(activations, name)(x), want, rtol=1e-4, atol=2e-6)


def test_names_of_utils(rng):
    classes = rng.integers(0, 4, (5, 1))
    np.testing.assert_array_equal(utils.to_categorical(classes, 6), keras.utils.to_categorical(classes, 6))
    x = rng.standard_normal((3, 4))
    np.testing.assert_allclose(utils.normalize(x), keras.utils.normalize(x))
    texts = [[1, 2, 3, 4, 5], [6], []]
    for given in ({}, {"maxlen": 3}, {"maxlen": 3, "padding": "post", "truncating": "post", "value": 9}):
        np.testing.assert_array_equal(utils.pad_sequences(texts, **given), keras.utils.pad_sequences(texts, **given))


METRICS = [
    *((name, {}, "classes", 3) for name in ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "classes", 3),
    ("TopKCategoricalAccuracy", {"k": 2}, "one-hot", 3),
    *((name, {}, "one-hot", 3) for name in ("CategoricalAccuracy", "CategoricalCrossentropy", "F1Score", "Precision",
                                            "Recall", "KLDivergence")),
    ("Precision", {"class_id": 1, "thresholds": [0.2, 0.6]}, "one-hot", 3),
    *(("F1Score", {"average": average}, "one-hot", 3) for average in ("micro", "macro", "weighted")),
    ("F1Score", {"threshold": 0.4}, "bits", 3),
    *((name, {}, "bits", 1) for name in ("BinaryAccuracy", "BinaryCrossentropy", "AUC", "TruePositives", "Hinge",
                                         "TrueNegatives", "FalsePositives", "FalseNegatives")),
    ("AUC", {"curve": "PR", "num_thresholds": 50}, "bits", 1),
    *((name, {}, "numbers", 3) for name in ("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError",
                                            "MeanAbsolutePercentageError", "CosineSimilarity", "R2Score")),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "numbers", 3),
    ("MeanIoU", {"num_classes": 3, "sparse_y_pred": False}, "classes", 3),
    ("MeanIoU", {"num_classes": 3, "ignore_class": 1, "sparse_y_pred": False}, "classes", 3),
]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("name", "arguments", "kind", "classes"), METRICS, ids=str)
def test_metrics(name, arguments, kind, classes, weighted, rng):
    ours, theirs = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    for _ in range(2):
        y, output = targets(kind, rng, (40, classes)), rng.random((40, classes)).astype(np.float32)
        weights = rng.integers(1, 4, 40).astype(np.float32) if weighted else None
        ours.update_state(y, output, weights)
        theirs.update_state(y, output, weights)
    np.testing.assert_allclose(ours.result(), np.array(theirs.result()), rtol=2e-5)
    assert ours.name.split("_")[0] == theirs.name.split("_")[0]


STEPS = 5
OPTIMIZERS = [
    *((name, {"learning_rate": 0.1}) for name in
      ("SGD", "RMSprop", "Adam", "AdamW", "Nadam", "Adagrad", "Adadelta", "Lion")),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Nadam", {"learning_rate": 0.1, "weight_decay": 0.1, "global_clipnorm": 1.0}),
    ("Lion", {"learning_rate": 0.1, "clipvalue": 0.1, "use_ema": True, "ema_momentum": 0.5,
              "ema_overwrite_frequency": 2}),
    ("Adadelta", {"learning_rate": 0.1, "rho": 0.5, "clipnorm": 0.5}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    *((name, {"learning_rate": 0.1, "amsgrad": True, "beta_2": 0.5}) for name in ("Adam", "AdamW")),
    *(("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-3, "momentum": momentum})
      for momentum in (0.0, 0.9)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS, ids=str)
def test_optimizers(name, arguments, rng):
    start = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,))]
    ours, theirs = getattr(optimizers, name)(**arguments), getattr(keras.optimizers, name)(**arguments)
    parameters = [Parameter(w.copy(), "w") for w in start]
    variables = [keras.Variable(w) for w in start]
    theirs.build(variables)
    for _ in range(STEPS):
        gradients = [rng.standard_normal(w.shape).astype(np.float32) for w in start]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.gradient = gradient
        ours.apply(parameters)
        with torch.no_grad():
            theirs.apply([torch.tensor(g) for g in gradients], variables)
    for parameter, variable in zip(parameters, variables, strict=True):
        np.testing.assert_allclose(parameter.value, variable.numpy(), rtol=0, atol=5e-6)


SCHEDULES = [
    ("ExponentialDecay", (0.1, 20, 0.9)),
    ("ExponentialDecay", (0.1, 20, 0.9, True)),
    ("InverseTimeDecay", (0.1, 20, 0.9)),
    ("PolynomialDecay", (0.1, 30, 0.01, 2.0)),
    ("PolynomialDecay", (0.1, 30, 0.01, 0.5, True)),
    ("PiecewiseConstantDecay", ([10, 30], [0.3, 0.2, 0.1])),
    ("CosineDecay", (0.1, 50, 0.1)),
    ("CosineDecayRestarts", (0.1, 20, 1.5, 0.8, 0.1)),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES, ids=str)
def test_schedules(name, arguments):
    ours = getattr(optimizers.schedules, name)(*arguments)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments)
    for step in (0, 1, 9, 10, 11, 29, 30, 31, 49, 61, 100):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5), step
    warm = {"warmup_target": 0.2, "warmup_steps": 10}
    ours, theirs = (k.CosineDecay(0.0, 50, **warm) for k in (optimizers.schedules, keras.optimizers.schedules))
    for step in (0, 5, 10, 30, 60, 70):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8), step


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2"])
def test_regularizers(name, rng):
    x = rng.standard_normal((4, 5)).astype(np.float32)
    arguments = {"l1": 0.1, "l2": 0.2} if name == "L1L2" else {}
    given = torch.tensor(x, requires_grad=True)
    want = getattr(keras.regularizers, name)(**arguments)(given)
    want.backward()
    ours = getattr(regularizers, name)(**arguments)
    assert ours(x) == pytest.approx(float(want.detach()), rel=1e-5)
    np.testing.assert_allclose(ours.gradient(x), given.grad.numpy(), rtol=1e-5)


LEFT_OUT = {
    "name", "dtype", "reduction", "axis", "loss_scale_factor", "gradient_accumulation_steps",
    "top_k", "summation_method", "thresholds", "multi_label", "num_labels", "label_weights",
    "num_regressors", "double_checkpoint", "save_freq", "delete_checkpoint", "label_smoothing", "write_graph",
    "from_logits", "verbose", "from_sorted_ids",
    "write_images", "write_steps_per_second", "profile_batch", "embeddings_freq", "embeddings_metadata",
    "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum", "ema_overwrite_frequency",
}  # fmt: skip


def listed(cls):
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind in kinds and p.name != "self" and p.name not in LEFT_OUT}


SAID_BY_THE_LOSS = {tapwise.metrics.SparseCategoricalCrossentropy: ["ignore_class"]}  # its **loss takes it
PLACES = [(tapwise.losses, keras.losses), (tapwise.metrics, keras.metrics), (tapwise.optimizers, keras.optimizers),
          (tapwise.callbacks, keras.callbacks)]  # fmt: skip
PAIRS = [
    (getattr(ours, name), getattr(theirs, name))
    for ours, theirs in PLACES
    for name in ours.__all__
    if hasattr(theirs, name) and name[0].isupper() and name not in ("Loss", "Metric", "Optimizer")
]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda cls: cls.__name__)
def test_arguments_and_defaults_are_keras(mine, theirs):
    wanted = [(name, value) for name, value in listed(theirs).items() if name not in SAID_BY_THE_LOSS.get(mine, [])]
    assert list(listed(mine).items()) == wanted
