"""Weights in .npz files: what comes back, and what is refused with the model untouched."""

import os

import numpy as np
import pytest

import tapwise
from tapwise import layers
from tapwise.saving import load_weights, save_weights


def model(units=3):
    return tapwise.Sequential(
        [
            tapwise.Input((6, 6, 2)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(units),
        ]
    )


def test_round_trip(tmp_path):
    first, second = model(), model()
    save_weights(tmp_path / "weights", first)
    load_weights(tmp_path / "weights", second)
    for got, want in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)
    with np.load(tmp_path / "weights") as file:
        assert file.files[:4] == [
            "conv2d/kernel", "conv2d/bias", "batch_normalization/gamma", "batch_normalization/beta"
        ]  # fmt: skip
    assert os.listdir(tmp_path) == ["weights"]


def test_a_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    save_weights(path, model())
    before = path.read_bytes()

    def savez(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, model())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["weights.npz"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    save_weights(tmp_path / "link", model())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").is_file()


def test_rejects(tmp_path):
    path = tmp_path / "weights.npz"
    target = model()
    before = target.get_weights()
    for content, message in (
        (b"", "got one that begins with b''"),
        (b"text", "got one that begins with b'text'"),
        (b"PK\3\4", "a damaged or truncated zip: File is not a zip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"weights\.npz: .*{message}"):
            load_weights(path, target)
    save_weights(path, model(units=4))
    with pytest.raises(ValueError, match=r"weights\.npz .*dense/kernel must be \(64, 3\), got \(64, 4\)"):
        load_weights(path, target)
    save_weights(path, tapwise.Sequential([tapwise.Input((4,)), layers.Dense(2)]))
    lists = r"missing: conv2d/kernel .*; of another shape: dense/kernel must be \(64, 3\), got \(4, 2\)"
    with pytest.raises(ValueError, match=lists):
        load_weights(path, target)
    for got, want in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
