"""interop.sklearn: scikit-learn's own checks, all of them, and what its users do with an estimator."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tapwise
from tapwise import layers

pytest.importorskip("sklearn", reason="pip install scikit-learn>=1.6", minversion="1.6")
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from tapwise.interop.sklearn import CNNClassifier, CNNRegressor

SMALL = {"filters": (4,), "dense": 16, "epochs": 20}


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def digit_network(input_shape, outputs):
    return tapwise.Sequential(
        [
            tapwise.Input(input_shape),
            layers.Rescaling(1 / 16),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(outputs, "softmax"),
        ]
    )


@pytest.mark.parametrize("estimator", [CNNClassifier(**SMALL), CNNRegressor(**SMALL)], ids=lambda e: type(e).__name__)
def test_scikit_learns_own_checks(estimator):
    """Some skip themselves where pandas or SciPy's array API aren't there; none is expected to fail."""
    results = check_estimator(estimator, on_skip=None)
    passed = [each["check_name"] for each in results if each["status"] == "passed"]
    assert len(passed) >= 50
    assert {each["status"] for each in results} <= {"passed", "skipped"}
    assert "check_sample_weight_equivalence_on_dense_data" in passed


def test_digits_are_told_in_pipelines_and_searches(digits):
    X, y = digits
    pipeline = make_pipeline(MinMaxScaler(), CNNClassifier(image_shape=(8, 8), filters=(16,), epochs=6, random_state=0))
    search = GridSearchCV(pipeline, {"cnnclassifier__learning_rate": [1e-5, 5e-3]}, cv=2).fit(X, y)
    assert search.best_params_ == {"cnnclassifier__learning_rate": 5e-3}
    assert search.best_score_ > 0.88
    scores = cross_val_score(CNNClassifier(digit_network, image_shape=(8, 8), epochs=4, random_state=1), X, y, cv=3)
    assert scores.min() > 0.85


def test_a_fit_can_be_repeated_copied_and_pickled(digits):
    X, y = digits
    names = np.array(["even", "odd"])[y % 2]
    one = CNNClassifier(filters=(8,), epochs=2, random_state=3)
    tapwise.set_random_seed(5)
    want = tapwise.initializers.get("glorot_uniform")((4, 4), np.float32)
    tapwise.set_random_seed(5)
    images = X.reshape(-1, 8, 8)
    probabilities = one.fit(images, names).predict_proba(images)
    np.testing.assert_array_equal(tapwise.initializers.get("glorot_uniform")((4, 4), np.float32), want)
    for other in (clone(one).fit(images, names), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        np.testing.assert_array_equal(other.predict_proba(images), probabilities)
        assert list(other.classes_) == ["even", "odd"]
    assert set(one.predict(images)) == {"even", "odd"}
    assert one.score(images, names) > 0.8
    assert len(one.history_["loss"]) == one.n_iter_ == 2
    restored = pickle.loads(pickle.dumps(one)).partial_fit(images, names)
    np.testing.assert_array_equal(restored.predict_proba(images), one.partial_fit(images, names).predict_proba(images))


def test_weights_are_repetitions(digits):
    X, y = digits[0][:60], digits[1][:60]
    weights = np.arange(60) % 4
    options = {"image_shape": (8, 8), "filters": (4,), "epochs": 3, "random_state": 0, "batch_size": 16}
    weighted = CNNClassifier(**options).fit(X, y, sample_weight=weights)
    repeated = CNNClassifier(**options).fit(X.repeat(weights, 0), y.repeat(weights))
    np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))


def test_partial_fit_goes_on_and_early_stopping_ends(digits):
    X, y = digits
    options = {"image_shape": (8, 8), "filters": (8,), "random_state": 0}
    part = CNNClassifier(**options, epochs=1)
    losses = [part.partial_fit(X, y, classes=range(10)).history_["loss"][0] for _ in range(3)]
    assert losses[2] < 0.5 * losses[0]
    with pytest.raises(ValueError, match=r"y must hold classes of .*, got \[11\]"):
        part.partial_fit(X, np.full(len(X), 11))
    stopped = CNNClassifier(**options, epochs=100, early_stopping=True, n_iter_no_change=2).fit(X[:500], y[:500])
    assert stopped.n_iter_ < 100
    assert "val_loss" in stopped.history_


def test_regression_of_one_and_several_targets():
    X, y = load_diabetes(return_X_y=True)
    model = CNNRegressor(filters=(16,), epochs=40, dropout=0.3, l2=0.01, random_state=0)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.4
    both = model.set_params(epochs=2).fit(X, np.stack([y, -y], 1)).predict(X)
    assert both.shape == (len(X), 2)
    assert np.corrcoef(both[:, 0], -both[:, 1])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": (8, 9)}, r"image_shape must hold 1 to 4 sizes for the values of X, \(64,\), got \(8, 9\)"),
        ({"epochs": 0}, "epochs must be a whole number >= 1, got 0"),
        ({"learning_rate": 0}, "learning_rate must be > 0, got 0"),
        ({"network": lambda shape, outputs: digit_network(shape, 3)}, "network must give a model of 10 outputs"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction must be between 0 and 1, got 1.5"),
    ],
)
def test_rejects(change, message, digits):
    with pytest.raises(ValueError, match=message):
        CNNClassifier(**{"image_shape": (8, 8), **change}).fit(*digits)


def test_without_scikit_learn_it_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import tapwise.interop.sklearn"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "tapwise[sklearn]"' in found.stderr.splitlines()[-1]
