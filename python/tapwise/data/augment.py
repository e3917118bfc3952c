"""Augmentation layers fused into one pass over a batch: uint8 in, float32 in [-1, 1] out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from . import affine, augment_numpy
from .augment_numpy import FILL_MODES, Array, Floats
from .philox import Doubles, Draws

try:
    from . import _augment
except ImportError:  # the pure-Python wheel
    _augment = None  # type: ignore[assignment]

Size: TypeAlias = tuple[int, int]
passes: Any = _augment or augment_numpy
quantiles = cache(augment_numpy.quantiles)
VALUES = 10  # of a step: what _augment.pyx calls v


@runtime_checkable
class Geometric(Protocol):
    """Moves pixels: output pixel (x, y, 1) shows the input at maps @ it."""

    seed: int | None

    def maps(self, draws: Draws, size: Size) -> Doubles:
        """(n, 3, 3) for images of that size."""

    def output_size(self, size: Size) -> Size:
        """Raises ValueError if images of that size don't fit."""


@runtime_checkable
class Filling(Protocol):
    """A geometric layer that may look beyond the image."""

    fill_mode: str
    fill_value: float
    interpolation: str


@runtime_checkable
class Colour(Protocol):
    """Changes pixels where they are, one after the other; code is one of augment_numpy's."""

    seed: int | None
    code: int
    channels: int | None

    def values(self, draws: Draws, size: Size) -> Doubles:
        """(n, <= 10): factor, low, high; then of ERASE the box and three fill values or two key words."""


@runtime_checkable
class Noise(Protocol):
    """Normal noise after the scaling, in the units of the output."""

    stddev: float


@runtime_checkable
class Mixing(Protocol):
    """Puts a part of another image of the batch into each, and of its label."""

    seed: int | None

    def mix(self, draws: Draws, size: Size) -> Mix: ...


class Mix(NamedTuple):
    """Inside of boxes (n, 4), top left bottom right, image i is weights[i] of itself and the rest of partners[i].

    kept (n,) is the share of i's own label.
    """

    partners: NDArray[np.intp]
    weights: Floats
    boxes: NDArray[np.intp]
    kept: Floats


class Augment:
    """Layers of augmentation as one pass: images -> the same float32 for the same (seed, epoch, sample).

    Geometric layers are composed to one affine map, which is sampled once; then come colours and erased boxes in their
    order, y = x * scale + offset, noise (GaussianNoise, in the units of y) and at last MixUp and CutMix within the
    batch. The layers are tapwise.layers' and Keras' in names and arguments; what two of them say of fill_mode,
    fill_value and interpolation must agree. A layer with a seed of its own draws from it, the others from seed.

        augment = tapwise.data.Augment([layers.RandomFlip("horizontal"), layers.RandomRotation(0.05)])
        y = augment(x, epoch=3)                                   # x (n, ih, iw, c) uint8 or float32
        augment({"images": x, "labels": one_hot, "segmentation_masks": m, "bounding_boxes": b, "keypoints": p})

    Masks (n, ih, iw) or (n, ih, iw, 1) move with their images, sampled at the nearest pixel. Boxes (n, k, 4) are left
    top right bottom in pixels, of which the first lies between 0 and 1; what stays of one is the upright box around
    it, clipped, NaN if nothing stays. Keypoints (n, k, 2) are x, y where pixels' centres have whole numbers.
    """

    def __init__(self, layers: Sequence[Any], *, seed: int = 0, scale: float = 1 / 127.5, offset: float = -1.0) -> None:
        for layer in layers:
            if not isinstance(layer, (Geometric, Colour, Noise, Mixing)):
                raise TypeError(f"layers must be augmentation layers of tapwise.layers, got {layer!r}")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {seed}")
        self.layers, self.seed, self.scale, self.offset = list(layers), seed, scale, offset
        kinds = (Geometric, Colour, Mixing)  # asked once: Python looks up every method for it
        self._kinds = [next((kind for kind in kinds if isinstance(layer, kind)), Noise) for layer in self.layers]
        noises = [layer for layer in layers if isinstance(layer, Noise)]
        if len(noises) > 1:
            raise ValueError(f"layers must hold GaussianNoise at most once, got {len(noises)} of it")
        self.stddev = float(noises[0].stddev) if noises else 0.0
        fillings = [layer for layer in layers if isinstance(layer, Filling)]
        said = {(layer.fill_mode, float(layer.fill_value), layer.interpolation) for layer in fillings}
        if len(said) > 1:
            raise ValueError(
                "fill_mode, fill_value and interpolation must be the same in all layers of one pass, got "
                + " and ".join(map(str, sorted(said)))
            )
        self.fill_mode, self.fill_value, interpolation = next(iter(said), ("constant", 0.0, "bilinear"))
        self.nearest = interpolation == "nearest"

    @property
    def mixes(self) -> bool:
        """Whether labels are mixed, and so must be one-hot."""
        return any(isinstance(layer, Mixing) for layer in self.layers)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(ih, iw, c) -> (oh, ow, c). Raises ValueError where a layer doesn't fit."""
        height, width, channels = shape
        size = height, width
        for layer, kind in zip(self.layers, self._kinds, strict=True):
            if kind is Geometric:
                size = layer.output_size(size)
            elif kind is Colour and layer.channels not in (None, channels):
                raise ValueError(f"{type(layer).__name__} needs {layer.channels} channels, got {channels}")
        return (*size, channels)

    def __call__(self, data: Any, *, rows: Array | None = None, samples: Array | None = None, epoch: int = 0) -> Any:
        """Images, or images and what belongs to them by name, -> the same, new.

        rows chooses and orders them (all); samples are the numbers that randomness depends on (rows).
        """
        batch: dict[str, Array] = dict(data) if isinstance(data, Mapping) else {"images": data}
        x = _images(batch.pop("images", None))
        rows = np.arange(len(x), dtype=np.intp) if rows is None else np.asarray(rows, np.intp)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(x)):
            raise IndexError(f"rows must be in [0, {len(x)}), got {rows.min()} to {rows.max()}")
        samples = rows if samples is None else np.asarray(samples, np.intp)
        if len(samples) != len(rows):
            raise ValueError(f"samples must be {len(rows)} numbers, one an image, got {len(samples)}")
        drawn = self._draw(x.shape, samples, epoch)
        result = {"images": self._mixed(self._passed(x, rows, drawn, samples, epoch), drawn)}
        for name, values in batch.items():
            result[name] = self._moved(name, np.asarray(values), len(x), rows, drawn)
        return result if isinstance(data, Mapping) else result["images"]

    def batch(self, x: Array, y: Array, rows: Array, epoch: int, target: str) -> tuple[Array, Array]:
        """What data.Batches asks for: the images of rows and their targets, which target names."""
        if not isinstance(x, np.ndarray):  # read as they are asked for
            result = self({"images": x[rows], target: y[rows]}, samples=rows, epoch=epoch)
            return result["images"], result[target]
        result = self({"images": x, target: y}, rows=rows, epoch=epoch)
        return result["images"], result[target]

    def _draws(self, number: int, samples: Array, epoch: int) -> Draws:
        seed = getattr(self.layers[number], "seed", None)
        return Draws(self.seed if seed is None else seed, epoch, samples, number)

    def _draw(self, shape: tuple[int, ...], samples: Array, epoch: int) -> Drawn:
        size: Size = (shape[1], shape[2])
        output_size = self.output_shape(shape[1:])[:2]
        maps = np.broadcast_to(np.eye(3), (len(samples), 3, 3))
        codes, values, mixes = [], [], []
        for number, (layer, kind) in enumerate(zip(self.layers, self._kinds, strict=True)):
            draws = self._draws(number, samples, epoch)
            if kind is Geometric:
                maps = maps @ layer.maps(draws, size)
                size = layer.output_size(size)
            elif kind is Colour:
                codes.append(layer.code)
                given = layer.values(draws, output_size)
                values.append(np.pad(given, ((0, 0), (0, VALUES - given.shape[1]))))
            elif kind is Mixing:
                mixes.append(layer.mix(draws, output_size))
        steps = np.stack(values, 1) if values else np.zeros((len(samples), 0, VALUES))
        return Drawn(maps, output_size, np.array(codes, np.int32), np.ascontiguousarray(steps), mixes)

    def _passed(self, x: Array, rows: Array, drawn: Drawn, samples: Array, epoch: int) -> Floats:
        keys = np.zeros((len(rows), 2), np.uint32)
        for number, kind in enumerate(self._kinds):
            if kind is Noise:
                keys = np.ascontiguousarray(self._draws(number, samples, epoch).words()[:2].T)
        steps = drawn.codes, drawn.values, self.scale, self.offset, self.stddev, keys
        return _run(x, rows, drawn, self.fill_mode, self.fill_value, self.nearest, steps)

    def _mixed(self, y: Floats, drawn: Drawn) -> Floats:
        for mix in drawn.mixes:
            result = np.empty_like(y)
            passes.blend(y, mix.partners, mix.weights, mix.boxes, result)
            y = result
        return y

    def _moved(self, name: str, values: Array, items: int, rows: Array, drawn: Drawn) -> Array:
        if len(values) != items:
            raise ValueError(f"{name} must hold {items} items, one an image, got {len(values)}")
        if name == "labels":
            return _mixed_labels(values[rows], drawn.mixes)
        if drawn.mixes:
            raise ValueError(f"{name} must be left out with MixUp and CutMix, which mix labels alone")
        if name == "bounding_boxes":
            return affine.move_boxes(values[rows], drawn.maps, drawn.size)
        if name == "keypoints":
            return affine.move_points(values[rows], drawn.maps)
        if name != "segmentation_masks":
            raise ValueError(f"images may come with labels, segmentation_masks, bounding_boxes, keypoints, got {name}")
        masks = values[..., None] if values.ndim == 3 else values
        if masks.ndim != 4 or not np.can_cast(masks.dtype, np.int64):
            raise ValueError(f"{name} must be whole numbers (n, ih, iw), got {values.dtype} of shape {values.shape}")
        numbers = masks if masks.dtype == np.uint8 else masks.astype(np.float32)
        steps = (
            np.zeros(0, np.int32),
            np.zeros((len(rows), 0, VALUES)),
            1.0,
            0.0,
            0.0,
            np.zeros((len(rows), 2), np.uint32),
        )
        moved = _run(np.ascontiguousarray(numbers), rows, drawn, self.fill_mode, 0.0, True, steps)
        return moved.reshape(*moved.shape[:3], *values.shape[3:]).astype(values.dtype)


class Drawn(NamedTuple):
    """What was drawn for the images of a batch: maps (n, 3, 3), the steps' codes (k,) and values (n, k, 10), mixes."""

    maps: Doubles
    size: Size
    codes: NDArray[np.int32]
    values: Doubles
    mixes: list[Mix]


def _run(x: Array, rows: Array, drawn: Drawn, fill_mode: str, fill: float, nearest: bool, steps: Any) -> Floats:
    fixed = np.ascontiguousarray(np.rint(drawn.maps[:, :2].reshape(-1, 6) * 2.0**32).astype(np.int64))
    y = np.empty((len(rows), *drawn.size, x.shape[3]), np.float32)
    means = np.empty(x.shape[3], np.float32)
    mode = FILL_MODES.index(fill_mode)
    passes.augment(x, rows, fixed, mode, fill, nearest, *steps, quantiles(), means, y)
    return y


def _images(x: Any) -> Array:
    x = np.asarray(x)
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32) or 0 in x.shape[1:]:
        raise ValueError(
            f"images must be uint8 or float32 of shape (n, ih, iw, c), sizes >= 1, got {x.dtype} of shape {x.shape}"
        )
    return np.ascontiguousarray(x)


def _mixed_labels(labels: Array, mixes: list[Mix]) -> Array:
    if mixes and (labels.ndim != 2 or labels.dtype.kind not in "biuf"):
        shape = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(f"labels must be one-hot (n, classes) for MixUp and CutMix, which mix them, got {shape}")
    for mix in mixes:
        kept = mix.kept[:, None]
        labels = kept * labels + (1 - kept) * labels[mix.partners]
    return labels
