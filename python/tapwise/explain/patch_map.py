"""The maps that moving a classifier of patches over an image gives: drawn over it, and written to files."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..saving.weights import replacing
from . import draw
from .patch_image import LargeImage, large_image

Array = NDArray[Any]
Pair = tuple[int, int]


class ProbabilityMap:
    """values (rows, columns, classes): row i, column j is the patch from pixel (i * step, j * step) on.

    method is "shared" or "patches", and reason says why a network couldn't share. deviation: the largest difference
    between the shared pass and single patches, over a sample ("shared") or all of them (exact); NaN without a shared
    pass. spacing: millimetres between pixels, down and across, or None. seconds: what the map took.
    """

    def __init__(
        self, values: Array, classes: list[int], patch: Pair, step: Pair, image_shape: Pair, method: str, reason: str,
        deviation: float, seconds: float, spacing: tuple[float, float] | None,
    ) -> None:  # fmt: skip
        self.values, self.classes, self.patch, self.step, self.image_shape = values, classes, patch, step, image_shape
        self.method, self.reason, self.deviation, self.seconds = method, reason, deviation, seconds
        self.spacing = spacing

    def __repr__(self) -> str:
        rows, columns, _ = self.values.shape
        return (
            f"<ProbabilityMap {rows} x {columns} of classes {self.classes}, patches {self.patch} every {self.step} "
            f"pixels, {self.method}>"
        )

    def to_numpy(self) -> Array:
        """values as an array in memory."""
        return np.array(self.values)

    def of_class(self, number: int | None = None) -> Array:
        """The map (rows, columns) of a class; None: the last one."""
        if number is None:
            number = self.classes[-1]
        if number not in self.classes:
            raise ValueError(f"class must be one of {self.classes}, got {number}")
        return np.asarray(self.values[..., self.classes.index(number)])

    def draw(
        self,
        image: Any,
        number: int | None = None,
        *,
        alpha: float = 0.5,
        colour_map: str = draw.HEAT,
        label: str = "",
        low: float = 0.0,
        high: float = 1.0,
        largest: int = 1200,
        spacing: float | None = None,
    ) -> draw.Picture:
        """The map of a class as colours over the image (h, w, 3), with a bar of length and one of colours.

        Each output is a rectangle of the step's size around its patch's centre; where no patch has its centre the image
        shows. The image is reduced until no side is above `largest`, a small one enlarged up to 400. spacing:
        millimetres a pixel, for the bar of length, which else is in pixels.
        """
        found = large_image(image)
        if found.pixels.shape[:2] != self.image_shape:
            raise ValueError(f"image must be the map's, of {self.image_shape}, got {found.pixels.shape[:2]}")
        factor = max(1, math.ceil(max(self.image_shape) / largest))
        under = draw.picture(reduced(found, factor))
        lines = [self.rows_at(axis, size, factor) for axis, size in enumerate(under.shape[:2])]
        values = averaged(self.of_class(number), [max(1, factor // s) for s in self.step])
        shown = np.full(under.shape[:2], np.nan, np.float32)
        inside = [line >= 0 for line in lines]
        shown[np.ix_(*inside)] = values[np.ix_(*(line[kept] for line, kept in zip(lines, inside, strict=True)))]
        picture = draw.overlay(under, shown, alpha=alpha, colour_map=colour_map, low=low, high=high)
        if spacing is None and self.spacing is not None:
            spacing = self.spacing[1]
        length, words = round_length(under.shape[1] * factor / 5, spacing)
        zoom = max(1, min(400, largest) // max(under.shape))
        picture = picture.repeat(zoom, 0).repeat(zoom, 1)
        if length * zoom / factor >= 1 and picture.shape[1] > 80:
            picture = draw.scale_bar(picture, length * zoom / factor, words)
        return draw.colour_bar(picture, low, high, colour_map, label=label)

    def rows_at(self, axis: int, size: int, factor: int) -> Array:
        """For each row of a picture of the reduced image the row of the (reduced) map that it shows; -1 for none."""
        step, patch, count = self.step[axis], self.patch[axis], self.values.shape[axis]
        middles = (np.arange(size) + 0.5) * factor - 0.5
        at = np.floor((middles - (patch - 1) / 2) / step + 0.5).astype(int)
        return np.where((at >= 0) & (at < count), at // max(1, factor // step), -1)

    def save(
        self, path: str | os.PathLike[str], image: Any = None, number: int | None = None, **drawing: Any
    ) -> None:  # fmt: skip
        """Write .png (draw, which needs the image and takes `drawing`), .tif (float32, a page a class) or .npy."""
        path = Path(path)
        kind = path.suffix.lower()
        if kind == ".png":
            if image is None:
                raise ValueError("image must be given to draw the map over it, got None")
            draw.save_png(path, self.draw(image, number, **drawing))
            return
        if kind not in (".npy", ".tif", ".tiff"):
            raise ValueError(f"path must end in .png, .tif, .tiff or .npy, got {path}")
        pages = self.values if number is None else self.of_class(number)[..., None]
        content = tiff(pages) if kind != ".npy" else None
        with replacing(path) as file:
            if content is None:
                np.lib.format.write_array(file, np.asanyarray(pages), allow_pickle=False)
            else:
                file.write(content)


def tiff(values: Array) -> bytes:
    """(rows, columns, pages) as a TIFF file of float32 pages."""
    module = draw.need("PIL.Image")
    pages = [module.fromarray(np.ascontiguousarray(values[..., i], np.float32)) for i in range(values.shape[-1])]
    file = io.BytesIO()
    pages[0].save(file, format="TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue()


def reduced(image: LargeImage, factor: int) -> Array:
    """The image with every square of factor x factor pixels as its mean, band by band."""
    if factor == 1:
        return np.asarray(image.region(0, 0, *image.pixels.shape[:2]))
    height, width = (size // factor for size in image.pixels.shape[:2])
    small = np.empty((height, width, image.channels), np.float32)
    for row in range(height):
        band = image.region(row * factor, 0, factor, width * factor)
        small[row] = band.reshape(factor, width, factor, -1).mean((0, 2), dtype=np.float32)
    return small.round().astype(np.uint8) if image.pixels.dtype == np.uint8 else small


def averaged(values: Array, blocks: Sequence[int]) -> Array:
    """values (rows, columns) with each block of rows and columns as its mean; the last ones may be smaller."""
    for axis, block in enumerate(blocks):
        if block > 1:
            starts = np.arange(0, values.shape[axis], block)
            counts = np.diff(np.append(starts, values.shape[axis])).astype(np.float32)
            values = np.add.reduceat(values, starts, axis) / counts.reshape(-1, *(1,) * (1 - axis))
    return values


def round_length(pixels: float, spacing: float | None) -> tuple[float, str]:
    """The longest of 1, 2, 5, 10, ... pixels or millimetres that is no longer, in pixels, and in words."""
    length = pixels * (spacing or 1.0)
    power = 10.0 ** math.floor(math.log10(length))
    nice = max(power * digit for digit in (1, 2, 5) if power * digit <= length)
    return nice / (spacing or 1.0), f"{nice:g} {'px' if spacing is None else 'mm'}"
