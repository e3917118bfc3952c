"""Pictures of maps: colours where they belong, bars of the right length, files that are complete."""

import io

import numpy as np
import pytest

from tapwise import layers
from tapwise.explain import draw

pytest.importorskip("matplotlib", reason='pip install "tapwise[explain]"')
Image = pytest.importorskip("PIL.Image", reason='pip install "tapwise[explain]"')


def test_colours_are_those_of_the_map_and_nan_is_white():
    values = np.array([[0, 1], [np.nan, 2]])
    found = draw.colours(values, "gray", 0, 1)
    np.testing.assert_array_equal(found[..., 0], [[0, 255], [255, 255]])
    assert (found[0, 0] == found[0, 0, 0]).all()


def test_pictures_of_bytes_and_of_numbers():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2)
    np.testing.assert_array_equal(draw.picture(image), np.repeat(image[..., None], 3, -1))
    np.testing.assert_array_equal(draw.picture(np.array([[-1.0, 1.0]]))[..., 1], [[0, 255]])
    assert draw.picture(np.full((2, 3, 4), 7.0)).shape == (2, 3, 3)


def test_an_overlay_mixes_by_alpha_and_fades_to_the_image():
    image = np.full((4, 4, 3), 100, np.uint8)
    values = np.zeros((4, 4))
    values[1, 2] = 1.0
    plain = draw.overlay(image, values, alpha=0.5, colour_map="gray")
    assert (plain[1, 2] == 178).all()
    assert (plain[0, 0] == 50).all()
    faded = draw.overlay(image, values, alpha=0.5, colour_map="gray", fade=True)
    assert (faded[1, 2] == 178).all()
    assert (faded[0, 0] == 100).all()
    values[0, 0] = np.nan
    assert (draw.overlay(image, values)[0, 0] == 100).all()


def test_resizing_is_exact_on_ramps_and_agrees_with_the_layer(rng):
    ramp = np.arange(8.0)
    np.testing.assert_allclose(draw.resized(ramp, (16,))[1:-1], np.arange(0.25, 7, 0.5))
    small = rng.random((3, 4, 5))
    assert draw.resized(small, (6, 4, 10)).shape == (6, 4, 10)
    image = rng.random((1, 5, 7, 1)).astype(np.float32)
    want = layers.Resizing(12, 20)(image)[0, ..., 0]
    np.testing.assert_allclose(draw.resized(image[0, ..., 0], (12, 20)), want, atol=1e-6)


def test_a_scale_bar_has_its_length():
    picture = draw.scale_bar(np.full((80, 120, 3), 200, np.uint8), 40, "1 mm")
    black = (picture[80 - 6 - 9] == 0).all(-1)
    assert black.sum() == 40
    with pytest.raises(ValueError, match=r"length must be in \[1, 96\] pixels of the picture, got 100"):
        draw.scale_bar(picture, 100, "x")


def test_bars_titles_and_grids_keep_the_picture():
    base = np.full((40, 50, 3), 90, np.uint8)
    assert (draw.colour_bar(base, 0, 1, label="p")[:, :50] == 90).all()
    titled = draw.titled(base, "two\nlines")
    assert (titled[-40:] == 90).all()
    assert titled[:-40].min() < 50
    sheet = draw.grid([base] * 3, ["a", "b", "c"], columns=2)
    assert sheet.shape[1] == 2 * 56 + 6
    assert (sheet == 90).all(-1).sum() == 3 * 40 * 50


def test_files_are_png_and_replaced_when_complete(tmp_path):
    base = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    draw.save_png(tmp_path / "a.png", base)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), base)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(draw.png(base)))), base)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.picture(np.zeros((2, 2, 2))), r"image must be \(h, w\) or \(h, w, 1, 3 or 4\), got \(2, 2, 2\)"),
        (lambda: draw.colours(np.zeros((2, 2)), "no"), r"colour_map must be one of matplotlib's.* got 'no'"),
        (lambda: draw.overlay(np.zeros((2, 2)), np.zeros((2, 2)), alpha=2), r"alpha must be in \[0, 1\], got 2"),
        (lambda: draw.resized(np.zeros(3), (3, 3)), r"values must have 2 axes as \(3, 3\), got \(3,\)"),
        (lambda: draw.save_png("a.jpg", np.zeros((2, 2, 3), np.uint8)), r"path must end in .png, got a.jpg"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
