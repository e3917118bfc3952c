"""A folder of images, one sub-folder a class, read with Pillow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def read_folder(
    path: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None, color_mode: str = "rgb"
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """path/class/image -> x (n, ih, iw, 1 or 3) uint8, y (n,) int64, the sorted names of the classes.

    Every file of a class is read, in the order of the sorted names, except those whose name begins with a dot.
    image_size (ih, iw) resizes (bilinear); without it all images must have one size. Raises ImportError without
    Pillow and ValueError naming a class without images, an unreadable file or one of another size.
    """
    if color_mode not in MODES:
        raise ValueError(f"color_mode must be one of {', '.join(MODES)}, got {color_mode!r}")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise ValueError(f"image_size must be two sizes >= 1 (height, width), got {image_size}")
    files = list_files(Path(path))
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, class_files in enumerate(files.values()):
        for file in class_files:
            image = read_image(file, image_size, MODES[color_mode])
            if images and image.shape != images[0].shape:
                first = next(iter(files.values()))[0]
                raise ValueError(
                    f"{file}: {image.shape[0]}x{image.shape[1]} pixels, but {first} has "
                    f"{images[0].shape[0]}x{images[0].shape[1]}: give image_size to resize all"
                )
            images.append(image)
            labels.append(label)
    return np.stack(images), np.array(labels, np.int64), tuple(files)


def list_files(path: Path) -> dict[str, list[Path]]:
    """The files of each class, classes and files sorted by name."""
    visible = (entry for entry in sorted(path.iterdir()) if not entry.name.startswith("."))
    files = {
        folder.name: [file for file in sorted(folder.iterdir()) if not file.name.startswith(".")]
        for folder in visible
        if folder.is_dir()
    }
    if not files:
        raise ValueError(f"{path}: expected one sub-folder of images per class, found no sub-folder")
    for name, class_files in files.items():
        if not class_files:
            raise ValueError(f"{path / name}: the class has no images")
    return files


def read_image(
    file: Path, image_size: tuple[int, int] | None, mode: str, resample: str = "BILINEAR"
) -> NDArray[np.uint8]:
    """(ih, iw, channels) in Pillow's mode, resized with its filter if image_size is given."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError('reading images needs Pillow: pip install "tapwise[images]"') from None
    if file.is_file() and file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    try:
        with Image.open(file) as source:
            _check_depth(source)
            image = ImageOps.exif_transpose(source).convert(mode)
            if image_size is not None:
                image = image.resize(image_size[::-1], Image.Resampling[resample])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not a readable image: {error}") from None
    pixels = np.asarray(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _check_depth(image: Image.Image) -> None:
    """Pillow clips 16-bit and float pixels to 255 when it converts them; refused instead."""
    if image.mode not in EIGHT_BIT:
        raise ValueError(f"pixels must have 8 bits, got Pillow's mode {image.mode}")
