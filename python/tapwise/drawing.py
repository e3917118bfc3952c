"""A model as a picture: a box for each layer, arrows along the tensors, in SVG text without any other program."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .layers import InputLayer
from .layers.layer import Cast
from .layers.symbolic import Node, Symbolic

if TYPE_CHECKING:
    from .model import Model

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 230, 44, 26, 34, 14
COLOURS = {
    "Conv": "#cfe3fa", "Depthwise": "#cfe3fa", "Separable": "#cfe3fa", "Dense": "#fadfc7", "Max": "#d5efd3",
    "Average": "#d5efd3", "Global": "#d5efd3", "Adaptive": "#d5efd3", "Batch": "#e9dcf5", "Layer": "#e9dcf5",
    "Group": "#e9dcf5", "Input": "#f3f3f3",
}  # fmt: skip


def plot_model(
    model: Model,
    to_file: str | os.PathLike[str] = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
) -> str:
    """Draw the layers top to bottom and write the picture to to_file, an .svg; its text is returned.

    show_shapes adds the outputs' shapes, show_dtype their type, show_layer_names the names beside the classes.
    """
    path = Path(to_file)
    if path.suffix != ".svg":
        raise ValueError(f"to_file must end in .svg, got {path}")
    model.count_params()  # refuses a model without shapes
    nodes = [*(tensor.node for tensor in model.inputs), *model.nodes]
    shown = {"shapes": show_shapes, "dtype": show_dtype, "names": show_layer_names}
    text = "\n".join(picture(nodes, shown)) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def placed(nodes: list[Node]) -> dict[Node, tuple[int, int]]:
    """The column and row of each: below all that it reads, in the column of the first of them if that is free.

    A tensor read further down keeps its column free until there, so that its arrow crosses no box.
    """
    row: dict[Node, int] = {}
    for node in nodes:
        row[node] = 1 + max((row[t.node] for t in node.inputs if t.node in row), default=-1)
    at: dict[Node, tuple[int, int]] = {}
    taken: set[tuple[int, int]] = set()
    for node in sorted(nodes, key=row.__getitem__):
        column, level = min((at[t.node][0] for t in node.inputs if t.node in at), default=0), row[node]
        last = max((row[reader] for reader in nodes if node.output in reader.inputs), default=level + 1)
        needed = range(level, max(last, level + 1))
        while any((column, each) in taken for each in needed):
            column += 1
        taken |= {(column, each) for each in needed}
        at[node] = column, level
    return at


def picture(nodes: list[Node], shown: dict[str, bool]) -> list[str]:
    height = HEIGHT if shown["shapes"] or shown["dtype"] else HEIGHT - 14
    where = {
        node: (MARGIN + i * (WIDTH + GAP_X), MARGIN + level * (height + GAP_Y))
        for node, (i, level) in placed(nodes).items()
    }
    across = max(x for x, _ in where.values()) + WIDTH + MARGIN
    down = max(y for _, y in where.values()) + height + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" viewBox="0 0 {across} {down}"',
        ' font-family="sans-serif" font-size="12" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
        f'<rect width="{across}" height="{down}" fill="white"/>',
    ]
    for node in nodes:
        for tensor in node.inputs:
            lines.append(arrow(where[tensor.node], where[node], height))
    return [*lines, *(line for node in nodes for line in box(node, *where[node], height, shown)), "</svg>"]


def arrow(start: tuple[int, int], end: tuple[int, int], height: int) -> str:
    """Straight down its own column, then over to the box that reads it, in the space above that."""
    x, y = start[0] + WIDTH // 2, start[1] + height
    to_x, to_y = end[0] + WIDTH // 2, end[1]
    bend = to_y - GAP_Y + 6
    path = f"M{x} {y}V{to_y}" if x == to_x else f"M{x} {y}V{bend}L{to_x} {to_y - 9}V{to_y}"
    return f'<path d="{path}" fill="none" stroke="black" marker-end="url(#tip)"/>'


def box(node: Node, x: int, y: int, height: int, shown: dict[str, bool]) -> list[str]:
    kind = type(node.layer).__name__
    colour = next((value for key, value in COLOURS.items() if kind.startswith(key)), "#fff6cc")
    title = f"{node.layer.name} ({kind})" if shown["names"] else kind
    activation = getattr(node.layer, "activation", None)
    if isinstance(activation, str) and not isinstance(node.layer, (InputLayer, Cast)):
        title += f", {activation}"
    facts = detail(node.output, shown)
    middle = x + WIDTH // 2
    lines = [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="5" fill="{colour}" stroke="#555"/>',
        f'<text x="{middle}" y="{y + 19}"{fit(title)}>{escape(title)}</text>',
    ]
    if facts:
        lines.append(f'<text x="{middle}" y="{y + 36}" fill="#444"{fit(facts)}>{escape(facts)}</text>')
    return lines


def fit(text: str) -> str:
    """A text too long for its box is squeezed into it."""
    return f' textLength="{WIDTH - 12}" lengthAdjust="spacingAndGlyphs"' if len(text) > 33 else ""


def detail(tensor: Symbolic, shown: dict[str, bool]) -> str:
    parts = [f"(None, {', '.join(map(str, tensor.example))})"] if shown["shapes"] else []
    if shown["dtype"] and tensor.dtype is not None:
        parts.append(tensor.dtype.name)
    return " ".join(parts)
