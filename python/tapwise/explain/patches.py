"""A classifier of patches moved over a large image: its outputs for every patch, as maps.

The network runs on tiles of the image, each patch of which shares with its neighbours what they have in common
(patch_network); where a network can't, or with exact=True, on patches in batches. Only a tile, its maps and the result
are in memory.
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..console import Progress
from ..geometry import per_axis
from ..model import Model
from ..saving.weights import replacing
from .patch_image import LargeImage, large_image
from .patch_map import ProbabilityMap
from .patch_network import NotShared, Sharing, region_network, sharing

Array = NDArray[Any]
Pair = tuple[int, int]
SAMPLE = 64  # patches on which the shared pass is held against the network itself


class Grid(NamedTuple):
    """Where patches lie: how many positions down and across, each step pixels from the next."""

    patch: Pair
    step: Pair
    positions: Pair


class Tile(NamedTuple):
    """Patches in one piece of work: where their outputs go, which pixels they cover, which of the results count.

    Near the border of a tile a padded network finds zeros in place of neighbours: inner leaves those patches out.
    """

    target: tuple[slice, slice]
    corner: Pair
    extent: Pair
    inner: tuple[slice, slice]
    step: Pair


class Job:
    """The image and the network, for whole tiles and for single patches."""

    def __init__(
        self, model: Model, image: LargeImage, grid: Grid, classes: list[int], scale: float, offset: float, batch: int
    ) -> None:
        self.model, self.image, self.grid, self.classes, self.batch = model, image, grid, classes, batch
        self.scale, self.offset = np.float32(scale), np.float32(offset)
        self._network: tuple[Any, Model] | None = None

    def pixels(self, tile: Tile) -> Array:
        x = self.image.region(*tile.corner, *tile.extent).astype(np.float32)
        if self.scale != 1:
            x *= self.scale
        if self.offset:
            x += self.offset
        return x

    def together(self, tile: Tile, pixels: Array, shared: Sharing) -> Array:
        """The classes' outputs for tile.inner, all patches in one pass."""
        key = tile.extent, tile.step
        if self._network is None or self._network[0] != key:
            self._network = key, region_network(self.model, shared, *key)
        y = self._network[1].predict(pixels[None], batch_size=1, verbose=0)[0]
        return np.asarray(y[tile.inner][..., self.classes])

    def one_by_one(self, tile: Tile, pixels: Array) -> Array:
        """The same from patches in batches."""
        windows = np.lib.stride_tricks.sliding_window_view(pixels, self.grid.patch, (0, 1))
        chosen = windows[:: tile.step[0], :: tile.step[1]][tile.inner]  # (rows, columns, c, *patch)
        rows, columns = chosen.shape[:2]
        made = np.empty((rows * columns, len(self.classes)), np.float32)
        for start in range(0, len(made), self.batch):
            at = np.arange(start, min(start + self.batch, len(made)))
            patches = np.moveaxis(chosen[at // columns, at % columns], 1, -1)
            made[at] = self.model.predict(patches, batch_size=self.batch, verbose=0)[:, self.classes]
        return made.reshape(rows, columns, len(self.classes))


def probability_map(
    model: Model,
    image: Any,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    *,
    classes: Sequence[int] | None = None,
    exact: bool = False,
    scale: float = 1.0,
    offset: float = 0.0,
    tile: int | None = None,
    batch_size: int = 64,
    state: str | os.PathLike[str] | None = None,
    verbose: int | str = "auto",
) -> ProbabilityMap:
    """The model's outputs for the patches of an image, stride pixels apart: row i, column j is the patch that begins
    at pixel (i * stride, j * stride).

    image: (h, w) or (h, w, c) of any number type (np.memmap too), a path (PNG, TIFF, JPEG, .npy, DICOM), or an
    iterator of bands of rows; the model gets x * scale + offset in float32. patch None: the model's input size. stride
    None: a quarter of the patch, rounded up to the network's own strides. classes: which outputs are kept, None all.
    exact: every patch by itself; the result's deviation then compares the shared pass with all patches, else with a
    sample. tile: pixels on a side of the region that is in work, None 512 or two patches. state: a file (.npy) that
    takes the map tile by tile; one that was interrupted goes on from there. verbose: as in predict.
    Raises ValueError on an image that is too small or of other channels, a class that isn't there, or a state file of
    another map.
    """
    began = time.perf_counter()
    channels, size = checked_model(model)
    found = large_image(image, channels)
    grid = grid_of(size, found, patch, stride, model)
    kept = checked_classes(classes, model.output_shape[-1])
    tile = max(512, 2 * max(size)) if tile is None else tile
    if tile < max(size) or batch_size < 1:
        raise ValueError(f"tile must be >= the patch {size} and batch_size >= 1, got {tile} and {batch_size}")
    try:
        shared, reason = sharing(model), ""
    except NotShared as error:
        shared, reason = None, str(error)
    job = Job(model, found, grid, kept, scale, offset, batch_size)
    shape = (*grid.positions, len(kept))
    told = {"stride": grid.step, "classes": kept, "exact": exact, "scale": scale, "offset": offset}
    values = np.full(shape, np.nan, np.float32) if state is None else kept_map(Path(state), shape, model, found, told)
    deviation = run(job, shared, exact, tile, values, verbose)
    if shared is not None and not exact:
        deviation = sampled_deviation(job, values)
    method = "patches" if exact or shared is None else "shared"
    seconds = time.perf_counter() - began
    return ProbabilityMap(
        values, kept, grid.patch, grid.step, found.pixels.shape[:2], method, reason, deviation, seconds, found.spacing
    )


def checked_model(model: Model) -> tuple[int, Pair]:
    """The channels and the size of its patches."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"model must have one input and one output, got {len(model.inputs)} and {len(model.outputs)}"
        )  # fmt: skip
    shape, outputs = model.inputs[0].example, model.outputs[0].example
    if len(shape) != 3 or len(outputs) != 1:
        raise ValueError(f"model must take patches (h, w, c) and give (classes,), got {shape} and {outputs}")
    return shape[2], (shape[0], shape[1])


def grid_of(size: Pair, image: LargeImage, patch: Any, stride: Any, model: Model) -> Grid:
    if patch is not None and per_axis(patch, "patch", 2) != size:
        raise ValueError(f"patch must be the size of the model's input, {size}, got {patch}")
    if stride is None:
        try:
            own = sharing(model).strides
        except NotShared:
            own = (1, 1)
        stride = tuple(max(1, math.ceil(p / 4 / s)) * s for p, s in zip(size, own, strict=True))
    step = per_axis(stride, "stride", 2)
    pixels = image.pixels.shape[:2]
    if any(have < p for have, p in zip(pixels, size, strict=True)):
        raise ValueError(f"image must be at least as large as a patch, {size}, got {pixels}")
    down, across = ((have - p) // s + 1 for have, p, s in zip(pixels, size, step, strict=True))
    return Grid(size, (step[0], step[1]), (down, across))


def checked_classes(classes: Sequence[int] | None, outputs: int) -> list[int]:
    kept = list(range(outputs)) if classes is None else [int(each) for each in classes]
    if not kept or any(not 0 <= each < outputs for each in kept):
        raise ValueError(f"classes must be of 0 to {outputs - 1}, got {classes}")
    return kept


def run(job: Job, shared: Sharing | None, exact: bool, tile: int, values: Array, verbose: int | str) -> float:
    """Fill values where they are NaN, tile by tile; the largest difference between both ways, NaN if only one ran."""
    worst = math.nan
    tiles = tiles_of(job.grid, shared, tile)
    with Progress(len(tiles), epochs=None, verbose=verbose) as progress:
        for number, each in enumerate(tiles, 1):
            block = values[each.target]
            if np.isnan(block).any():
                pixels = job.pixels(each)
                made = None if shared is None else job.together(each, pixels, shared)
                if exact or made is None:
                    own = job.one_by_one(each, pixels)
                    if made is not None:
                        worst = float(np.fmax(worst, np.abs(own - made).max()))
                    made = own
                block[...] = made
            progress.step(number, {})
        progress.finish({})
    if isinstance(values, np.memmap):
        values.flush()  # a program's end doesn't lose what it wrote before, only the machine's does
    return worst


def tiles_of(grid: Grid, shared: Sharing | None, tile: int) -> list[Tile]:
    """All pieces of work, of one size where the image is larger than a tile: the last ones lie over those before.

    A step that isn't a multiple of the network's strides takes several passes over the image, each with the patches
    of one remainder: with strides of 4 and a step of 6 rows 0, 2, 4, ... and rows 1, 3, 5, ...
    """
    axes = []
    for axis in (0, 1):
        own = 1 if shared is None else shared.strides[axis]
        passes = own // math.gcd(own, grid.step[axis])
        margin = 0 if shared is None else shared.margin[axis]
        parts = [
            part
            for phase in range(min(passes, grid.positions[axis]))
            for part in line(grid, axis, phase, passes, margin, tile)
        ]
        axes.append(parts)
    return [
        Tile(
            (down[0], across[0]), (down[1], across[1]), (down[2], across[2]), (down[3], across[3]), (down[4], across[4])
        )
        for down in axes[0]
        for across in axes[1]
    ]


def line(
    grid: Grid, axis: int, phase: int, passes: int, margin: int, tile: int
) -> Iterator[tuple[slice, int, int, slice, int]]:
    """Target, corner, extent, inner and step of the tiles along an axis of the patches phase, phase + passes, ..."""
    patch, count = grid.patch[axis], len(range(phase, grid.positions[axis], passes))
    step = grid.step[axis] * passes
    beside = -(-margin // step)
    whole = min(max((tile - patch) // step + 1, 2 * beside + 1), count)  # patches in a tile
    new = max(whole - 2 * beside, 1) if whole < count else count
    for first in range(0, count, new):
        last = min(first + new, count)
        start = min(max(first - beside, 0), count - whole)
        target = slice(phase + first * passes, phase + (last - 1) * passes + 1, passes)
        corner = (phase * grid.step[axis]) + start * step
        yield target, corner, patch + (whole - 1) * step, slice(first - start, last - start), step


def sampled_deviation(job: Job, values: Array) -> float:
    """The largest difference between values and what single patches give, over SAMPLE of them."""
    grid, rng = job.grid, np.random.default_rng(0)
    chosen = rng.choice(
        grid.positions[0] * grid.positions[1], min(SAMPLE, grid.positions[0] * grid.positions[1]), replace=False
    )
    worst = 0.0
    for row, column in zip(*np.unravel_index(np.sort(chosen), grid.positions), strict=True):
        corner = int(row) * grid.step[0], int(column) * grid.step[1]
        one = slice(0, 1)
        tile = Tile((one, one), corner, grid.patch, (one, one), (1, 1))
        worst = max(worst, float(np.abs(job.one_by_one(tile, job.pixels(tile))[0, 0] - values[row, column]).max()))
    return worst


def kept_map(path: Path, shape: tuple[int, ...], model: Model, image: LargeImage, told: dict[str, Any]) -> Array:
    """The map in the file path, begun or new: NaN where no tile has been; path.json says what it is a map of.

    Raises ValueError if that is something else.
    """
    if path.suffix != ".npy":
        raise ValueError(f"state must be a file that ends in .npy, got {path}")
    weights = 0
    for weight in model.weights:
        weights = zlib.crc32(np.ascontiguousarray(weight.value).tobytes(), weights)
    layers = zlib.crc32(json.dumps(model.get_config(), sort_keys=True).encode())
    now = {"format": "tapwise-map", "image": image.digest(), "weights": weights, "layers": layers, **told}
    now = json.loads(json.dumps(now))
    beside = path.with_name(f"{path.name}.json")
    if not path.exists():
        with replacing(beside) as file:
            file.write(json.dumps(now, indent=1).encode())
        with replacing(path) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            row = np.full(shape[1:], np.nan, "<f4").tobytes()
            for _ in range(shape[0]):
                file.write(row)
    try:
        before = json.loads(beside.read_text(encoding="utf-8"))
        found: Array = np.load(path, mmap_mode="r+", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"state must be a map that was begun and its .json, got {path}: {error}") from error
    changed = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    if changed or found.shape != shape or found.dtype != np.float32:
        raise ValueError(f"state must be of the same map, got {path} with other {', '.join(changed) or 'sizes'}")
    return found
