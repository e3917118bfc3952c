"""What ImageNet's networks expect of pixels, and the names of what they see."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Prediction = tuple[str, str, float]

BGR_MEAN = (103.939, 116.779, 123.68)  # of ImageNet's training images, Simonyan & Zisserman, 2014
RGB_MEAN, RGB_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the same in [0, 1]


def centred_bgr(x: ArrayLike, data_format: str | None = None) -> Array:
    """x (n, h, w, 3) or (h, w, 3), RGB in 0..255 -> BGR without the mean, float32: mode "caffe" of Keras."""
    x, axis = pixels(x, data_format)
    return np.flip(x, axis) - along(BGR_MEAN, x, axis)


def standardized(x: ArrayLike, data_format: str | None = None) -> Array:
    """x (n, h, w, 3) or (h, w, 3), RGB in 0..255 -> mean 0 and deviation 1 a channel, float32: mode "torch"."""
    x, axis = pixels(x, data_format)
    return (x / np.float32(255) - along(RGB_MEAN, x, axis)) / along(RGB_DEVIATION, x, axis)


def scaled(x: ArrayLike, data_format: str | None = None) -> Array:
    """x of any shape, 0..255 -> [-1, 1], float32: mode "tf" of Keras."""
    return np.asarray(x, np.float32) / np.float32(127.5) - np.float32(1)


def unchanged(x: ArrayLike, data_format: str | None = None) -> Array:
    """x as float32: the network itself takes RGB in 0..255."""
    return np.asarray(x, np.float32)


def pixels(x: ArrayLike, data_format: str | None) -> tuple[Array, int]:
    """x as float32, and the axis of its channels."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(f"data_format must be channels_last or channels_first, got {data_format!r}")
    array = np.asarray(x, np.float32)
    axis = -3 if data_format == "channels_first" else -1
    if array.ndim not in (3, 4) or array.shape[axis] != 3:
        raise ValueError(f"x must be an image or a batch of images with 3 channels, got shape {array.shape}")
    return array, axis


def along(values: Sequence[float], x: Array, axis: int) -> Array:
    return np.asarray(values, x.dtype).reshape([-1] + [1] * (-axis - 1))


def decode_predictions(
    preds: ArrayLike, top: int = 5, class_names: str | os.PathLike[str] | Sequence[str] | None = None
) -> list[list[Prediction]]:
    """preds (n, classes) -> for each image the top classes, best first, as (id, name, score).

    class_names: a list, or the path of a text file with a name a line or of Keras' imagenet_class_index.json; None for
    ImageNet's, which `pip install --no-deps timm` brings. Raises ValueError unless there are as many as classes.
    """
    scores = np.asarray(preds)
    if scores.ndim != 2:
        raise ValueError(f"preds must have shape (n, classes), got {scores.shape}")
    names = named(class_names)
    if len(names) != scores.shape[1]:
        raise ValueError(f"class_names must be as many as the classes of preds, {scores.shape[1]}, got {len(names)}")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[(*names[i], float(row[i])) for i in best] for row, best in zip(scores, order, strict=True)]


def named(class_names: str | os.PathLike[str] | Sequence[str] | None) -> list[tuple[str, str]]:
    """An id and a name for each class; the id is its number where the source has none."""
    if class_names is None:
        return imagenet_names()
    if not isinstance(class_names, (str, os.PathLike)):
        return [(str(i), name) for i, name in enumerate(class_names)]
    text = Path(class_names).read_text(encoding="utf-8")
    if Path(class_names).suffix == ".json":
        try:
            index = json.loads(text)
            return [(str(index[str(i)][0]), str(index[str(i)][1])) for i in range(len(index))]
        except (ValueError, KeyError, TypeError, IndexError):
            raise ValueError(f'{class_names}: must hold {{"0": ["n01440764", "tench"], ...}}') from None
    return [(str(i), line) for i, line in enumerate(text.splitlines()) if line]


def imagenet_names() -> list[tuple[str, str]]:
    """The 1,000 classes of ILSVRC 2012 by WordNet's numbers, from the lists in timm; that package isn't imported."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise ImportError("ImageNet's class names come with `pip install --no-deps timm`; or give class_names")
    folder = Path(spec.origin).parent / "data" / "_info"
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines if line)
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    return [(synset, lemmas[synset]) for synset in synsets]
