"""A model as Keras' table: layer, output shape, parameters, and the share of them that shows the bottleneck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .layers.layer import Parameter
from .layers.reshape import Flatten

if TYPE_CHECKING:
    from .model import Sequential

WIDTHS = (31, 22, 13, 8)  # at least, as in Keras
POINTER = " ◀"


def summary(model: Sequential) -> str:
    """The table, the totals, and a line about the layer with most of the parameters."""
    counts = [layer.count_params() for layer in model.layers]
    total = sum(counts)
    largest = counts.index(max(counts)) if total else None
    rows = []
    for i, (layer, count) in enumerate(zip(model.layers, counts, strict=True)):
        shape = f"(None, {', '.join(map(str, model.shapes[i + 1][1:]))})" if model.shapes else "?"
        share = f"{count / total:.1%}{POINTER if i == largest else ''}" if total else ""
        rows.append(
            (f"{layer.name} ({type(layer).__name__})", shape, f"{count:,}" if layer.built else "0 (unbuilt)", share)
        )
    lines = [f'Model: "{model.name}"', *table(("Layer (type)", "Output Shape", "Param #", "Share"), rows)]
    trained = model.trainable_weights
    for name, parameters in (
        ("Total", model.weights),
        ("Trainable", trained),
        ("Non-trainable", [w for w in model.weights if w not in trained]),
    ):
        lines.append(f" {name} params: {size(parameters)}")
    if largest is not None:
        share = f"{counts[largest] / total:.1%}"
        lines.append(f" Largest share:{POINTER} {model.layers[largest].name}, {share}{bottleneck(model, largest)}")
    return "\n".join(lines)


def bottleneck(model: Sequential, i: int) -> str:
    """Where the many weights of layers[i] come from, if it reads flattened maps."""
    for before in reversed(model.layers[:i]):
        if isinstance(before, Flatten):
            return f", as it reads all {math.prod(model.shapes[i][1:]):,} values of {before.name}"
        if before.weights:
            break
    return ""


def table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table whose first two columns start at the left, the others end at the right."""
    widths = [max(least, *map(len, column)) for least, *column in zip(WIDTHS, heading, *rows, strict=True)]

    def line(cells: tuple[str, ...], bar: str) -> str:
        placed = (f" {c:<{w}} " if i < 2 else f" {c:>{w}} " for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return f"{bar}{bar.join(placed)}{bar}"

    def rule(left: str, fill: str, between: str, right: str) -> str:
        return left + between.join(fill * (w + 2) for w in widths) + right

    lines = [rule(*"┏━┳┓"), line(heading, "┃"), rule(*"┡━╇┩")]
    for number, cells in enumerate(rows):
        if number:
            lines.append(rule(*"├─┼┤"))
        lines.append(line(cells, "│"))
    return [*lines, rule(*"└─┴┘")]


def size(parameters: list[Parameter]) -> str:
    """Their number and memory, as Keras writes it: 34,826 (136.04 KB)."""
    memory = float(sum(w.value.nbytes for w in parameters))
    unit = "B"
    for larger in ("KB", "MB", "GB"):
        if memory >= 1024:
            memory, unit = memory / 1024, larger
    return f"{sum(w.value.size for w in parameters):,} ({memory:.2f} {unit})"
