"""Every loss: its gradient against central differences, itself made again from its config; metrics against formulas."""

import json

import numpy as np
import pytest

import tapwise
from differences import EPS, differences
from tapwise import losses, metrics
from tapwise.objective import Objective

# name, arguments, what y_true holds
CASES = [
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "distribution"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "distribution"),
    ("SparseCategoricalCrossentropy", {}, "classes"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "classes"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "classes"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1, "from_logits": True}, "classes"),
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


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", ["MeanSquaredError", "SparseCategoricalCrossentropy"])
def test_the_gradient_follows_the_reduction(name, reduction, rng):
    """What Objective trains by: values, weights and reduction, against differences of the cost that it counts."""
    kind = "numbers" if name == "MeanSquaredError" else "classes"
    y, output, weights = targets(kind, rng), rng.random((4, 2, 3)) * 0.8 + 0.1, rng.random(4)
    objective = Objective(["y"], getattr(losses, name)(reduction=reduction), None, [])
    objective.reset([y], [(2, 3)])

    def cost():
        return objective.goals[0].count(y, output, None, False, weights)[0]

    gradient = objective.goals[0].count(y, output, None, True, weights)[1]
    np.testing.assert_allclose(gradient, differences(cost, output), rtol=0, atol=EPS ** (2 / 3) * 2 * 28**3)
    assert type(losses.get(name)).__name__ == name  # by its class name, as Keras takes it


def test_reductions_by_hand():
    y, p, weights = np.zeros((3, 2)), np.array([[1.0, 3], [2, 2], [4, 0]]), [1.0, 0, 2]
    assert losses.MeanSquaredError(reduction="sum")(y, p) == 5 + 4 + 8
    assert losses.MeanSquaredError(reduction="mean")(y, p, weights) == (5 + 16) / 3
    assert losses.MeanSquaredError(reduction="mean_with_sample_weight")(y, p, weights) == (5 + 16) / 3
    assert losses.MeanSquaredError(reduction="mean_with_sample_weight")(y, p, [1.0, 1, 2]) == (5 + 4 + 16) / 4
    assert losses.MeanSquaredError(reduction=None)(y, p, weights).tolist() == [5, 0, 16]
    with pytest.raises(ValueError, match=r"reduction must be one of sum_over_batch_size, mean, sum"):
        losses.MeanSquaredError(reduction="max")
    with pytest.raises(ValueError, match=r"reduction must give one number to train y by mean_squared_error, got none"):
        Objective(["y"], losses.MeanSquaredError(reduction=None), None, [])


def test_an_ignored_class_costs_nothing():
    p = np.array([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    loss = losses.SparseCategoricalCrossentropy(ignore_class=255)
    y = np.array([0, 255, 1])
    assert loss(y, p) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    assert not loss.gradient(y, p)[1].any()
    assert loss(np.full(3, 255), p) == 0
    with pytest.raises(ValueError, match=r"y must be in \[0, 2\) or 255, which is ignored, .* got 7 at index 1"):
        loss.check(np.array([255, 7]), (2,))
    with pytest.raises(TypeError, match=r"loss must be a name or a Loss, got the function .*values and gradient"):
        losses.get(lambda y, p: 0.0)
