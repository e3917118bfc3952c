"""Every loss: its gradient against central differences, itself made again from its config; metrics against formulas."""

import json

import numpy as np
import pytest

import tapwise
from differences import EPS, differences
from tapwise import losses, metrics

# name, arguments, what y_true holds
CASES = [
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "distribution"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "distribution"),
    ("SparseCategoricalCrossentropy", {}, "classes"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "classes"),
    ("BinaryCrossentropy", {}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "bits"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, "bits"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "gamma": 3.0}, "bits"),
    ("CategoricalFocalCrossentropy", {}, "one-hot"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "alpha": 0.5}, "one-hot"),
    ("MeanSquaredError", {}, "numbers"),
    ("MeanAbsoluteError", {}, "numbers"),
    ("MeanAbsolutePercentageError", {}, "numbers"),
    ("MeanSquaredLogarithmicError", {}, "positive"),
    ("Huber", {"delta": 0.3}, "numbers"),
    ("LogCosh", {}, "numbers"),
    ("Poisson", {}, "positive"),
    ("KLDivergence", {}, "distribution"),
    ("Hinge", {}, "bits"),
    ("SquaredHinge", {}, "signs"),
    ("CategoricalHinge", {}, "one-hot"),
    ("CosineSimilarity", {}, "numbers"),
    ("Dice", {}, "bits"),
    ("Dice", {"axis": (1, 2)}, "bits"),
]
IDS = [f"{name}({arguments})" for name, arguments, _ in CASES]


@pytest.fixture(autouse=True)
def _reference():
    with tapwise.backend.use("reference"):
        yield


def targets(kind, rng, shape=(4, 2, 3)):
    classes = rng.integers(0, shape[-1], shape[:-1])
    return {
        "distribution": lambda: rng.dirichlet(np.ones(shape[-1]), shape[:-1]),
        "classes": lambda: classes,
        "one-hot": lambda: np.eye(shape[-1])[classes],
        "bits": lambda: rng.integers(0, 2, shape).astype(float),
        "signs": lambda: 2.0 * rng.integers(0, 2, shape) - 1,
        "numbers": lambda: rng.standard_normal(shape),
        "positive": lambda: rng.random(shape) + 0.1,
    }[kind]()


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES, ids=IDS)
def test_gradients_are_those_of_central_differences(name, arguments, kind, rng):
    loss = getattr(losses, name)(**arguments)
    y, output = targets(kind, rng), rng.random((4, 2, 3)) * 0.8 + 0.1
    want = differences(lambda: loss(y, output), output)
    # Third derivatives of log(p) are 2 / p**3, p at least 0.1 / 2.8.
    np.testing.assert_allclose(loss.gradient(y, output), want, rtol=0, atol=EPS ** (2 / 3) * 2 * 28**3)


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES, ids=IDS)
def test_a_config_makes_the_loss_again(name, arguments, kind, rng):
    loss = getattr(losses, name)(**arguments, name="mine")
    again = losses.get(json.loads(json.dumps({"class_name": name, "config": loss.get_config()})))
    y, output = targets(kind, rng), rng.random((4, 2, 3))
    assert (again(y, output), again.name) == (loss(y, output), "mine")


def test_a_loss_of_ones_own_needs_values_and_gradient(rng):
    class Cubed(losses.Loss):
        def values(self, y_true, y_pred):
            return (np.abs(y_pred - y_true) ** 3).mean(-1)

        def gradient(self, y_true, y_pred):
            error = y_pred - y_true
            return 3 * error * np.abs(error) / error.size

    y, output = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    assert Cubed().name == "cubed"
    np.testing.assert_allclose(Cubed().gradient(y, output), differences(lambda: Cubed()(y, output), output), atol=1e-8)


def test_precision_recall_and_their_kin_count():
    y, p = np.array([0, 1, 1, 1, 0]), np.array([0.2, 0.6, 0.4, 0.9, 0.7])
    kinds = metrics.TruePositives, metrics.FalsePositives, metrics.FalseNegatives, metrics.TrueNegatives
    counts = [kind() for kind in kinds]
    for metric in counts:
        metric.update_state(y[:2], p[:2])
        metric.update_state(y[2:], p[2:])
    assert [metric.result() for metric in counts] == [2, 1, 1, 1]
    precision, recall = metrics.Precision([0.3, 0.5]), metrics.Recall()
    precision.update_state(y, p)
    recall.update_state(y, p, sample_weight=[1, 1, 2, 1, 1])
    assert precision.result() == [3 / 4, 2 / 3]
    assert recall.result() == 2 / 4


def test_a_confusion_matrix_and_what_comes_from_it():
    y, p = np.array([0, 1, 2, 2]), np.eye(3)[[0, 2, 2, 1]]
    matrix, share = metrics.ConfusionMatrix(3), metrics.MeanIoU(3, sparse_y_pred=False)
    matrix.update_state(y, p)
    share.update_state(y, p)
    assert matrix.result() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]
    assert share.result() == pytest.approx((1 + 0 + 1 / 3) / 3)


def test_top_k_counts_the_larger_outputs():
    p = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    for k, want in ((1, 0.0), (2, 0.5), (3, 0.5), (4, 1.0)):
        metric = metrics.SparseTopKCategoricalAccuracy(k)
        metric.update_state(np.array([2, 3]), p)
        assert metric.result() == want


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.CategoricalCrossentropy(label_smoothing=1), r"label_smoothing must be in \[0, 1\), got 1"),
        (lambda: losses.BinaryCrossentropy()([2.0], [0.5]), r"y must be in \[0, 1\] for binary_crossentropy, got 2.0"),
        (lambda: losses.get({"class_name": "os.system", "config": {}}), r"loss must be the description of one of"),
        (lambda: metrics.AUC(curve="XY"), r'curve "ROC" or "PR", got 200 and .XY'),
        (lambda: metrics.F1Score("median"), r"average must be None, micro, macro or weighted, got 'median'"),
        (lambda: metrics.R2Score("median"), r"class_aggregation must be None, .* got 'median'"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()
