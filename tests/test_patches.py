"""explain.probability_map: every patch's outputs, against the model on that patch; files, states, pictures, errors."""

import json
import tracemalloc

import numpy as np
import pytest

import tapwise
from tapwise import cli, explain, layers
from tapwise.explain.patch_image import large_image, read_image

H, W, C, PATCH = 97, 131, 2, (20, 24)


def randomized(model, rng):
    weights = [w.value + 0.1 * rng.standard_normal(w.shape) for w in model.weights]
    model.set_weights(
        [np.abs(w) if p.name.endswith("variance") else w for p, w in zip(model.weights, weights, strict=True)]
    )
    return model


def plain(padding="valid"):
    return tapwise.Sequential(
        [
            tapwise.Input((*PATCH, C)),
            layers.RandomFlip(),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu", padding=padding),
            layers.BatchNormalization(),
            layers.MaxPooling2D(padding=padding),
            layers.Conv2D(6, (3, 2), padding=padding),
            layers.PReLU(shared_axes=(1, 2)),
            layers.MaxPooling2D((2, 1), padding=padding),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(),
            layers.Dense(3, "softmax"),
        ]
    )


def branches():
    x = tapwise.Input((*PATCH, C))
    y = layers.Add()([layers.Conv2D(4, 5)(x), layers.Cropping2D(2)(layers.Conv2D(4, 1)(x))])
    y = layers.Concatenate(axis=3)([y, layers.Activation("tanh")(y)])
    y = layers.AveragePooling2D(2)(layers.DepthwiseConv2D(3)(layers.SeparableConv2D(5, 3, 2)(y)))
    both = [layers.GlobalMaxPooling2D()(y), layers.GlobalAveragePooling2D()(y)]
    return tapwise.Model(x, layers.Dense(3, "softmax")(layers.Concatenate(axis=1)(both)))


def strided():
    return tapwise.Sequential(
        [
            tapwise.Input((*PATCH, C)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 5, 5, activation="relu"),
            layers.Dense(5, "relu"),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (H, W, C)).astype(np.uint8)


def by_hand(model, image, step):
    rows = range(0, image.shape[0] - PATCH[0] + 1, step[0])
    columns = range(0, image.shape[1] - PATCH[1] + 1, step[1])
    patches = np.stack([image[i : i + PATCH[0], j : j + PATCH[1]] for i in rows for j in columns])
    return model.predict(patches, verbose=0).reshape(len(rows), len(columns), -1)


@pytest.mark.parametrize("network", [plain, branches, strided], ids=lambda f: f.__name__)
@pytest.mark.parametrize("step", [(4, 4), (3, 5), (1, 7), (25, 30)], ids=str)
def test_a_valid_network_gives_what_it_gives_on_each_patch(network, step, image, rng):
    """Steps that its strides divide and others, tiles of one patch and larger than the image."""
    model = randomized(network(), rng)
    want = by_hand(model, image, step)
    assert np.ptp(want) > 0.02
    for tile in (24, 50, 500):
        found = explain.probability_map(model, image, stride=step, tile=tile, verbose=0)
        assert found.method == "shared"
        np.testing.assert_allclose(found.to_numpy(), want, rtol=0, atol=1e-5, err_msg=str(tile))
        assert found.deviation < 1e-5


def test_a_one_pixel_map_may_be_flattened_last(image, rng):
    model = tapwise.Sequential(
        [tapwise.Input((*PATCH, C)), layers.Conv2D(3, PATCH, activation="sigmoid"), layers.Flatten()]
    )
    found = explain.probability_map(randomized(model, rng), image, stride=6, verbose=0)
    np.testing.assert_allclose(found.values, by_hand(model, image, (6, 6)), rtol=0, atol=1e-5)
    assert found.method == "shared"


def test_padded_networks_have_a_deviation_that_tiles_do_not_change(image, rng):
    model = randomized(plain("same"), rng)
    want = by_hand(model, image, (4, 4))
    exact = explain.probability_map(model, image, stride=4, exact=True, tile=40, verbose=0)
    np.testing.assert_allclose(exact.values, want, rtol=0, atol=1e-6)
    shared = [explain.probability_map(model, image, stride=4, tile=tile, verbose=0) for tile in (40, 64, 500)]
    for each in shared:
        np.testing.assert_allclose(each.values, shared[0].values, rtol=0, atol=1e-6)
    off = float(np.abs(shared[0].values - want).max())
    assert exact.deviation == pytest.approx(off, abs=1e-6)
    assert 0.3 * off < shared[0].deviation <= off + 1e-6
    assert off > 1e-3


def test_what_cannot_be_shared_goes_patch_by_patch_and_says_why(image, rng):
    model = tapwise.Sequential(
        [
            tapwise.Input((*PATCH, C)),
            layers.Conv2D(4, 3, 2),
            layers.LayerNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    found = explain.probability_map(randomized(model, rng), image, stride=9, batch_size=7, tile=60, verbose=0)
    assert (found.method, found.reason) == (
        "patches",
        "layer_normalization, LayerNormalization, can't be shared by patches",
    )
    np.testing.assert_allclose(found.values, by_hand(model, image, (9, 9)), rtol=0, atol=1e-4)
    assert np.isnan(found.deviation)


def test_the_model_stays_as_it_was(image, rng):
    model = randomized(plain(), rng)
    before, nodes = model.get_weights(), [len(layer.nodes) for layer in model.layers]
    tapwise.set_random_seed(4)
    state = tapwise.initializers.get("normal")((3,), np.float32)
    tapwise.set_random_seed(4)
    explain.probability_map(model, image, verbose=0)
    np.testing.assert_array_equal(tapwise.initializers.get("normal")((3,), np.float32), state)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [len(layer.nodes) for layer in model.layers] == nodes


def test_an_interrupted_map_goes_on(image, rng, tmp_path, monkeypatch):
    model, state = randomized(plain(), rng), tmp_path / "map.npy"
    options = {"stride": 4, "tile": 40, "verbose": 0}
    want = explain.probability_map(model, image, **options).to_numpy()
    job = explain.patches.Job
    together, calls = job.together, []

    def interrupted(self, tile, pixels, shared):
        calls.append(tile)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return together(self, tile, pixels, shared)

    monkeypatch.setattr(job, "together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain.probability_map(model, image, **options, state=state)
    done = np.isfinite(np.load(state)).mean()
    assert 0 < done < 1
    calls[:] = [None] * 10
    found = explain.probability_map(model, image, **options, state=state)
    np.testing.assert_array_equal(found.to_numpy(), want)
    total = len(calls) - 10 + 5
    calls[:] = [None] * 10
    explain.probability_map(model, image, **options)
    assert len(calls) - 10 == total  # the five that were done weren't done again
    for change in ({"stride": 5}, {"scale": 2.0}, {"image": image + 1}, {"model": randomized(plain(), rng)}):
        given = {"model": model, "image": image, **options, "state": state, **change}
        with pytest.raises(ValueError, match=r"state must be of the same map, got .*map.npy with other"):
            explain.probability_map(given.pop("model"), given.pop("image"), **given)
    (tmp_path / "map.npy.json").write_text("{")
    with pytest.raises(ValueError, match="state must be a map that was begun"):
        explain.probability_map(model, image, **options, state=state)


def test_images_of_every_kind_give_the_same_map(image, rng, tmp_path):
    model = randomized(plain(), rng)
    want = explain.probability_map(model, image, verbose=0).to_numpy()
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    bands = (image[i : i + 10] for i in range(0, H, 10))
    for given in (tmp_path / "image.npy", mapped, memoryview(image), bands, image.astype(np.float64)):
        np.testing.assert_array_equal(explain.probability_map(model, given, verbose=0).values, want)
    half = explain.probability_map(model, image.astype(np.float32) * 2 - 6, scale=0.5, offset=3.0, verbose=0)
    np.testing.assert_allclose(half.values, want, rtol=0, atol=1e-5)


def test_memory_is_a_tile_and_the_map(rng, tmp_path):
    """An image of 24 MB that only its file holds, as a map in less than half of that."""
    pixels = np.lib.format.open_memmap(tmp_path / "image.npy", "w+", np.uint8, (3000, 4000, C))
    pixels[::50] = 200
    pixels.flush()
    del pixels
    model = randomized(branches(), rng)
    explain.probability_map(model, np.zeros((64, 64, C), np.uint8), verbose=0)
    tracemalloc.start()
    found = explain.probability_map(model, tmp_path / "image.npy", stride=80, tile=128, verbose=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.values.shape == (38, 50, 3)
    assert peak < 12e6


def test_pictures_and_files(image, rng, tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    model = randomized(plain(), rng)
    found = explain.probability_map(model, image, stride=4, verbose=0)
    found.values[...] = 0
    found.values[5, 10, 1] = 1  # the patch from (20, 40) on, its middle at (29.5, 51.5)
    grey = np.full((H, W), 90, np.uint8)
    shown = found.draw(grey, 1, alpha=1.0)[::3, ::3]  # small images are enlarged, by 3 here
    changed = np.argwhere((shown[:H, :W].astype(int) - shown[40, 80]).any(-1))
    middle = [each for each in changed if 20 < each[0] < 40 and 40 < each[1] < 60]
    assert sorted({row for row, _ in middle}) == [28, 29, 30, 31]
    assert sorted({column for _, column in middle}) == [50, 51, 52, 53]
    np.testing.assert_array_equal(shown[0, 60], [90, 90, 90])  # no patch has its middle there
    assert shown.shape[1] > W  # the colours' bar
    for name in ("map.png", "map.tif", "map.npy"):
        found.save(tmp_path / name, grey)
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), found.values)
    with pillow.open(tmp_path / "map.tif") as pages:
        assert pages.n_frames == 3
        pages.seek(1)
        np.testing.assert_array_equal(np.asarray(pages), found.values[..., 1])
    with pillow.open(tmp_path / "map.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), found.draw(grey))
    small = found.draw(grey, 1, largest=40)
    assert small.shape[0] == H // 4
    with pytest.raises(ValueError, match=r"class must be one of \[0, 1, 2\], got 3"):
        found.draw(grey, 3)
    with pytest.raises(ValueError, match=r"path must end in .png, .tif, .tiff or .npy, got map.jpg"):
        found.save("map.jpg")


def test_sixteen_bits_and_colours_are_read(rng, tmp_path, monkeypatch):
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    deep = rng.integers(0, 65536, (30, 40)).astype(np.uint16)
    colour = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    for name in ("deep.png", "deep.tif"):
        pillow.fromarray(deep).save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert found.pixels.dtype == np.uint16
        np.testing.assert_array_equal(found.pixels, deep)
    pillow.fromarray(colour).save(tmp_path / "colour.png")
    assert large_image(tmp_path / "colour.png", 1).pixels.shape == (30, 40)
    np.testing.assert_array_equal(large_image(tmp_path / "colour.png", 3).pixels, colour)
    assert large_image(tmp_path / "deep.png", 3).pixels.shape == (30, 40, 3)
    (tmp_path / "broken.png").write_bytes((tmp_path / "colour.png").read_bytes()[:80])
    with pytest.raises(ValueError, match=r"broken.png: not an image that can be read"):
        read_image(tmp_path / "broken.png")
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 30 * 40 - 1)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png").pixels, deep)
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 30 * 40 // 2 - 1)
    with pytest.raises(ValueError, match=r"deep.png: .*exceeds limit.*an .npy file may be of any size"):
        read_image(tmp_path / "deep.png")
    with pytest.raises(FileNotFoundError, match="image must be a file that exists"):
        read_image(tmp_path / "none.png")


def test_dicom_is_read():
    """The CT and MR images that pydicom brings: rescaled to Hounsfield units, with the distance of their pixels."""
    data = pytest.importorskip("pydicom.data", reason="pip install pydicom")
    path = data.get_testdata_file("CT_small.dcm", download=False)
    found = read_image(path)
    assert found.pixels.shape == (128, 128)
    assert found.pixels.dtype == np.float32
    assert -1100 < found.pixels.min() < -500  # air
    assert found.spacing == pytest.approx((0.661468, 0.661468))
    assert read_image(data.get_testdata_file("MR_small.dcm", download=False)).pixels.shape == (64, 64)
    with pytest.raises(ValueError, match="not an image that can be read"):
        read_image(data.get_testdata_file("SC_rgb_rle_2frame.dcm", download=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 20}, r"patch must be the size of the model's input, \(20, 24\), got 20"),
        ({"stride": 0}, "stride must be >= 1, got 0"),
        ({"classes": [3]}, r"classes must be of 0 to 2, got \[3\]"),
        ({"tile": 20}, r"tile must be >= the patch \(20, 24\)"),
        ({"image": np.zeros((10, 99, C))}, r"image must be at least as large as a patch, \(20, 24\), got \(10, 99\)"),
        ({"image": np.zeros((99, 99, 3))}, "image must have 2 channels as the model's input, got 3"),
        ({"image": np.zeros((99, 99), complex)}, "image must hold numbers"),
        ({"image": iter(())}, "bands must hold rows, got none"),
        ({"image": iter([np.zeros((3, 4)), np.zeros((3, 5))])}, "bands must be float64"),
        ({"state": "map.txt"}, "state must be a file that ends in .npy, got map.txt"),
        ({"model": tapwise.Sequential([tapwise.Input((4,)), layers.Dense(2)])}, r"model must take patches \(h, w, c\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_rejects(change, message, image):
    given = {"model": plain(), "image": image, **change}
    with pytest.raises(ValueError, match=message):
        explain.probability_map(given.pop("model"), given.pop("image"), verbose=0, **given)


def test_the_command_line(rng, tmp_path, capsys):
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    model = tapwise.Sequential(
        [tapwise.Input((16, 16, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, "softmax")]
    )
    model.save(tmp_path / "model.tapwise")
    pixels = rng.integers(0, 256, (64, 80)).astype(np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "scan.png")
    arguments = ["map", str(tmp_path / "model.tapwise"), str(tmp_path / "scan.png"), "--scale", "0.01"]
    assert cli.main([*arguments, "--save", str(tmp_path / "map.png"), "--save", str(tmp_path / "map.npy")]) == 0
    printed = capsys.readouterr().out
    assert "64 x 80 pixels, 13 x 17 patches of 2 classes, shared pass" in printed
    want = explain.probability_map(model, pixels, scale=0.01, verbose=0).values
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), want)
    assert cli.main([*arguments, "--exact", "--state", str(tmp_path / "state.npy")]) == 0
    assert (tmp_path / "scan-map.png").stat().st_size > 500
    assert json.loads((tmp_path / "state.npy.json").read_text())["exact"] is True
    for wrong in (["--save", "map.gif"], ["--class", "9"], ["--stride", "0"]):
        with pytest.raises(SystemExit) as end:
            cli.main([*arguments, *wrong])
        assert end.value.code == 2
