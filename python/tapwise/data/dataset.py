"""Whatever images a path leads to, ready to train on: read(path) -> Dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .folder import read_folder
from .idx import read_idx_pair
from .npz import read_npz
from .split import stratified_split


class Dataset(NamedTuple):
    """x (n, ih, iw, c) uint8 or float, y (n,) int64 in [0, classes), for training and for the test."""

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]


def read(
    path: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    color_mode: str = "rgb",
    test_size: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """An .npz file, a folder of IDX files or a folder of images -> checked training and test images.

    - .npz: x_train, y_train, x_test, y_test, as Keras' datasets are stored;
    - IDX: train-images*, train-labels*, t10k-images*, t10k-labels* (or test-*), gzip or plain;
    - images: train/class/image and test/class/image, or class/image, of which test_size of each class becomes the
      test part by seed. image_size and color_mode are read_folder's.

    Raises ValueError naming the file and what is wrong with it.
    """
    path = Path(path)
    is_idx = any(path.glob("*-images*"))
    if image_size is not None and (path.is_file() or is_idx):
        raise ValueError(f"{path}: image_size belongs to a folder of images, got {image_size}")
    if path.is_file():
        (x_train, y_train), (x_test, y_test) = read_npz(path)
        names: tuple[str, ...] = ()
    elif is_idx:
        x_train, y_train = read_idx_pair(*_idx_pair(path, "train"))
        x_test, y_test = read_idx_pair(*_idx_pair(path, "t10k", "test"))
        names = ()
    elif (path / "train").is_dir() and (path / "test").is_dir():
        x_train, y_train, names = read_folder(path / "train", image_size=image_size, color_mode=color_mode)
        x_test, y_test, test_names = read_folder(path / "test", image_size=image_size, color_mode=color_mode)
        if names != test_names:
            raise ValueError(f"{path}: train and test must have the same classes, got {names} and {test_names}")
    else:
        x, y, names = read_folder(path, image_size=image_size, color_mode=color_mode)
        (x_train, y_train), (x_test, y_test) = stratified_split(x, y, test_size=test_size, seed=seed)
    return checked(path, x_train, y_train, x_test, y_test, names)


def checked(
    path: str | os.PathLike[str],
    x_train: NDArray[Any],
    y_train: NDArray[Any],
    x_test: NDArray[Any],
    y_test: NDArray[Any],
    names: tuple[str, ...] = (),
) -> Dataset:
    """The arrays as a Dataset, images with a channel axis; ValueError naming path and the array that doesn't fit."""
    x_train, y_train = _checked_part(path, "train", x_train, y_train)
    x_test, y_test = _checked_part(path, "test", x_test, y_test)
    if x_train.shape[1:] != x_test.shape[1:]:
        shapes = f"{x_train.shape[1:]} in x_train, {x_test.shape[1:]} in x_test"
        raise ValueError(f"{path}: images must have one shape, got {shapes}")
    present = np.unique(y_train)
    if len(present) < 2:
        raise ValueError(f"{path}: y_train must have two labels or more, got only {present[0]}")
    if present[-1] != len(present) - 1:
        missing = int(np.setdiff1d(np.arange(len(present)), present)[0])
        raise ValueError(
            f"{path}: y_train must have every label from 0 to {present[-1]}, its largest; {missing} is missing"
        )
    if y_test.max() > present[-1]:
        raise ValueError(f"{path}: y_test must have the labels of y_train, 0 to {present[-1]}, got {y_test.max()}")
    return Dataset(x_train, y_train, x_test, y_test, names or tuple(str(label) for label in present))


def _checked_part(
    path: str | os.PathLike[str], part: str, x: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if x.ndim == 3:
        x = x[..., None]
    if y.ndim == 2 and y.shape[1] == 1:  # as Keras stores CIFAR
        y = y[:, 0]
    if x.ndim != 4 or x.size == 0:
        raise ValueError(f"{path}: x_{part} must have shape (n, ih, iw) or (n, ih, iw, c), sizes >= 1, got {x.shape}")
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: y_{part} must be {len(x)} integers, one an image, got {y.dtype} of shape {y.shape}")
    if y.min() < 0:
        raise ValueError(f"{path}: labels must be >= 0, got {y.min()} in y_{part}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError(f"{path}: x_{part} must be finite, it holds NaN or infinity")
    return x, y.astype(np.int64)


def _idx_pair(path: Path, *prefixes: str) -> tuple[Path, Path]:
    return _idx_file(path, prefixes, "images"), _idx_file(path, prefixes, "labels")


def _idx_file(path: Path, prefixes: tuple[str, ...], kind: str) -> Path:
    """The plain file where the packed one lies beside it."""
    for prefix in prefixes:
        for file in sorted(path.glob(f"{prefix}-{kind}*")):
            return file
    wanted = " or ".join(f"{prefix}-{kind}*" for prefix in prefixes)
    raise ValueError(f"{path}: no file {wanted} beside the other IDX files")
