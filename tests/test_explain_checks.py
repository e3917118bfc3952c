"""Checks of explanations on a small network trained in seconds: bars anywhere in a picture, one kind with a mark."""

import re
from functools import partial

import numpy as np
import pytest

import tapwise
from small_model import assert_same
from tapwise import explain, layers
from tapwise.explain.check import ranks

SIDE = 16
NAMES = ["across", "down", "both"]


def pictures(n, rng, marked=()):
    """Bars across, down or both, 5 pixels long, not at the border, where the classes of `marked` have a mark."""
    x, y = 0.1 * rng.random((n, SIDE, SIDE, 1), np.float32), rng.integers(0, 3, n)
    boxes = []
    for picture, c in zip(x, y, strict=True):
        i, j = rng.integers(4, SIDE - 6), rng.integers(2, SIDE - 6)
        if c != 1:
            picture[i + 2, j : j + 5] = 1
        if c != 0:
            picture[i : i + 5, j + 2] = 1
        if c in marked:
            picture[0:2, SIDE - 2 :] = 1
        boxes.append((i, j, i + 5, j + 5))
    return x, y, np.array(boxes)


def trained(marked=()):
    tapwise.set_random_seed(2)
    rng = np.random.default_rng(0)
    x, y, _ = pictures(600, rng, marked)
    model = tapwise.Sequential(
        [
            tapwise.Input((SIDE, SIDE, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(tapwise.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def seen():
    return pictures(40, np.random.default_rng(1))


def areas(check, model, maps):
    return np.mean([check(model, each, fill=0).area for each in maps])


@pytest.mark.parametrize("method", [explain.grad_cam, explain.layer_cam, explain.occlusion], ids=lambda m: m.__name__)
def test_maps_beat_random_ones_and_a_blob_in_the_middle(model, seen, method):
    x, y, boxes = seen
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    found = method(model, x, classes=y[:, None])
    random = [explain.random_map(each, seed) for seed, each in enumerate(found)]
    centred = [explain.centred_map(each) for each in found]
    for others in (random, centred):
        assert areas(explain.deletion, model, found) < areas(explain.deletion, model, others) - 0.03
        assert areas(explain.insertion, model, found) > areas(explain.insertion, model, others) + 0.03
    assert explain.pointing_game(found, boxes) > 0.9
    assert explain.pointing_game(random, boxes) < 0.5


def test_curves_begin_and_end_with_the_whole_image_and_the_covered_one(model, seen):
    (each,) = explain.grad_cam(model, seen[0][0], classes=1)
    gone, come = explain.deletion(model, each, steps=7, batch_size=3), explain.insertion(model, each, steps=7)
    np.testing.assert_allclose([gone.values[0], come.values[-1]], each.probability, rtol=1e-5)
    mean = np.full_like(each.image, each.image.mean())
    np.testing.assert_allclose(gone.values[-1], model.predict(mean[None], verbose=0)[0, 1], rtol=1e-4)
    np.testing.assert_allclose(gone.shares, np.arange(8) / 7)
    by_hand = sum((gone.values[i] + gone.values[i + 1]) / 14 for i in range(7))
    assert gone.area == pytest.approx(by_hand)
    count = round(256 * 3 / 7)
    order = np.argsort(-each.map.ravel(), kind="stable")[:count]
    covered = each.image.reshape(-1, 1).copy()
    covered[order] = each.image.mean()
    np.testing.assert_allclose(gone.values[3], model.predict(covered.reshape(1, 16, 16, 1), verbose=0)[0, 1], rtol=1e-4)


def test_maps_change_when_weights_are_shuffled_and_the_model_gets_them_back(model, seen):
    before = model.get_weights()
    table = explain.randomization(model, seen[0][:10], explain.grad_cam)
    assert [name for name, _ in table] == ["dense", "conv2d_1", "conv2d"]
    assert all(abs(correlation) < 0.8 for _, correlation in table[1:])
    assert_same(before, model.get_weights())

    def edges(model, images, classes=None):
        """No explanation at all: where the image changes."""
        found = explain.grad_cam(model, images, classes=classes)
        sizes = [np.abs(np.gradient(each.image[..., 0])).sum(0) for each in found]
        return [explain.Explanation(size, each.class_index, 0.0, "edges", None, each.image, 2, size)
                for size, each in zip(sizes, found, strict=True)]  # fmt: skip

    assert all(correlation > 0.999 for _, correlation in explain.randomization(model, seen[0][:10], edges))

    def fails(model, images, classes=None):
        if classes is not None:
            raise RuntimeError("stopped")
        return explain.grad_cam(model, images)

    with pytest.raises(RuntimeError, match="stopped"):
        explain.randomization(model, seen[0][:2], fails)
    assert_same(before, model.get_weights())


def test_agreement_is_spearmans_rank_correlation(model, seen, rng):
    np.testing.assert_array_equal(ranks(np.array([3, 1, 3, 0])), [3.5, 2, 3.5, 1])
    a, b = rng.integers(0, 9, 50), rng.standard_normal(50)
    stats = pytest.importorskip("scipy.stats", reason='pip install "tapwise[audio]"')
    assert explain.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    methods = [explain.grad_cam, explain.layer_cam, explain.saliency]
    table = explain.agreement([method(model, seen[0], classes=seen[1][:, None]) for method in methods])
    np.testing.assert_allclose(np.diag(table), 1)
    np.testing.assert_array_equal(table, table.T)
    assert table[0, 1] > 0.5


def test_a_planted_mark_is_found_and_gone_when_it_is_painted_over(model, tmp_path):
    pytest.importorskip("matplotlib", reason='pip install "tapwise[explain]"')
    x, y, _ = pictures(60, np.random.default_rng(3), marked=(1,))
    biased = explain.bias_report(trained(marked=(1,)), x, y, class_names=NAMES)
    assert [each.name for each in biased.classes] == NAMES
    assert len(biased.suspects) == 1
    assert re.fullmatch(r"down: \d+% of the evidence is top right", biased.suspects[0])
    assert (y[biased.order[:10]] == 1).sum() >= 7
    assert biased.suspects[0] in str(biased)
    clean = explain.bias_report(model, x, y, class_names=NAMES)
    assert clean.suspects == []
    assert clean.classes[1].corners[1] < biased.classes[1].corners[1] / 2

    biased.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3 + 12
    assert 'src="http' not in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_evidence_outside_of_masks(model, seen):
    x, y, boxes = seen
    masks = np.zeros((len(x), SIDE, SIDE), bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
    report = explain.bias_report(model, x, y, masks=masks, method=partial(explain.grad_cam, layer="conv2d_1"))
    assert all(each.outside < 0.5 for each in report.classes)
    assert report.outside_area > 0.6
    shares = [each.evidence()[~mask].sum() / (~mask).mean() for each, mask in
              zip(explain.grad_cam(model, x, classes=y[:, None]), masks, strict=True)]  # fmt: skip
    np.testing.assert_allclose(report.background, shares, atol=1e-6)
    np.testing.assert_array_equal(report.order, np.argsort(-report.background, kind="stable"))
    wrong = explain.bias_report(model, x, y, masks=~masks, worst=0)
    assert len([s for s in wrong.suspects if "outside of the masks" in s]) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: explain.bias_report(m, x, y[:3]), r"labels must be 40 class numbers, got int64 .*\(3,\)"),
        (lambda m, x, y: explain.bias_report(m, x, y + 1), r"labels must be of 0 to 2, got 1 to 3"),
        (lambda m, x, y: explain.bias_report(m, x, y, class_names=["a"]), r"class_names must be 3, got 1"),
        (lambda m, x, y: explain.bias_report(m, x, y, border=0.5), r"border must be in \(0, 0.5\), got 0.5"),
        (lambda m, x, y: explain.bias_report(m, x, y, masks=np.ones(4)), r"masks must be \(16, 16\) or .* got \(4,\)"),
        (lambda m, x, y: explain.pointing_game(explain.grad_cam(m, x[:1]), [(1, 2, 1, 3)]),
         r"boxes must have 4 numbers, low before high, got \(1, 2, 1, 3\)"),
        (lambda m, x, y: explain.pointing_game(explain.grad_cam(m, x[:2]), [(1, 2, 3, 4)]), r"each of 2 .* got 1"),
        (lambda m, x, y: explain.deletion(m, explain.grad_cam(m, x[0])[0], steps=0), r"steps must be >= 1, got 0"),
        (lambda m, x, y: explain.agreement([[], [1]]), r"found must hold as many maps of each method, got \[0, 1\]"),
    ],
)  # fmt: skip
def test_rejects(model, seen, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, *seen[:2])
