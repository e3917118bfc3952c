"""What explains one score of one image: a map over the image, and how it is drawn."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from . import draw
from .draw import Array, Picture

SLICES = 9  # of a volume, that a picture shows
SMALLEST = 224  # pixels of the longer side of a picture
STRONGEST = 0.99  # the share of a pixel map's values below the last colour
BRIGHT = 0.92  # where the heat map's colours end: the last ones are darker


@dataclass(frozen=True, repr=False)
class Explanation:
    """map (*spatial) float32 of the image's size: positive where the image speaks for the class.

    raw: the map before it was brought to that size (*spatial of the layer); score: of the class, before the softmax;
    layer: whose maps were read, None if the input's; image: what the model was given; channels: its axis of channels.
    signed: the map has negative values too, for what speaks against the class.
    """

    map: Array
    class_index: int
    score: float
    method: str
    layer: str | None
    image: Array
    channels: int | None
    raw: Array
    signed: bool = False
    probability: float | None = None
    class_name: str | None = None

    def to_numpy(self) -> Array:
        """A copy of map."""
        return self.map.copy()

    def evidence(self) -> Array:
        """map without what speaks against the class, >= 0 and with a sum of 1; 0 where there is nothing."""
        found = np.maximum(self.map, 0, dtype=np.float64)
        total = found.sum()
        return found / total if total > 0 else found

    @property
    def title(self) -> str:
        name = self.class_name or f"class {self.class_index}"
        share = "" if self.probability is None else f", {self.probability:.1%}"
        return f"{name}{share}, {self.method}"

    def draw(
        self, image: Array | None = None, *, alpha: float = 0.7, colour_map: str | None = None, fade: bool = True
    ) -> Picture:
        """The map over the image, (h, w, 3) bytes; image: shown in place of what the model was given, of any size.

        Of a signal (n, c) it is a plot of the curve, of a volume up to nine slices. With fade the image shows where
        there is no evidence. colour_map: a name of matplotlib's.
        """
        size = np.abs(self.map)  # of single pixels a few stand out so far that the others would vanish
        most = float(np.quantile(size, STRONGEST) if self.layer is None else size.max()) or float(size.max()) or 1.0
        low = -most if self.signed else 0.0
        high = most if self.signed or colour_map else most / BRIGHT
        how: dict[str, Any] = {"low": low, "high": high, "alpha": alpha, "fade": fade}
        how["colour_map"] = colour_map or (draw.SIGNED if self.signed else draw.HEAT)
        shown = self._channels_last(self.image) if image is None else np.asarray(image)
        if self.map.ndim == 1:
            return signal_picture(shown, self.map, **how)
        if self.map.ndim == 3:
            return volume_picture(shown, self.map, **how)
        return draw.overlay(enlarged(image_of(shown)), self.map, **how)

    def save(self, path: str | os.PathLike[str], image: Array | None = None) -> None:
        """Write draw's picture to a .png file; what was there is replaced once the new one is complete."""
        draw.save_png(path, self.draw(image))

    def _channels_last(self, image: Array) -> Array:
        return image[..., None] if self.channels is None else np.moveaxis(image, self.channels, -1)

    def __repr__(self) -> str:
        where = f", layer {self.layer}" if self.layer else ""
        return f"<Explanation {self.title}, score {self.score:.4g}{where}, map {self.map.shape}>"

    def _repr_png_(self) -> bytes:
        return draw.png(self.draw())

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._repr_png_()).decode("ascii")
        text = escape(repr(self)[1:-1])
        return f'<figure><img src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def image_of(values: Array) -> Array:
    """(h, w, c) of any number of channels as a picture takes it: more than four, or two, are averaged."""
    return values if values.ndim == 2 or values.shape[-1] in (1, 3, 4) else values.mean(-1, keepdims=True)


def enlarged(image: Array) -> Picture:
    """Small images are drawn with pixels of several pixels, so that a map can be seen on them."""
    base = draw.picture(image)
    times = max(1, SMALLEST // max(base.shape[:2]))
    return base.repeat(times, 0).repeat(times, 1)


def signal_picture(
    values: Array, evidence: Array, *, low: float, high: float, alpha: float, fade: bool, colour_map: str
) -> Picture:
    """Curves of values (n, c), up to four channels, above a band of the evidence's colours."""
    figure = draw.need("matplotlib.figure").Figure(figsize=(8, 3), dpi=80, layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    axes[0].plot(values.reshape(len(values), -1)[:, :4], linewidth=1)
    band = draw.resized(evidence, (len(values),))
    axes[0].margins(x=0)
    strip = axes[1].imshow(band[None], aspect="auto", cmap=colour_map, vmin=low, vmax=high, alpha=alpha)
    axes[1].set(yticks=[], ylabel="map")
    figure.colorbar(strip, ax=axes)
    return draw.figure_picture(figure)


def volume_picture(values: Array, evidence: Array, **how: Any) -> Picture:
    """Slices of values (d, h, w, c) along the first axis, evenly spaced, each with its number."""
    evidence = draw.resized(evidence, values.shape[:3])
    chosen = np.unique(np.linspace(0, len(values) - 1, min(SLICES, len(values))).round().astype(int))
    grey = draw.picture(image_of(values).reshape(-1, *image_of(values).shape[2:])).reshape(*values.shape[:3], 3)
    shown = [draw.overlay(enlarged(grey[at]), evidence[at], **how) for at in chosen]
    return draw.grid(shown, [f"slice {at}" for at in chosen], columns=3)
