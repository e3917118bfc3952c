"""Augmentation: exact cases, SciPy's resampling, the NumPy twin's bits, randomness of the sample alone."""

import colorsys
from types import SimpleNamespace

import numpy as np
import pytest

import tapwise
from tapwise import layers
from tapwise.data import Augment, augment, augment_numpy
from tapwise.data.philox import Draws, philox

X = np.random.default_rng(0).integers(0, 256, (7, 12, 15, 3)).astype(np.uint8)
LAYERS = {
    "flip": layers.RandomFlip(),
    "rotation": layers.RandomRotation(0.3),
    "constant": layers.RandomRotation(0.3, "constant", fill_value=9.0),
    "wrap": layers.RandomTranslation(0.9, (-1.0, 0.5), "wrap"),
    "nearest": layers.RandomTranslation(0.9, (-1.0, 0.5), "nearest", "nearest"),
    "zoom": layers.RandomZoom(0.9, (-0.5, 1.0)),
    "shear": layers.RandomShear(0.7, 0.3),
    "crop": layers.RandomCrop(5, 9),
    "brightness": layers.RandomBrightness(0.6),
    "contrast": layers.RandomContrast(0.8),
    "saturation": layers.RandomSaturation((0.1, 0.95)),
    "hue": layers.RandomHue(1.0),
    "noise box": layers.RandomErasing(0.9),
    "colour box": layers.RandomErasing(1.0, (0.3, 0.6), (0, 300, 9.5)),
    "noise": layers.GaussianNoise(0.2),
    "mixup": layers.MixUp(0.4),
    "cutmix": layers.CutMix(),
}


def plain(*given, **options):
    """A pipeline that leaves the values' range as it is."""
    return Augment(given, scale=1.0, offset=0.0, **options)


@pytest.fixture
def twin(monkeypatch):
    """Switches to NumPy, which is all that a pure-Python wheel has."""
    return lambda: monkeypatch.setattr(augment, "passes", augment_numpy)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("names", [[], *([name] for name in LAYERS), list(LAYERS)], ids=lambda n: n[0] if n[:1] else "")
def test_the_compiled_pass_has_numpys_bits(names, dtype, twin):
    chosen = [LAYERS[name] for name in names]
    if len(chosen) > 1:
        chosen = [each for each in chosen if each not in [LAYERS[n] for n in ("constant", "wrap", "nearest")]]
    pipeline = Augment(chosen, seed=3)
    got = pipeline(X.astype(dtype), epoch=2)
    twin()
    want = pipeline(X.astype(dtype), epoch=2)
    assert got.dtype == np.float32
    assert got.tobytes() == want.tobytes()
    assert np.abs(got).max() <= 1 + 2 * ("noise" in names)


def test_bytes_come_to_minus_one_to_one():
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    got = Augment([])(x)
    assert (got.min(), got.max()) == (-1, 1)
    np.testing.assert_allclose(got, x / 127.5 - 1, rtol=0, atol=4 * 2.0**-24)  # the scale, the product near 2, the sum


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_are_exact(quarter, interpolation):
    x = X[:, :, :12]
    layer = layers.RandomRotation((quarter / 4, quarter / 4), "constant", interpolation)
    np.testing.assert_array_equal(plain(layer)(x), np.rot90(x, quarter, (1, 2)))


@pytest.mark.parametrize(
    ("mode", "axes"), [("horizontal", [2]), ("vertical", [1]), ("horizontal_and_vertical", [1, 2])]
)
def test_flips_are_exact_and_happen_half_of_the_time(mode, axes):
    x = np.broadcast_to(X[:1], (400, *X.shape[1:]))
    y = plain(layers.RandomFlip(mode))(x)
    seen = [(y == np.flip(x[0], [axis - 1 for axis in chosen])).all((1, 2, 3)).sum()
            for chosen in ([], *([axis] for axis in axes), *([axes] if len(axes) > 1 else []))]  # fmt: skip
    assert sum(seen) == 400
    assert min(seen) > 0.7 * 400 / len(seen)


PADS = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


@pytest.mark.parametrize("fill_mode", PADS)
@pytest.mark.parametrize(("down", "right"), [(3, 0), (-2, 5), (12, -15), (-11, 14)])
def test_whole_shifts_are_exact(fill_mode, down, right):
    layer = layers.RandomTranslation((down / 12, down / 12), (right / 15, right / 15), fill_mode)
    wide = np.pad(X, ((0, 0), (15, 15), (15, 15), (0, 0)), PADS[fill_mode])
    np.testing.assert_array_equal(plain(layer)(X), wide[:, 15 - down : 27 - down, 15 - right : 30 - right])


SCIPY = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill_mode", SCIPY)
def test_affine_maps_are_scipys(fill_mode, interpolation):
    """Four layers composed. Coordinates are fixed-point and lie in 32 bits, fractions in 24, sums are float32."""
    ndimage = pytest.importorskip("scipy.ndimage", reason="pip install scipy")
    options = {"fill_mode": fill_mode, "interpolation": interpolation, "fill_value": 40.0}
    pipeline = plain(
        layers.RandomRotation(0.5, **options), layers.RandomShear(0.3, 0.4, **options),
        layers.RandomZoom(0.5, 0.7, **options), layers.RandomTranslation(0.3, 0.2, **options), seed=5,
    )  # fmt: skip
    got = pipeline(X)
    maps = pipeline._draw(X.shape, np.arange(len(X)), 0).maps
    swap = [1, 0]
    for i in range(len(X)):
        matrix, offset = maps[i][np.ix_(swap, swap)], maps[i][swap, 2]
        for c in range(3):
            want = ndimage.affine_transform(
                X[i, ..., c].astype(np.float64), matrix, offset, order=interpolation == "bilinear",
                mode=SCIPY[fill_mode], cval=40.0,
            )  # fmt: skip
            wrong = np.abs(got[i, ..., c] - want) > 255 * 8 * 2.0**-24
            assert wrong.mean() <= (0.01 if interpolation == "nearest" else 0)  # halves round either way


def test_zoom_and_shear_move_as_kerass_do():
    x = np.zeros((1, 9, 9, 1), np.float32)
    x[0, 2, 6] = x[0, 4, 4] = 1
    (zoomed,) = plain(layers.RandomZoom((-0.5, -0.5)))(x)  # half of the image is seen: twice as far from the centre
    assert (zoomed[0, 8], zoomed[4, 4]) == (1, 1)
    y = np.concatenate([plain(layers.RandomShear((1.0, 1.0)), seed=seed)(x) for seed in range(8)])
    sides = {tuple(map(tuple, np.argwhere(image[:, :, 0] == 1))) for image in y}
    assert sides == {((2, 4), (4, 0)), ((2, 8), (4, 8))}  # row i of y shows x moved by i


def test_crops_are_windows():
    y = plain(layers.RandomCrop(5, 9))(X)
    windows = np.lib.stride_tricks.sliding_window_view(X, (5, 9), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    places = [np.argwhere((windows[i] == y[i]).all((2, 3, 4))) for i in range(len(X))]
    assert all(len(place) == 1 for place in places)
    assert len({tuple(place[0]) for place in places}) > 4
    np.testing.assert_array_equal(layers.RandomCrop(5, 9)(X), X[:, 3:8, 3:12])


def test_randomness_depends_on_seed_epoch_and_sample_alone():
    pipeline = Augment([LAYERS[name] for name in ("rotation", "contrast", "noise box", "noise")], seed=8)
    whole = pipeline(X, epoch=4)
    rows = np.array([5, 2, 2])
    np.testing.assert_array_equal(pipeline(X, rows=rows, epoch=4), whole[rows])
    np.testing.assert_array_equal(pipeline(X[rows], samples=rows, epoch=4), whole[rows])
    again = Augment(pipeline.layers, seed=8)(X[3:4], samples=np.array([3]), epoch=4)
    np.testing.assert_array_equal(again, whole[3:4])
    for other in (pipeline(X, epoch=5), Augment(pipeline.layers, seed=9)(X, epoch=4)):
        assert (other != whole).mean() > 0.9
    assert not np.array_equal(pipeline(X, samples=np.arange(2**33, 2**33 + 7), epoch=4), pipeline(X, epoch=4))


def test_a_layers_own_seed_goes_before_the_pipelines():
    own = layers.RandomRotation(0.3, seed=77)
    np.testing.assert_array_equal(Augment([own], seed=1)(X), Augment([own], seed=2)(X))


def test_colours_follow_their_formulas():
    x = X.astype(np.float64)
    bright = plain(layers.RandomBrightness((0.3, 0.3)))(X)
    np.testing.assert_allclose(bright, np.clip(x + 0.3 * 255, 0, 255), rtol=3e-7)
    means = x.mean((1, 2), keepdims=True)
    contrast = plain(layers.RandomContrast((0.5, 0.0)), seed=1)(X) - means
    ratios = contrast / (x - means)
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1, :1, :1], x.shape), rtol=2e-4)
    assert 0.5 <= ratios.min() < ratios.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        (layers.RandomSaturation((0.2, 0.2)), lambda h, s, v: (h, min(1, s * 0.25), v)),
        (layers.RandomSaturation((0.75, 0.75)), lambda h, s, v: (h, min(1, s * 3), v)),
        (layers.RandomHue((0.5, 0.5), seed=2), lambda h, s, v: ((h - 0.25) % 1, s, v)),
        (layers.RandomHue((0.5, 0.5), seed=1), lambda h, s, v: ((h + 0.25) % 1, s, v)),
    ],
)
def test_saturation_and_hue_are_hsvs(layer, change):
    x = X[:1].copy()
    x[0, 0, 0], x[0, 0, 1], x[0, 0, 2] = (7, 7, 7), (0, 0, 0), (9, 9, 2)
    want = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in (x / 255.0).reshape(-1, 3)]
    np.testing.assert_allclose(plain(layer)(x).reshape(-1, 3) / 255, want, rtol=0, atol=2e-6)


def test_erased_boxes_have_the_asked_areas():
    x = np.full((300, 20, 30, 3), 100, np.uint8)
    y = plain(layers.RandomErasing((0.5, 0.5), (0.2, 0.3), (1, 2, 300)))(x)
    boxes = (y != 100).any(3)
    np.testing.assert_array_equal(np.unique(y[boxes], axis=0), [[1, 2, 255]])
    areas = boxes.mean((1, 2))
    assert 120 < np.count_nonzero(areas) < 180
    assert 0.17 < areas[areas > 0].min() < areas.max() < 0.33
    noisy = plain(layers.RandomErasing((1.0, 1.0), (1.0, 1.0)))(x)
    assert np.unique(noisy).size > 1000
    assert abs((noisy == 0).mean() - 0.5) < 0.01


def test_noise_is_normal():
    x = np.zeros((4, 100, 100, 3), np.float32)
    noise = plain(SimpleNamespace(stddev=0.5))(x) / 0.5
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)
    assert abs((np.abs(noise) > 2).mean() - 0.0455) < 0.003
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_are_mixed_as_images_are(name):
    x = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None, None, None], (50, 8, 8, 1))
    result = plain(LAYERS[name])({"images": x, "labels": np.eye(50, dtype=np.float32)})
    images, labels = result["images"], result["labels"]
    np.testing.assert_allclose(images.mean((1, 2, 3)), labels @ np.arange(50), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
    assert (labels.max(1) < 0.999).sum() > 20
    if name == "cutmix":
        np.testing.assert_array_equal(images, np.rint(images))


GEOMETRY = [layers.RandomFlip(), layers.RandomRotation(0.4, "constant"), layers.RandomZoom(0.2, 0.2, "constant")]


def test_keypoints_and_masks_move_with_the_image():
    x = np.zeros((40, 41, 61, 1), np.float32)
    points = np.random.default_rng(1).integers(15, 26, (40, 1, 2)) + np.array([10, 0])
    x[np.arange(40)[:, None], points[..., 1], points[..., 0]] = 255
    blurred = x + sum(np.roll(x, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)
    masks = (blurred[..., 0] > 0).astype(np.int64) * 70000
    result = plain(*GEOMETRY)({"images": blurred, "keypoints": points, "segmentation_masks": masks})
    images = result["images"][..., 0]
    total = images.sum((1, 2))
    centre = np.stack([(images * np.arange(61)).sum((1, 2)), (images * np.arange(41)[:, None]).sum((1, 2))], 1)
    np.testing.assert_allclose(result["keypoints"][:, 0], centre / total[:, None], atol=0.25)
    moved = result["segmentation_masks"]
    assert (moved.dtype, moved.shape) == (np.int64, masks.shape)
    assert set(np.unique(moved)) == {0, 70000}
    assert np.all((images > 250) <= (moved > 0))


def test_boxes_move_with_the_image():
    boxes = np.array([[[2, 1, 5, 3], [0, 0, 15, 12], [14, 11, 15, 12]]] * 7, float)
    flipped = plain(layers.RandomFlip("horizontal"), seed=1)({"images": X, "bounding_boxes": boxes})
    mirrored = np.array([[10, 1, 13, 3], [0, 0, 15, 12], [0, 11, 1, 12]])
    turned = [not np.array_equal(image, x) for image, x in zip(flipped["images"], X, strict=True)]
    assert 0 < sum(turned) < 7
    for got, is_turned in zip(flipped["bounding_boxes"], turned, strict=True):
        np.testing.assert_allclose(got, mirrored if is_turned else boxes[0], atol=1e-12)
    square = {"images": X[:, :, :12], "bounding_boxes": boxes[:, :1]}
    quarter = plain(layers.RandomRotation((0.25, 0.25)))(square)
    np.testing.assert_allclose(quarter["bounding_boxes"][0], [[1, 7, 3, 10]], atol=1e-9)
    shifted = plain(layers.RandomTranslation((0, 0), (0.2, 0.2)))({"images": X, "bounding_boxes": boxes})
    np.testing.assert_allclose(shifted["bounding_boxes"][0], [[5, 1, 8, 3], [3, 0, 15, 12], [np.nan] * 4])


def test_a_model_augments_in_training_only():
    x, y = X.astype(np.float32), np.arange(7) % 2
    results = []
    for _ in range(2):
        tapwise.set_random_seed(5)
        model = tapwise.Sequential(
            [
                tapwise.Input((12, 15, 3)),
                layers.RandomFlip(),
                layers.RandomCrop(10, 11),
                layers.RandomBrightness(0.2),
                layers.Rescaling(1 / 127.5, -1),
                layers.Conv2D(4, 3),
                layers.Flatten(),
                layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=3, batch_size=3, verbose=0)
        results.append(model.get_weights())
        np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    layer = layers.RandomRotation(0.2)
    assert layer(x) is x
    assert not np.array_equal(layer(x, training=True), layer(x, training=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RandomRotation(1.5), r"factor must be a number or two in \[-1, 1\], got 1.5"),
        (lambda: layers.RandomZoom(0.1, (0, 1, 2)), r"width_factor must be a number or two in \[-0.999, 1\]"),
        (lambda: layers.RandomShear(-0.1), r"x_factor must be a number or two in \[0, 1\], got -0.1"),
        (lambda: layers.RandomContrast(-0.1), r"factor must be a number or two in \[0, 1\], got -0.1"),
        (lambda: layers.RandomBrightness(0.1, (1, 1)), r"value_range must be two numbers, the first the smaller"),
        (lambda: layers.RandomFlip("left"), "mode must be one of horizontal, vertical, .*, got 'left'"),
        (lambda: layers.RandomRotation(0.1, "mirror"), "fill_mode must be one of constant, .*, got 'mirror'"),
        (lambda: layers.RandomRotation(0.1, interpolation="cubic"), "interpolation must be one of bilinear, nearest"),
        (lambda: layers.RandomCrop(0, 3), "height and width must be >= 1, got 0 and 3"),
        (lambda: layers.RandomErasing(fill_value=(1, 2)), r"fill_value must be None, a number or three, got \(1, 2\)"),
        (lambda: layers.MixUp(0), "alpha must be > 0, got 0"),
        (
            lambda: layers.MixUp()(X.astype("f4"), training=True),
            "mix_up mixes labels too: give it to tapwise.data.Augm",
        ),
        (lambda: layers.RandomHue(0.1)(X[..., :1]), "random_hue: RandomHue needs 3 channels, got 1"),
        (lambda: layers.RandomCrop(13, 3)(X), r"random_crop: RandomCrop\(13, 3\) needs images as large, got 12x15"),
        (
            lambda: Augment([LAYERS["wrap"], LAYERS["rotation"]]),
            "fill_mode, .* must be the same in all layers of one p",
        ),
        (lambda: Augment([SimpleNamespace(stddev=1.0)] * 2), "GaussianNoise at most once, got 2"),
        (lambda: Augment([], seed=-1), r"seed must be in \[0, 2\*\*64\), got -1"),
        (lambda: Augment([])(X[0]), r"images must be uint8 or float32 of shape .*, got uint8 of shape \(12, 15, 3\)"),
        (lambda: Augment([])(X.astype("f8")), "images must be uint8 or float32 .* got float64"),
        (lambda: Augment([])(X[:, :0]), "sizes >= 1"),
        (lambda: Augment([])(X, samples=[1]), "samples must be 7 numbers, one an image, got 1"),
        (lambda: Augment([])({"images": X, "labels": [1]}), "labels must hold 7 items, one an image, got 1"),
        (lambda: Augment([])({"images": X, "depth": X}), "images may come with labels, .*, got depth"),
        (lambda: Augment([])({"images": X, "keypoints": np.zeros((7, 2))}), r"keypoints must have shape \(n, k, 2\)"),
        (lambda: Augment([])({"images": X, "bounding_boxes": np.zeros((7, 2))}), r"must have shape \(n, k, 4\)"),
        (lambda: Augment([])({"images": X, "segmentation_masks": X / 2}), r"masks must be whole numbers \(n, ih, iw\)"),
        (lambda: Augment([LAYERS["mixup"]])({"images": X, "labels": np.arange(7)}), "labels must be one-hot"),
        (lambda: Augment([LAYERS["mixup"]])({"images": X, "keypoints": X}), "keypoints must be left out with MixUp"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rejects_other_types_and_rows():
    with pytest.raises(TypeError, match=r"layers must be augmentation layers of tapwise\.layers, got <tapwise"):
        Augment([layers.Flatten()])
    with pytest.raises(IndexError, match=r"rows must be in \[0, 7\), got 0 to 7"):
        Augment([])(X, rows=[0, 7])
    assert Augment([LAYERS["rotation"], LAYERS["cutmix"]])(X[:0]).shape == (0, 12, 15, 3)


def test_philox_gives_its_known_answers():
    """Random123's kat_vectors of philox4x32 10."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    counters = np.array([[0] * 4, [2**32 - 1] * 4, pi], np.uint32)
    keys = [(0, 0), (2**32 - 1, 2**32 - 1), (0xA4093822, 0x299F31D0)]
    got = [
        "".join(f"{int(word):08x}" for word in philox(c[:, None], key)[:, 0])
        for c, key in zip(counters, keys, strict=True)
    ]
    assert got == [
        "6627e8d5e169c58dbc57ac4c9b00dbd8",
        "408f276d41c83b0ea20bc7c66d5451fd",
        "d16cfe0994fdcceb5001e42024126ea1",
    ]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_beta_has_its_moments(alpha):
    n = 20000
    beta = Draws(1, 0, np.arange(n), 0).beta(np.full(n, alpha))
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(beta.mean() - 0.5) < 4 * np.sqrt(variance / n)
    assert abs(beta.var() / variance - 1) < 0.05
