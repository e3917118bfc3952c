"""Occlusion: how a class's score falls when a part of the image is covered. Zeiler & Fergus, 2014."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ..arrays import slices
from ..console import Progress
from ..model import Model
from .draw import Array, resized
from .explanation import Explanation
from .subject import Answer, Classes, chosen, images_of, need_scores


def occlusion(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: Any = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Maps of how much the score falls with each place covered, of images (n, ...) or of one; classes as in grad_cam.

    window: sizes of what covers, one or one an axis, an eighth of each side by default; stride: its steps, half the
    window by default. fill: what it shows, a number or one a channel; None: the image's mean, channel by channel.
    raw has one value a window, map the mean of those over each pixel. batch_size: covered images at a time.
    """
    images = images_of(model, images)
    count = need_scores(model)
    table = None if classes is None else chosen(np.empty((len(images), count)), classes, top)
    found: list[Explanation] = []
    plain = model.tape(images[:1], None)
    size = Answer(model, images[:1], plain, "occlusion", None, True).size
    sides = per_axis("window", window, size, [max(1, side // 8) for side in size])
    steps = per_axis("stride", stride, size, [max(1, side // 2) for side in sides])
    starts = [begins(whole, side, step) for whole, side, step in zip(size, sides, steps, strict=True)]
    corners = list(product(*starts))
    with Progress(len(images) * len(corners), epochs=None, verbose=verbose) as progress:
        for number, image in enumerate(images):
            tape = model.tape(image[None], None)
            answer = Answer(model, image[None], tape, "occlusion", None, True)
            wanted = chosen(tape.scores, None, top)[0] if table is None else table[number]
            covered = filling(image, fill, answer.axis)
            falls = []
            for rows in slices(np.empty(len(corners)), batch_size):
                x = np.repeat(image[None], len(corners[rows]), 0)
                for each, corner in zip(x, corners[rows], strict=True):
                    part = window_at(corner, sides, answer.axis)
                    each[part] = covered[part]
                falls.append(tape.scores - model.tape(x, None).scores)
                progress.step(number * len(corners) + min(len(corners), rows.stop), {})
            fall = np.concatenate(falls).reshape(*map(len, starts), count)
            for each in wanted:
                raw = fall[..., each]
                found.append(answer.make(0, each, raw, spread(raw, corners, sides, size)))
        progress.finish({})
    return found


def per_axis(name: str, given: Any, size: tuple[int, ...], default: list[int]) -> list[int]:
    found = [given] * len(size) if isinstance(given, (int, np.integer)) else list(default if given is None else given)
    if len(found) != len(size) or any(not 1 <= part <= whole for part, whole in zip(found, size, strict=True)):
        raise ValueError(f"{name} must be in [1, side] for each side of {size}, got {given}")
    return [int(each) for each in found]


def begins(whole: int, side: int, step: int) -> list[int]:
    """Where windows begin along an axis: a step apart, and one at the end."""
    last = whole - side
    return [*range(0, last, step), last]


def window_at(corner: tuple[int, ...], sides: list[int], axis: int | None) -> tuple[slice, ...]:
    parts = [slice(start, start + side) for start, side in zip(corner, sides, strict=True)]
    if axis is not None:
        parts.insert(axis, slice(None))
    return tuple(parts)


def filling(image: Array, fill: Any, axis: int | None) -> Array:
    """An image of what covers."""
    if fill is None:
        others = tuple(i for i in range(image.ndim) if i != axis)
        return np.broadcast_to(image.mean(others, keepdims=True), image.shape)
    values = np.asarray(fill, image.dtype)
    if values.ndim == 1 and axis is not None and len(values) == image.shape[axis]:
        values = values.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
    elif values.ndim:
        raise ValueError(f"fill must be a number or one for each channel, got shape {values.shape}")
    return np.broadcast_to(values, image.shape)


def spread(raw: Array, corners: list[tuple[int, ...]], sides: list[int], size: tuple[int, ...]) -> Array:
    """The mean of the windows over each pixel; what none covers is between its neighbours."""
    total, number = np.zeros(size), np.zeros(size)
    for corner, value in zip(corners, raw.ravel(), strict=True):
        part = window_at(corner, sides, None)
        total[part] += value
        number[part] += 1
    return np.where(number > 0, total / np.maximum(number, 1), resized(raw, size))
