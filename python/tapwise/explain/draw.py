"""Pictures of maps over images: colours, overlays, scale and colour bars, grids. Pictures are (h, w, 3) uint8, RGB.

Pillow and matplotlib (`pip install "tapwise[explain]"`) are imported where they are needed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..saving.weights import replacing

Array = NDArray[Any]
Picture = NDArray[np.uint8]
HEAT, SIGNED = "turbo", "RdBu_r"
GAP = 6  # pixels between pictures and around bars


def need(name: str) -> Any:
    """The module of that name. Raises ImportError that says how to get it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'pictures need {name.split(".")[0]}: pip install "tapwise[explain]"') from error


def picture(image: Array) -> Picture:
    """image (h, w), (h, w, 1), (h, w, 3) or (h, w, 4): bytes as they are, other numbers from their least to largest."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"image must be (h, w) or (h, w, 1, 3 or 4), got {image.shape}")
    image = image[..., :3]
    if image.dtype != np.uint8:
        values = image.astype(np.float32)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        image = np.nan_to_num((values - low) / ((high - low) or 1.0) * 255).clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def colours(values: Array, colour_map: str = HEAT, low: float | None = None, high: float | None = None) -> Picture:
    """values (h, w) -> picture: low and below is the map's first colour, high and above its last; NaN is white.

    colour_map: a name of matplotlib's. low and high None: the least and the largest value.
    """
    scaled = unit(values, low, high)
    maps = need("matplotlib").colormaps
    if colour_map not in maps:
        raise ValueError(f"colour_map must be one of matplotlib's, as turbo, viridis or RdBu_r, got {colour_map!r}")
    found: Picture = maps[colour_map](np.nan_to_num(scaled), bytes=True)[..., :3]
    found = found.copy()
    found[np.isnan(scaled)] = 255
    return found


def unit(values: Array, low: float | None = None, high: float | None = None) -> Array:
    """values from low to high as 0 to 1, clipped; NaN stays."""
    values = np.asarray(values, np.float32)
    finite = values[np.isfinite(values)]
    least = float(finite.min() if finite.size else 0) if low is None else low
    most = float(finite.max() if finite.size else 1) if high is None else high
    return np.clip((values - least) / ((most - least) or 1.0), 0, 1)


def overlay(
    image: Array,
    values: Array,
    *,
    alpha: float = 0.6,
    colour_map: str = HEAT,
    low: float | None = None,
    high: float | None = None,
    fade: bool = False,
) -> Picture:
    """values (h, w) as colours over image of any size, brought to its size; where values are NaN the image shows.

    alpha: how much the colours cover; with fade that much at the values furthest from 0, and nothing at 0.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    under = picture(image)
    values = resized(np.asarray(values, np.float32), under.shape[:2])
    over = colours(values, colour_map, low, high)
    cover = np.where(np.isnan(values), 0, alpha)
    if fade:
        size = np.abs(np.nan_to_num(values))
        most = max(abs(high or 0), abs(low or 0)) or size.max() or 1.0
        cover = cover * np.minimum(size / most, 1)
    mixed = under + (over.astype(np.float32) - under) * cover[..., None].astype(np.float32)
    return np.asarray(mixed.round(), np.uint8)


def resized(values: Array, shape: Sequence[int]) -> Array:
    """values (any number of axes) -> the same of that shape, linearly between the middles of pixels."""
    values = np.asarray(values)
    if values.ndim != len(shape):
        raise ValueError(f"values must have {len(shape)} axes as {tuple(shape)}, got {values.shape}")
    for axis, size in enumerate(shape):
        have = values.shape[axis]
        if have == size:
            continue
        at = np.clip((np.arange(size) + 0.5) * (have / size) - 0.5, 0, have - 1)
        left = np.floor(at).astype(int)
        share = (at - left).astype(values.dtype).reshape(-1, *(1,) * (values.ndim - axis - 1))
        one, other = values.take(left, axis), values.take(np.minimum(left + 1, have - 1), axis)
        values = one + (other - one) * share
    return values


def text_font(size: int) -> Any:
    return need("PIL.ImageFont").load_default(size)


def drawn_on(base: Picture) -> tuple[Any, Any]:
    """A Pillow image of a copy of base, and what draws on it."""
    canvas = need("PIL.Image").fromarray(np.ascontiguousarray(base))
    return canvas, need("PIL.ImageDraw").Draw(canvas)


def titled(base: Picture, title: str, size: int = 14) -> Picture:
    """base below a line of text, which is cut where base ends."""
    lines = title.split("\n")
    line = round(size * 1.35)
    head = np.full((line * len(lines) + 2, base.shape[1], 3), 255, np.uint8)
    canvas, draw = drawn_on(head)
    for number, text in enumerate(lines):
        draw.text((2, number * line), text, fill=(0, 0, 0), font=text_font(size))
    return np.concatenate([np.asarray(canvas), base])


def grid(pictures: Sequence[Picture], titles: Sequence[str] = (), columns: int = 4, size: int = 14) -> Picture:
    """Pictures in rows of so many columns, each with its title above it, on white."""
    if titles and len(titles) != len(pictures):
        raise ValueError(f"titles must be one for each of {len(pictures)} pictures, got {len(titles)}")
    shown = [titled(each, title, size) for each, title in zip(pictures, titles, strict=True)] if titles else pictures
    if not shown:
        raise ValueError("pictures must hold at least one")
    width, columns = max(each.shape[1] for each in shown), min(columns, len(shown))
    rows = []
    for start in range(0, len(shown), columns):
        row = shown[start : start + columns]
        height = max(each.shape[0] for each in row)
        sheet = np.full((height + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
        for number, each in enumerate(row):
            left = GAP + number * (width + GAP)
            sheet[: each.shape[0], left : left + each.shape[1]] = each
        rows.append(sheet)
    return np.concatenate([np.full((GAP, rows[0].shape[1], 3), 255, np.uint8), *rows])


def scale_bar(base: Picture, length: float, text: str, *, size: int = 14) -> Picture:
    """A copy of base with a bar of so many of its pixels in the lower left corner, and what that is in words."""
    if not 1 <= length <= base.shape[1] - 4 * GAP:
        raise ValueError(f"length must be in [1, {base.shape[1] - 4 * GAP}] pixels of the picture, got {length}")
    canvas, draw = drawn_on(base)
    font = text_font(size)
    wide = max(length, draw.textlength(text, font=font))
    bottom = base.shape[0] - GAP
    top = bottom - round(size * 1.35) - 3 * GAP
    draw.rectangle((GAP, top, 3 * GAP + wide, bottom), fill=(255, 255, 255))
    draw.rectangle((2 * GAP, bottom - 2 * GAP, 2 * GAP + round(length) - 1, bottom - GAP), fill=(0, 0, 0))
    draw.text((2 * GAP, top + GAP // 2), text, fill=(0, 0, 0), font=font)
    return np.asarray(canvas)


def colour_bar(
    base: Picture, low: float, high: float, colour_map: str = HEAT, *, label: str = "", size: int = 14
) -> Picture:
    """base with the colours and their numbers on its right: high on top, low below."""
    height = base.shape[0]
    ramp = colours(np.repeat(np.linspace(1, 0, height)[:, None], 2 * size, 1), colour_map, 0, 1)
    font = text_font(size)
    words = [f"{high:.3g}", label, f"{low:.3g}"]
    _, ruler = drawn_on(base)
    room = int(max(ruler.textlength(word, font=font) for word in words)) + 3 * GAP + 2 * size
    canvas, draw = drawn_on(np.full((height, room, 3), 255, np.uint8))
    canvas.paste(need("PIL.Image").fromarray(ramp), (GAP, 0))
    for word, y in zip(words, (0, height / 2 - size / 2, height - round(size * 1.35)), strict=True):
        draw.text((2 * GAP + 2 * size, y), word, fill=(0, 0, 0), font=font)
    return np.concatenate([base, np.asarray(canvas)], axis=1)


def figure_picture(figure: Any) -> Picture:
    """What a matplotlib figure shows."""
    canvas = need("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def png(base: Picture) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    need("PIL.Image").fromarray(np.ascontiguousarray(base)).save(file, format="png", optimize=True)
    return file.getvalue()


def save_png(path: str | os.PathLike[str], base: Picture) -> None:
    """Write a PNG file; what was there is replaced once the new one is complete."""
    if os.path.splitext(path)[1].lower() != ".png":
        raise ValueError(f"path must end in .png, got {os.fspath(path)}")
    content = png(base)
    with replacing(path) as file:
        file.write(content)
