"""What bias_report found: a table, and a page of it with pictures."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from html import escape

import numpy as np

from ..saving.weights import replacing
from . import draw
from .draw import Array, Picture
from .explanation import SMALLEST, Explanation

CORNERS = ("top left", "top right", "bottom left", "bottom right")
SUSPECT = 2.0  # times the share that evenly spread evidence would have
STYLE = (
    "body{font:15px sans-serif;max-width:72em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child"
    "{text-align:left}.look{background:#ffe08a}figure{display:inline-block;margin:.4em}img{max-width:100%}"
)


@dataclass(frozen=True)
class ClassEvidence:
    """What the images labelled with a class have in common. Shares of evidence are 0 to 1, means over the images."""

    name: str
    images: int
    accuracy: float
    mean: Array  # (h, w), sums to 1 unless no image has evidence
    border: float
    corners: Array  # (4,), as CORNERS
    outside: float | None  # of the masks


@dataclass(frozen=True, repr=False)
class BiasReport:
    """str() of it is a table, save writes an HTML page. background: for each image, how many times the evidence that
    evenly spread evidence would have there lies outside of its mask; without masks at the border or in a corner,
    where it is most. order: the images with most of it first; worst: the first of them, with their maps."""

    classes: list[ClassEvidence]
    order: Array
    background: Array
    border_area: float  # what shares evenly spread evidence would have
    corner_area: float
    outside_area: float | None
    worst: list[tuple[int, Explanation]] = field(default_factory=list)

    @property
    def suspects(self) -> list[str]:
        """A sentence for each class with twice the evidence of its area, or more, at a place where none is expected."""
        found = []
        for each in self.classes:
            at = int(each.corners.argmax())
            if each.corners[at] >= SUSPECT * self.corner_area:
                found.append(f"{each.name}: {each.corners[at]:.0%} of the evidence is {CORNERS[at]}")
            if each.border >= SUSPECT * self.border_area:
                found.append(f"{each.name}: {each.border:.0%} of the evidence is at the border")
            if each.outside is not None and each.outside > 0.5:
                found.append(f"{each.name}: {each.outside:.0%} of the evidence lies outside of the masks")
        return found

    def rows(self) -> list[list[str]]:
        head = ["class", "images", "accuracy", "border", *CORNERS]
        area = ["(its area)", "", "", f"{self.border_area:.0%}", *[f"{self.corner_area:.0%}"] * 4]
        body = [
            [each.name, str(each.images), f"{each.accuracy:.1%}", f"{each.border:.0%}"]
            + [f"{share:.0%}" for share in each.corners]
            for each in self.classes
        ]
        if self.outside_area is not None:
            head.append("outside")
            area.append(f"{self.outside_area:.0%}")
            for row, each in zip(body, self.classes, strict=True):
                row.append(f"{each.outside:.0%}")
        return [head, area, *body]

    def __str__(self) -> str:
        rows = self.rows()
        wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = []
        for row in rows:
            first, *others = (cell.rjust(width) for cell, width in zip(row, wide, strict=True))
            lines.append("  ".join([first.strip().ljust(wide[0]), *others]))
        return "\n".join([*lines, *self.suspects])

    def mean_picture(self, each: ClassEvidence) -> Picture:
        big = np.repeat(np.repeat(each.mean, times := max(1, SMALLEST // max(each.mean.shape)), 0), times, 1)
        return draw.colours(big, low=0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML file, pictures in it; what was there is replaced once the new one is complete."""
        content = "\n".join(self._html()).encode()
        with replacing(path) as file:
            file.write(content)

    def _html(self) -> list[str]:
        head, area, *body = self.rows()
        high = {}
        for number, each in enumerate(self.classes):
            shares = [each.border / self.border_area, *(each.corners / self.corner_area)]
            high[number] = {3 + i for i, share in enumerate(shares) if share >= SUSPECT}
        lines = [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Where the evidence lies</title>',
            f"<style>{STYLE}</style><h1>Where the evidence lies</h1>",
            "<p>Shares of the evidence for the class that each image is labelled with.",
            "In colour: twice or more the share of evenly spread evidence.</p><table><tr>",
            *(f"<th>{escape(cell)}</th>" for cell in head),
            "</tr><tr>",
            *(f"<td>{cell}</td>" for cell in area),
            "</tr>",
        ]
        for number, row in enumerate(body):
            cells = (
                f"<td{' class=look' if i in high[number] else ''}>{escape(cell)}</td>" for i, cell in enumerate(row)
            )
            lines += ["<tr>", *cells, "</tr>"]
        lines.append("</table><ul>")
        lines += [f"<li>{escape(sentence)}</li>" for sentence in self.suspects]
        lines.append("</ul><h2>Mean evidence of each class</h2>")
        lines += [figure(self.mean_picture(each), each.name) for each in self.classes if each.mean.any()]
        lines.append("<h2>Images whose evidence lies in the background</h2><p>Times the evidence of their area.</p>")
        for number, one in self.worst:
            lines.append(figure(one.draw(), f"image {number}, {one.title}, {self.background[number]:.1f} times"))
        return [*lines, "</html>"]


def figure(picture: Picture, caption: str) -> str:
    data = base64.b64encode(draw.png(picture)).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{data}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
