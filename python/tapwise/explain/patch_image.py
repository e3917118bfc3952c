"""Large images: arrays, memory maps, files and iterators of bands, read region by region."""

from __future__ import annotations

import os
import tempfile
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .draw import need

Array = NDArray[Any]


class LargeImage(NamedTuple):
    """pixels (h, w) or (h, w, c), perhaps in a file; millimetres between pixels (down, across) where the file knows."""

    pixels: Array
    spacing: tuple[float, float] | None = None

    @property
    def channels(self) -> int:
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]

    def region(self, top: int, left: int, height: int, width: int) -> Array:
        """(height, width, c) in the image's own type."""
        found = self.pixels[top : top + height, left : left + width]
        return found[..., None] if found.ndim == 2 else found

    def digest(self) -> int:
        """A number that changes with what the image shows: of its shape, type, and 64 of its rows."""
        rows = np.unique(np.linspace(0, len(self.pixels) - 1, 64).astype(int))
        value = zlib.crc32(f"{self.pixels.shape} {self.pixels.dtype}".encode())
        for row in rows:
            value = zlib.crc32(np.ascontiguousarray(self.pixels[row]).tobytes(), value)
        return value


def large_image(image: Any, channels: int | None = None) -> LargeImage:
    """image: an array (h, w) or (h, w, c), a path (read_image), or an iterator of bands of rows, top to bottom.

    channels, if given, is what there must be: a file's colours are made grey, its grey repeated, for 1 or 3.
    Raises ValueError on another shape, TypeError on what holds no numbers.
    """
    if isinstance(image, (str, os.PathLike)):
        found = read_image(image, channels)
    elif isinstance(image, LargeImage):
        found = image
    elif hasattr(image, "__array__") or isinstance(image, memoryview):
        found = LargeImage(image if isinstance(image, np.ndarray) else np.asarray(image))
    elif hasattr(image, "__dlpack__"):
        found = LargeImage(np.from_dlpack(image))
    elif isinstance(image, Iterable):
        found = LargeImage(joined(image))
    else:
        raise TypeError(f"image must be an array, a path or an iterator of bands, got {type(image).__name__}")
    pixels = found.pixels
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(f"image must hold numbers (h, w) or (h, w, c), got {pixels.dtype} of shape {pixels.shape}")
    if channels is not None and found.channels != channels:
        raise ValueError(f"image must have {channels} channels as the model's input, got {found.channels}")
    return found


def joined(bands: Iterable[Any]) -> Array:
    """The bands one below the other, in a temporary file that goes with the array."""
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.float32)
    rows = 0
    with tempfile.TemporaryFile() as file:
        for each in bands:
            band = np.ascontiguousarray(each)
            if not rows:
                shape, dtype = band.shape[1:], band.dtype
            if band.ndim not in (2, 3) or band.shape[1:] != shape or band.dtype != dtype:
                raise ValueError(f"bands must be {dtype} of shape (rows, *{shape}), got {band.dtype} {band.shape}")
            file.write(band.data)
            rows += len(band)
        file.flush()
        if not rows:
            raise ValueError("bands must hold rows, got none")
        return np.memmap(file, dtype, "r", shape=(rows, *shape))


def read_image(path: str | os.PathLike[str], channels: int | None = None) -> LargeImage:
    """An .npy file (mapped, not read), DICOM (.dcm), or what Pillow reads: PNG, TIFF, JPEG; 16-bit grey stays uint16.

    channels 1 or 3: bytes in colour are made grey, grey repeated. Raises ValueError naming the file if it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image must be a file that exists, got {path}")
    try:
        if path.suffix == ".npy":
            return LargeImage(np.load(path, mmap_mode="r", allow_pickle=False))
        with path.open("rb") as file:
            is_dicom = file.read(132)[128:] == b"DICM"
        if is_dicom or path.suffix.lower() == ".dcm":
            return read_dicom(path, channels)
        return LargeImage(with_channels(read_pillow(path), channels))
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path}: not an image that can be read: {error}") from error


def read_pillow(path: Path) -> Array:
    """(h, w) or (h, w, 3): bytes, uint16, int32 or float32."""
    module = need("PIL.Image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", module.DecompressionBombWarning)  # an error follows from twice its limit on
        try:
            image = module.open(path)
        except module.DecompressionBombError as error:
            raise ValueError(f"{error}; an .npy file may be of any size") from None
        with image:
            if image.mode.startswith("I;16"):
                return np.asarray(image, np.uint16)
            if image.mode in ("I", "F", "L", "RGB"):
                return np.asarray(image)
            grey = image.mode in ("1", "LA", "La")
            return np.asarray(image.convert("L" if grey else "RGB"))


def with_channels(pixels: Array, channels: int | None) -> Array:
    if channels == 3 and pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, -1)
    if channels == 1 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return np.asarray(pixels @ np.array([299, 587, 114]) / 1000).round().astype(np.uint8)  # ITU-R BT.601
    return pixels


def read_dicom(path: Path, channels: int | None) -> LargeImage:
    """One frame of a DICOM file, in the units of its rescaling if it has one; MONOCHROME1 is turned, high is bright."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError('DICOM files need pydicom: pip install "tapwise[dicom]"') from error
    try:
        data = pydicom.dcmread(path)
        pixels: Array = data.pixel_array
    except (pydicom.errors.InvalidDicomError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        raise ValueError(f"it must hold one frame, got {data.NumberOfFrames}")
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if data.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - (pixels - pixels.min())
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    return LargeImage(with_channels(pixels, channels), (float(spacing[0]), float(spacing[1])) if spacing else None)
