"""Readers: what a good file gives, and what each bad one is told."""

import gzip
import struct
import sys
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tapwise import data, datasets

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """The format, stated a second time: 0, 0, type, rank, sizes, elements, all big-endian."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def numbers(dtype, shape=(3, 4, 5)):
    return np.random.default_rng(0).integers(0, 120, shape).astype(dtype)


@contextmanager
def little_memory():
    """Python and NumPy allocate less than 4 MB inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


IMAGES = idx_bytes(numbers("u1", (6, 4, 5)))
LABELS = idx_bytes(np.array([0, 1, 2, 0, 1, 2], "u1"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 3, 4, 3), (0, 28, 28)], ids=str)
@pytest.mark.parametrize("dtype", IDX_CODES)
def test_idx_round_trip(tmp_path, dtype, shape, pack):
    want = numbers(dtype, shape)
    path = tmp_path / "array-idx-ubyte"
    path.write_bytes(pack(idx_bytes(want)))
    got = data.read_idx(path)
    assert got.dtype == want.dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (b"\x89PNG\r\n", "not an IDX file: must begin with two zero bytes, type and rank, got b'\\x89PNG'"),
        (b"\0\0\x08", "not an IDX file: must begin with two zero bytes, type and rank, got b'\\x00\\x00\\x08'"),
        (b"\0\0\x07\x01\0\0\0\0", "the IDX type code must be one of 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e, got 0x07"),
        (b"\0\0\x08\0", "the IDX rank must be 1 to 8, got 0"),
        (b"\0\0\x08\xff", "the IDX rank must be 1 to 8, got 255"),
        (IMAGES[:10], "truncated inside the header of 16 bytes"),
        (IMAGES[:-1], "truncated: the header declares 120 bytes of data, found 119"),
        (IMAGES + b"\0", "too long: data goes on after the 120 bytes that the header declares"),
        (gzip.compress(IMAGES[:-1]), "truncated: the header declares 120 bytes of data, found 119"),
        (gzip.compress(IMAGES)[:-12], "the gzip stream is truncated"),
        (gzip.compress(IMAGES)[:-8] + bytes(8), "the gzip stream is damaged: CRC check failed"),
        (gzip.compress(IMAGES)[:10] + b"\xff" * 20, "the gzip stream is damaged: Error -3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_idx_rejects(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        data.read_idx(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_declared_size_is_not_allocated(tmp_path, pack):
    """2^64 - 2^33 + 1 bytes declared, ten there."""
    path = tmp_path / "huge"
    path.write_bytes(pack(struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1) + bytes(10)))
    message = "truncated: the header declares 18446744065119617025 bytes of data, found 10"
    with little_memory(), pytest.raises(ValueError, match=message):
        data.read_idx(path)


def test_idx_gzip_bomb_stops_at_the_declared_size(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(IMAGES + bytes(64 << 20)))
    with little_memory(), pytest.raises(ValueError, match="too long: data goes on after the 120 bytes"):
        data.read_idx(path)


@pytest.mark.parametrize(
    ("images", "labels", "at_fault", "message"),
    [
        (LABELS, LABELS, "images", "images must have rank 3 or 4, got shape (6,): are these the labels?"),
        (IMAGES, IMAGES, "labels", "labels must have rank 1, got shape (6, 4, 5): are these the images?"),
        (IMAGES, idx_bytes(numbers("f4", (6,))), "labels", "labels must be integers, got float32"),
        (
            IMAGES,
            LABELS[:7] + b"\5" + LABELS[8:-1],
            "labels",
            "one label per image expected, got 5 labels for 6 images",
        ),
    ],
)
def test_idx_pair_rejects(tmp_path, images, labels, at_fault, message):
    (tmp_path / "images").write_bytes(images)
    (tmp_path / "labels").write_bytes(labels)
    with pytest.raises(ValueError) as caught:
        data.read_idx_pair(tmp_path / "images", tmp_path / "labels")
    assert str(caught.value).startswith(f"{tmp_path / at_fault}: {message}")


class TestFolder:
    """Images in class/name files, written by Pillow."""

    @pytest.fixture
    def image(self):
        return pytest.importorskip("PIL.Image", reason='pip install "tapwise[images]"')

    @pytest.fixture
    def folder(self, tmp_path, image):
        pixels = numbers("u1", (2, 3, 6, 5, 3))
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / name).mkdir()
            for i in range(3):
                image.fromarray(pixels[label, i]).save(tmp_path / name / f"{i}.png")
        (tmp_path / "README").write_text("not a class")
        (tmp_path / "cat" / ".thumbnail").write_bytes(b"hidden")
        return tmp_path

    def test_reads_sorted(self, folder):
        x, y, names = data.read_folder(folder)
        np.testing.assert_array_equal(x, numbers("u1", (2, 3, 6, 5, 3)).reshape(6, 6, 5, 3))
        assert y.tolist() == [0, 0, 0, 1, 1, 1]
        assert names == ("cat", "dog")

    def test_resizes_and_converts(self, folder, image):
        x, _, _ = data.read_folder(folder, image_size=(3, 4), color_mode="grayscale")
        with image.open(folder / "dog" / "2.png") as source:
            want = np.asarray(source.convert("L").resize((4, 3), image.Resampling.BILINEAR))
        assert x.shape == (6, 3, 4, 1)
        np.testing.assert_array_equal(x[5, ..., 0], want)

    def test_turns_as_exif_says(self, tmp_path, image):
        pixels = numbers("u1", (4, 6, 3))
        exif = image.Exif()
        exif[0x0112] = 6  # the camera was turned: the rows are columns
        (tmp_path / "cat").mkdir()
        image.fromarray(pixels).save(tmp_path / "cat" / "a.png", exif=exif)
        x, _, _ = data.read_folder(tmp_path)
        np.testing.assert_array_equal(x[0], np.rot90(pixels, -1))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("empty.png", b"", "the file is empty"),
            ("text.png", b"hello", "not a readable image: cannot identify image file"),
            ("half.png", None, "not a readable image: "),
        ],
    )
    def test_names_the_unreadable_file(self, folder, name, content, message):
        path = folder / "dog" / name
        path.write_bytes((folder / "dog" / "0.png").read_bytes()[:60] if content is None else content)
        with pytest.raises(ValueError) as caught:
            data.read_folder(folder)
        assert str(caught.value).startswith(f"{path}: {message}")

    def test_names_the_odd_sized_file(self, folder, image):
        image.new("RGB", (9, 8)).save(folder / "dog" / "odd.png")
        with pytest.raises(ValueError) as caught:
            data.read_folder(folder)
        first = folder / "cat" / "0.png"
        want = f"{folder / 'dog' / 'odd.png'}: 8x9 pixels, but {first} has 6x5: give image_size to resize all"
        assert str(caught.value) == want

    def test_refuses_sixteen_bits(self, folder, image):
        image.fromarray(np.full((6, 5), 300, np.uint16)).save(folder / "dog" / "deep.png")
        with pytest.raises(ValueError, match=r"deep\.png: .*pixels must have 8 bits, got Pillow's mode I"):
            data.read_folder(folder)

    def test_refuses_empty_folders(self, tmp_path):
        with pytest.raises(ValueError, match="expected one sub-folder of images per class, found no sub-folder"):
            data.read_folder(tmp_path)
        (tmp_path / "cat").mkdir()
        with pytest.raises(ValueError, match="cat: the class has no images"):
            data.read_folder(tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"color_mode": "cmyk"}, "color_mode must be one of grayscale, rgb, rgba, got 'cmyk'"),
            ({"image_size": (0, 4)}, r"image_size must be two sizes >= 1 \(height, width\), got \(0, 4\)"),
        ],
    )
    def test_rejects_options(self, folder, options, message):
        with pytest.raises(ValueError, match=message):
            data.read_folder(folder, **options)

    def test_read_splits_by_class(self, folder):
        got = data.read(folder, test_size=0.3)
        assert (got.y_train.tolist(), got.y_test.tolist(), got.class_names) == ([0, 0, 1, 1], [0, 1], ("cat", "dog"))

    def test_read_takes_given_parts(self, folder, tmp_path_factory):
        root = tmp_path_factory.mktemp("parts")
        (root / "train").symlink_to(folder)
        (root / "test").symlink_to(folder)
        got = data.read(root)
        np.testing.assert_array_equal(got.x_train, got.x_test)
        assert got.class_names == ("cat", "dog")


def arrays(**change):
    """What a good .npz holds."""
    x, y = numbers("u1", (6, 4, 5, 1)), np.array([0, 1, 2, 0, 1, 2])
    return {"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3]} | change


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    want = arrays(x_train=np.asfortranarray(numbers(">f4", (6, 4, 5))), x_test=numbers("f8", (3, 4, 5)))
    save(tmp_path / "set.npz", **want)
    got = data.read(tmp_path / "set.npz")
    assert got.x_train.flags.c_contiguous
    assert got.x_train.dtype == np.float32
    np.testing.assert_array_equal(got.x_train, want["x_train"][..., None])
    np.testing.assert_array_equal(got.x_test, want["x_test"][..., None])
    np.testing.assert_array_equal(got.y_test, want["y_test"])
    assert got.class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"set\.npz: image_size belongs to a folder of images, got \(4, 4\)"):
        data.read(tmp_path / "set.npz", image_size=(4, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, r"y_test\]: must be of integers or floats, got object"),
        ({"x_train": np.zeros((6, 4))}, r"x_train must have shape \(n, ih, iw\) or .*, got \(6, 4\)"),
        ({"x_test": np.zeros((0, 4, 5, 1))}, r"x_test must have shape .* sizes >= 1, got \(0, 4, 5, 1\)"),
        ({"x_test": np.zeros((3, 4, 4, 1))}, r"one shape, got \(4, 5, 1\) in x_train, \(4, 4, 1\) in x_test"),
        ({"y_train": np.arange(5)}, r"y_train must be 6 integers, one an image, got int64 of shape \(5,\)"),
        ({"y_train": np.zeros(6)}, r"y_train must be 6 integers, one an image, got float64 of shape \(6,\)"),
        ({"y_train": np.zeros(6, int)}, "y_train must have two labels or more, got only 0"),
        ({"y_train": np.arange(6) * 2}, "y_train must have every label from 0 to 10, its largest; 1 is missing"),
        ({"y_train": np.arange(6) - 1}, "labels must be >= 0, got -1 in y_train"),
        ({"y_test": np.array([0, 1, 3])}, "y_test must have the labels of y_train, 0 to 2, got 3"),
        ({"x_train": np.full((6, 4, 5), np.nan)}, "x_train must be finite, it holds NaN or infinity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_npz_rejects(tmp_path, change, message):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays(**change))
    with pytest.raises(ValueError, match=message) as caught:
        data.read(path)
    assert str(caught.value).startswith(str(path))


def test_npz_rejects_damage(tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(b"PK, but no archive")
    with pytest.raises(ValueError, match=r"not a readable \.npz file: File is not a zip file"):
        data.read(path)
    np.savez(path, **{name: array for name, array in arrays().items() if name != "y_train"})
    with pytest.raises(ValueError, match="must hold the arrays x_train, y_train, x_test, y_test; y_train is missing"):
        data.read(path)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,)}"
    np.savez(path, **{name: array for name, array in arrays().items() if name != "x_train"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(10))
    message = r"x_train\]: truncated: the header declares 1099511627776 bytes .* found 10"
    with little_memory(), pytest.raises(ValueError, match=message):
        data.read(path)


def test_read_finds_idx_files(tmp_path):
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(IMAGES)
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(LABELS))
    got = data.read(tmp_path)
    np.testing.assert_array_equal(got.x_test, numbers("u1", (6, 4, 5))[..., None])
    assert got.y_train.tolist() == [0, 1, 2, 0, 1, 2]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"no file t10k-labels\* or test-labels\* beside the other IDX files"):
        data.read(tmp_path)


def test_read_names_a_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read(tmp_path / "nowhere")


def test_digits():
    pytest.importorskip("sklearn", reason='pip install "tapwise[demo]"')
    (x_train, y_train), (x_test, y_test) = datasets.load_digits(seed=1)
    assert x_train.shape == (1438, 8, 8, 1)
    assert x_test.shape == (359, 8, 8, 1)
    assert (x_train.dtype, x_train.max()) == (np.uint8, 16)
    assert np.bincount(y_train).min() == 139
    assert np.bincount(y_test).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="apt-get install dataset-fashion-mnist"
)
def test_fashion_mnist():
    (x_train, y_train), (x_test, y_test) = datasets.load_fashion_mnist()
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert abs(x_train.mean() - 72.94) < 0.01  # published: 0.2860 of 255


def test_missing_data_says_how_to_install_it(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        datasets.load_fashion_mnist(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "tapwise\[demo\]"'):
        datasets.load_digits()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(b"0")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "tapwise\[images\]"'):
        data.read_folder(tmp_path)
