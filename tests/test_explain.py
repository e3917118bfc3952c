"""Maps of evidence: exact where theory says what they are, of every rank, with one line for each mistake."""

import numpy as np
import pytest

import tapwise
from small_model import X, assert_same
from tapwise import explain, layers
from tapwise.explain import cam
from tapwise.explain.draw import resized

CAMS = [explain.grad_cam, explain.grad_cam_plus_plus, explain.layer_cam, explain.score_cam, explain.eigen_cam]
OTHERS = [explain.saliency, explain.occlusion]


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


def pooled(shape=(8, 8, 2), classes=3, softmax=True):
    """conv -> mean of each map -> Dense: what Grad-CAM is for."""
    rank = len(shape) - 1
    return tapwise.Sequential(
        [
            tapwise.Input(shape),
            getattr(layers, f"Conv{rank}D")(5, 3, padding="same", activation="relu", name="maps"),
            getattr(layers, f"GlobalAveragePooling{rank}D")(),
            layers.Dense(classes, activation="softmax" if softmax else None, name="scores"),
        ]
    )


def images(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def test_grad_cam_of_a_mean_and_dense_is_the_dense_weights_map(rng):
    model, x = pooled(), images(rng, 4, 8, 8, 2)
    features = tapwise.Model(model.input, model.get_layer("maps").output).predict(x, verbose=0)
    kernel, bias = model.get_layer("scores").get_weights()
    scores = features.mean((1, 2)) @ kernel + bias
    found = explain.grad_cam(model, x, classes=[0, 2])
    assert [each.class_index for each in found] == [0, 2] * 4
    for number, each in enumerate(found):
        i, c = divmod(number, 2)
        want = np.maximum(features[i] @ kernel[:, [0, 2][c]], 0)
        np.testing.assert_allclose(each.raw, want / want.max(), atol=1e-5)
        np.testing.assert_allclose(each.score, scores[i, each.class_index], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(each.probability, model.predict(x, verbose=0)[i, each.class_index], rtol=1e-4)
        assert (each.layer, each.method, each.map.shape) == ("maps", "Grad-CAM", (8, 8))


def test_the_softmax_is_looked_through(rng):
    """Gradients of probabilities of a confident network vanish; those of scores are what they are without it."""
    x = images(rng, 3, 8, 8, 2)
    model, plain = pooled(), pooled(softmax=False)
    model.layers[-1].kernel.value *= 1000
    plain.set_weights(model.get_weights())
    for method in (*CAMS, *OTHERS):
        for a, b in zip(method(model, x, classes=1), method(plain, x, classes=1), strict=True):
            np.testing.assert_array_equal(a.map, b.map)


def test_formulas_of_the_others_by_hand():
    a = np.array([[[1.0, 2.0], [3.0, 0.0]]])  # (1, 2 places, 2 maps)
    g = np.array([[[0.5, -1.0], [1.0, 2.0]]])
    np.testing.assert_allclose(cam.mean_gradient(a, lambda: g), [[0.75 + 1, 2.25]])
    np.testing.assert_allclose(cam.place_by_place(a, lambda: g), [[0.5, 3]])
    first = 0.25 / (0.5 + 0.125 * 4) * 0.5 + 1 / (2 + 4) * 1
    second = 4 / (8 + 8 * 2) * 2
    np.testing.assert_allclose(cam.plus_plus(a, lambda: g), [[first + 2 * second, 3 * first]])
    direction = np.linalg.svd(a[0])[2][0]
    np.testing.assert_allclose(cam.first_direction(a, lambda: g)[0], np.abs(a[0] @ direction))


def test_score_cam_weighs_by_scores_of_masked_images(rng):
    model, x = pooled(), images(rng, 1, 8, 8, 2)
    features = tapwise.Model(model.input, model.get_layer("maps").output).predict(x, verbose=0)[0]
    rises = []
    for c in range(5):
        mask = features[..., c] - features[..., c].min()
        masked = x[0] * (mask / mask.max())[..., None]
        rises.append(model.tape(masked[None]).scores[0, 1])
    weights = np.exp(np.array(rises) - max(rises))
    want = features @ (weights / weights.sum())
    (got,) = explain.score_cam(model, x[0], classes=1, batch_size=2)
    np.testing.assert_allclose(got.raw, want / want.max(), atol=1e-4)
    (fewer,) = explain.score_cam(model, x[0], classes=1, maps=1)
    widest = features[..., np.argmax(np.ptp(features, axis=(0, 1)))]
    np.testing.assert_allclose(fewer.raw, widest / widest.max(), atol=1e-5)


def test_saliency_is_the_input_gradient_and_integrated_gradients_add_up(rng):
    model, x = pooled(), images(rng, 2, 8, 8, 2)
    dy = np.eye(3, dtype=np.float32)[[1, 1]]
    (dx,) = model.tape(x).gradients(dy)
    for i, each in enumerate(explain.saliency(model, x, classes=1)):
        np.testing.assert_array_equal(each.map, np.abs(dx[i]).max(-1))
    for i, each in enumerate(explain.saliency(model, x, classes=1, kind="x-input")):
        np.testing.assert_allclose(each.map, (dx[i] * x[i]).sum(-1), rtol=1e-6)
    nothing = model.tape(np.zeros_like(x)).scores[0, 1]
    for each in explain.saliency(model, x, classes=1, kind="integrated", steps=200, batch_size=32):
        assert abs(each.map.sum() - (each.score - nothing)) < 2e-3 * abs(each.score - nothing) + 1e-4
    (smooth,) = explain.saliency(model, x[0], classes=1, kind="smoothgrad", noise=0.0, samples=5, batch_size=2)
    np.testing.assert_allclose(smooth.map, np.abs(dx[0]).max(-1), rtol=1e-5)
    noisy = [explain.saliency(model, x[0], kind="smoothgrad", seed=seed)[0].map for seed in (1, 1, 2)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert np.abs(noisy[0] - noisy[2]).max() > 0
    guided = explain.saliency(model, x, classes=1, kind="guided")[0].map
    np.testing.assert_array_equal(guided, np.abs(model.tape(x).gradients(dy, guided=True)[0][0]).max(-1))


def test_occlusion_is_the_fall_of_the_score(rng):
    model, x = pooled(), images(rng, 1, 8, 7, 2)
    model = pooled((8, 7, 2))
    (got,) = explain.occlusion(model, x, classes=2, window=(3, 2), stride=2, fill=0.5, batch_size=5)
    assert got.raw.shape == (4, 4)  # rows 0 2 4 5, columns 0 2 4 5
    covered = x.copy()
    covered[:, 2:5, 5:7] = 0.5
    np.testing.assert_allclose(got.raw[1, 3], model.tape(x).scores[0, 2] - model.tape(covered).scores[0, 2], atol=1e-6)
    np.testing.assert_allclose(got.map[0, 0], got.raw[0, 0], atol=1e-6)
    np.testing.assert_allclose(got.map[2, 0], got.raw[:2, 0].mean(), atol=1e-6)
    apart = explain.occlusion(model, x, window=1, stride=3)[0]
    assert np.isfinite(apart.map).all()
    assert apart.map.shape == (8, 7)


@pytest.mark.parametrize("shape", [(16, 2), (9, 8, 2), (6, 7, 5, 2)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("method", [*CAMS, *OTHERS], ids=lambda method: method.__name__)
def test_every_method_on_every_rank_alone_and_in_batches(method, shape, rng):
    model, x = pooled(shape), images(rng, 5, *shape)
    found = method(model, x, top=2, batch_size=2)
    assert len(found) == 10
    order = np.argsort(-model.predict(x, verbose=0), axis=1)[:, :2]
    assert [each.class_index for each in found] == order.ravel().tolist()
    assert all(each.map.shape == shape[:-1] and np.isfinite(each.map).all() for each in found)
    if method in CAMS:
        assert all(each.raw.max() == pytest.approx(1) and each.map.min() >= 0 for each in found if each.raw.any())
    (alone,) = method(model, x[3], classes=order[3, 1])
    np.testing.assert_allclose(alone.map, found[7].map, atol=1e-5)


def test_channels_first_gives_the_same_maps(rng):
    x = images(rng, 2, 8, 9, 3)
    models = []
    for data_format, shape in (("channels_last", (8, 9, 3)), ("channels_first", (3, 8, 9))):
        models.append(
            tapwise.Sequential(
                [tapwise.Input(shape), layers.Conv2D(4, 3, 2, data_format=data_format, activation="relu"),
                 layers.GlobalAveragePooling2D(data_format=data_format), layers.Dense(3)]
            )
        )  # fmt: skip
    models[1].set_weights(models[0].get_weights())
    turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    for method in (*CAMS, *OTHERS):
        for a, b in zip(method(models[0], x), method(models[1], turned), strict=True):
            assert b.map.shape == (8, 9)
            np.testing.assert_allclose(a.map, b.map, atol=1e-4)


def test_the_last_maps_are_those_behind_normalization_sum_and_activation():
    x = inputs = tapwise.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name="last")(x)))
    y = layers.Activation("relu", name="out")(layers.Add()([y, x]))
    gate = layers.Conv2D(4, 1, name="gate")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    base = tapwise.Model(inputs, layers.Flatten()(layers.Multiply()([y, layers.UpSampling2D(8)(gate)])))
    outer = tapwise.Input((8, 8, 3))
    model = tapwise.Model(outer, layers.Dense(3)(base(outer)))
    assert explain.grad_cam(model, np.zeros((8, 8, 3)))[0].layer == "out"
    assert explain.grad_cam(model, np.zeros((8, 8, 3)), layer="first")[0].layer == "first"


def test_rows_of_classes_and_nothing_left_behind(rng):
    model, x = pooled(), images(rng, 3, 8, 8, 2)
    rows = explain.grad_cam(model, x, classes=np.array([[2], [0], [1]]))
    assert [each.class_index for each in rows] == [2, 0, 1]
    before = model.get_weights()
    kept = x.copy()
    for method in (*CAMS, *OTHERS):
        method(model, x)
    assert_same(before, model.get_weights())
    np.testing.assert_array_equal(x, kept)
    assert all(layer.trainable for layer in model.layers)


def test_maps_come_to_the_images_size():
    model = tapwise.Sequential(
        [tapwise.Input((12, 8, 1)), layers.Conv2D(3, 3, padding="same", activation="relu"), layers.MaxPooling2D(4),
         layers.Conv2D(3, 1, activation="relu", name="small"), layers.Flatten(), layers.Dense(2)]
    )  # fmt: skip
    (each,) = explain.grad_cam(model, np.random.default_rng(0).random((12, 8, 1)))
    assert (each.layer, each.raw.shape, each.map.shape) == ("small", (3, 2), (12, 8))
    np.testing.assert_allclose(each.map, np.clip(resized(each.raw, (12, 8)), 0, 1), atol=1e-6)


def test_a_map_without_evidence_is_zero():
    model = pooled()
    model.layers[-1].kernel.value[...] = -1
    (each,) = explain.grad_cam(model, np.ones((8, 8, 2)), classes=0)
    assert not each.map.any()
    assert each.evidence().sum() == 0


def test_dense_networks_have_saliency_and_occlusion(rng):
    flat = tapwise.Sequential([tapwise.Input((6,)), layers.Dense(3, "softmax")])
    square = tapwise.Sequential([tapwise.Input((4, 5)), layers.Flatten(), layers.Dense(3, "softmax")])
    assert explain.saliency(flat, images(rng, 2, 6))[1].map.shape == (6,)
    assert explain.occlusion(square, images(rng, 4, 5))[0].map.shape == (4, 5)


def test_one_is_drawn_saved_and_shown(tmp_path, rng):
    pytest.importorskip("matplotlib", reason='pip install "tapwise[explain]"')
    pytest.importorskip("PIL", reason='pip install "tapwise[explain]"')
    model, x = pooled((8, 8, 3)), images(rng, 8, 8, 3)
    (each,) = explain.grad_cam(model, x)
    picture = each.draw()
    assert (picture.shape, picture.dtype) == ((224, 224, 3), np.uint8)
    assert each.draw(np.zeros((30, 40, 3), np.uint8)).shape == (150, 200, 3)
    each.save(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes() == each._repr_png_()
    assert "data:image/png;base64," in each._repr_html_()
    copy = each.to_numpy()
    copy[...] = 9
    assert each.map.max() <= 1
    (signed,) = explain.occlusion(model, x)
    assert np.abs(signed.draw().astype(int) - picture).max() > 10
    for shape in ((40, 2), (6, 7, 5, 1)):
        (other,) = explain.grad_cam(pooled(shape), images(rng, *shape))
        assert other.draw().shape[2] == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: explain.grad_cam(tapwise.Sequential([tapwise.Input((4,)), layers.Dense(2)]), np.zeros(4)),
         r"model must have a convolutional layer with maps larger than one value, got dense \(Dense\)"),
        (lambda m, x: explain.grad_cam(m, x, classes=3), r"classes must be of 0 to 2, got 3"),
        (lambda m, x: explain.occlusion(m, x, classes=[0, -1]), r"classes must be of 0 to 2, got -1"),
        (lambda m, x: explain.saliency(m, x, classes=1.5), r"classes must be whole numbers.* got 1.5"),
        (lambda m, x: explain.saliency(m, x, top=4), r"top must be of 1 to 3, the number of classes, got 4"),
        (lambda m, x: explain.grad_cam(m, x[..., :1]),
         r"images must be of shape \(n, 6, 6, 2\) or one of \(6, 6, 2\), got \(24, 6, 6, 1\)"),
        (lambda m, x: explain.score_cam(m, x, layer="conv7"), r"layer must be one of maps, .*scores, got 'conv7'"),
        (lambda m, x: explain.grad_cam(m, x, layer="scores"), r"layer must give maps, .*got scores with \(n, 3\)"),
        (lambda m, x: explain.saliency(m, x, kind="deep"), r"kind must be one of vanilla, .*guided, got 'deep'"),
        (lambda m, x: explain.occlusion(m, x, window=7), r"window must be in \[1, side\] .* of \(6, 6\), got 7"),
        (lambda m, x: explain.occlusion(m, x, fill=[1, 2, 3]), r"fill must be a number or one for each channel"),
        (lambda m, x: explain.grad_cam(m, x, classes=np.zeros((2, 1), int)), r"a row for each of 24 images, got 2"),
        (lambda m, x: explain.grad_cam(tapwise.Model(m.input, m.get_layer("maps").output), x),
         r"model must give one score a class, \(n, classes\), got \(n, 6, 6, 5\)"),
        (lambda m, x: explain.grad_cam(m, x, batch_size=0), r"batch_size must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(pooled((6, 6, 2)), X)


def test_what_is_no_model_and_what_has_two_inputs_is_refused():
    with pytest.raises(TypeError, match=r"model must be a tapwise.Model, .* got function"):
        explain.occlusion(lambda x: x, X)
    with pytest.raises(TypeError, match=r"images must be numbers, got <U3"):
        explain.grad_cam(pooled(), np.array("cat"))
    a, b = tapwise.Input((6, 6, 1), name="a"), tapwise.Input((6, 6, 1), name="b")
    y = layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(layers.Concatenate()([a, b]))))
    with pytest.raises(ValueError, match=r"model must have one input, got a, b"):
        explain.grad_cam(tapwise.Model([a, b], y), X)
