"""Folders of images that are read batch by batch: for sets that don't fit into memory, by Keras' name and arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batches import Batches
from .folder import MODES, list_files, read_image
from .labels import to_categorical

FILTERS = {"bilinear": "BILINEAR", "nearest": "NEAREST", "bicubic": "BICUBIC", "area": "BOX", "lanczos3": "LANCZOS"}
LABEL_MODES = ("int", "categorical", "binary", None)
SUBSETS = (None, "training", "validation", "both")


class Images:
    """Image files as an array (n, ih, iw, channels) of uint8, of which x[rows] reads the rows."""

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], image_size: tuple[int, int], mode: str, resample: str) -> None:
        self.files, self.image_size, self.mode, self.resample = list(files), image_size, mode, resample
        self.shape = (len(self.files), *image_size, {"L": 1, "RGB": 3, "RGBA": 4}[mode])
        self.ndim = 4

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        found = [read_image(self.files[row], self.image_size, self.mode, self.resample) for row in rows]
        return np.stack(found) if found else np.zeros((0, *self.shape[1:]), np.uint8)


class DirectoryBatches(Batches):
    """Batches of Images, with the names of the classes and the files in their order before shuffling."""

    class_names: tuple[str, ...]
    file_paths: list[str]


def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int = 32,
    image_size: tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    *,
    augment: Any = None,
    workers: int = 2,
) -> Any:
    """directory/class/image -> batches of x (n, ih, iw, c) float32 in [0, 255] and y, for fit, evaluate and predict.

    label_mode: "int" (n,), "categorical" one-hot (n, classes), "binary" 0.0 or 1.0 (n, 1) or None. labels: "inferred"
    from the sub-folders, whole numbers in the order of the sorted files, or None, then the files lie in directory
    itself. class_names chooses and orders the sub-folders. subset "training", "validation" or "both", a pair:
    validation_split of the files, drawn by seed, are the validation part. augment is a data.Augment, whose images are
    in [-1, 1]. A file is read when its batch is made, by `workers` threads. Raises ValueError naming what is wrong.
    """
    for name, value, known in (("label_mode", label_mode, LABEL_MODES), ("color_mode", color_mode, (*MODES,)),
                               ("interpolation", interpolation, (*FILTERS,)), ("subset", subset, SUBSETS)):  # fmt: skip
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")
    if (validation_split is None) != (subset is None) or not 0 < (validation_split or 0.5) < 1:
        raise ValueError(f"validation_split in (0, 1) and subset go together, got {validation_split} and {subset!r}")
    if subset and shuffle and seed is None:
        raise ValueError("seed must be given with subset and shuffle: the parts would overlap without it")
    files, y, names = labelled(Path(directory), labels, class_names)
    targets = with_mode(y, None if labels is None else label_mode, len(names))
    order = np.random.default_rng(seed or 0).permutation(len(files)) if shuffle else np.arange(len(files))
    count = round(len(files) * (validation_split or 0))
    if subset and not 0 < count < len(files):
        raise ValueError(f"validation_split must leave files on both sides, got {validation_split} of {len(files)}")
    rows = {None: [order], "training": [order[: len(files) - count]], "validation": [order[len(files) - count :]]}
    made = []
    for number, part in enumerate(rows[subset] if subset != "both" else rows["training"] + rows["validation"]):
        x = Images([files[i] for i in part], image_size, MODES[color_mode], FILTERS[interpolation])
        batches = DirectoryBatches(
            x, None if targets is None else targets[part], batch_size=batch_size, shuffle=shuffle, seed=seed or 0,
            workers=workers, augment=augment if number == 0 and subset != "validation" else None,
        )  # fmt: skip
        batches.class_names, batches.file_paths = names, [str(file) for file in x.files]
        made.append(batches)
    return made[0] if len(made) == 1 else tuple(made)


def labelled(
    directory: Path, labels: str | Sequence[int] | None, class_names: Sequence[str] | None
) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    """Files, their classes, and the classes' names."""
    if labels is None:
        found = sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith("."))
        if not found:
            raise ValueError(f"{directory}: found no images; without labels they lie in the folder itself")
        return found, np.zeros(len(found), np.int64), ()
    by_class = list_files(directory)
    if class_names is not None:
        if set(class_names) - set(by_class):
            raise ValueError(f"class_names must be sub-folders, {', '.join(by_class)}, got {', '.join(class_names)}")
        by_class = {name: by_class[name] for name in class_names}
    files = [file for class_files in by_class.values() for file in class_files]
    if isinstance(labels, str):
        if labels != "inferred":
            raise ValueError(f'labels must be "inferred", whole numbers or None, got {labels!r}')
        y = np.repeat(np.arange(len(by_class)), [len(class_files) for class_files in by_class.values()])
        return files, y, tuple(by_class)
    y = np.asarray(labels)
    if y.shape != (len(files),) or y.dtype.kind not in "iu":
        raise ValueError(f"labels must be a whole number for each of {len(files)} files, got shape {y.shape}")
    return files, y.astype(np.int64), tuple(str(i) for i in range(int(y.max()) + 1))


def with_mode(y: NDArray[np.int64], label_mode: str | None, classes: int) -> NDArray[Any] | None:
    if label_mode == "categorical":
        return to_categorical(y, classes)
    if label_mode == "binary":
        if classes != 2:
            raise ValueError(f'label_mode "binary" needs two classes, got {classes}')
        return y[:, None].astype(np.float32)
    return y if label_mode == "int" else None
