"""A model as Keras' table: layer, output shape, parameters, and the share of them that shows the bottleneck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .layers.layer import Layer, Parameter
from .layers.reshape import Flatten
from .layers.symbolic import Node

if TYPE_CHECKING:
    from .model import Model

HEADING = ("Layer (type)", "Output Shape", "Param #", "Share", "Connected to")
WIDTHS = (31, 22, 13, 8, 20)  # at least, as in Keras
LEFT = (0, 1, 4)  # columns that start at the left
POINTER = " ◀"


def summary(model: Model) -> str:
    """The table, the totals, and a line about the layer with most of the parameters.

    A graph has a column of what each layer reads, as name[call][0]; a row of layers has none, as nothing is to tell.
    """
    counts = [layer.count_params() for layer in model.layers]
    total = sum(counts)
    largest = counts.index(max(counts)) if total else None
    nodes = {layer: [node for node in model.nodes if node.layer is layer] for layer in model.layers}
    columns = 4 if is_row(model) else 5
    rows = []
    for i, (layer, count) in enumerate(zip(model.layers, counts, strict=True)):
        share = f"{count / total:.1%}{POINTER if i == largest else ''}" if total else ""
        name, given = f"{layer.name} ({type(layer).__name__})", f"{count:,}" if layer.built else "0 (unbuilt)"
        rows.append((name, shape_of(layer, nodes[layer]), given, share, read_by(nodes[layer], nodes))[:columns])
    lines = [f'Model: "{model.name}"', *table(HEADING[:columns], rows)]
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


def is_row(model: Model) -> bool:
    """Whether it was made as a Sequential, which names no InputLayer."""
    return not any(tensor.node.layer in model.layers for tensor in model.inputs)


def shape_of(layer: Layer, nodes: list[Node]) -> str:
    """Of what the layer gives in this model; an InputLayer is in the graph by its own node."""
    found = nodes or [node for node in layer.nodes if not node.inputs]
    return f"(None, {', '.join(map(str, found[0].output.example))})" if found else "?"


def read_by(nodes: list[Node], places: dict[Layer, list[Node]]) -> str:
    def text(node: Node) -> str:
        calls = places.get(node.layer, [])
        return f"{node.layer.name}[{calls.index(node) if node in calls else 0}][0]"

    return ", ".join(text(tensor.node) for node in nodes for tensor in node.inputs) or "-"


def bottleneck(model: Model, i: int) -> str:
    """Where the many weights of layers[i] come from, if it reads flattened maps."""
    before = next((node for node in model.nodes if node.layer is model.layers[i]), None)
    while before and len(before.inputs) == 1:
        size, before = math.prod(before.inputs[0].example), before.inputs[0].node
        if isinstance(before.layer, Flatten):
            return f", as it reads all {size:,} values of {before.layer.name}"
        if before.layer.weights:
            break
    return ""


def table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table; numbers end at the right."""
    least = WIDTHS[: len(heading)]
    widths = [max(w, *map(len, column)) for w, *column in zip(least, heading, *rows, strict=True)]

    def line(cells: tuple[str, ...], bar: str) -> str:
        sized = enumerate(zip(cells, widths, strict=True))
        placed = (f" {cell:<{w}} " if i in LEFT else f" {cell:>{w}} " for i, (cell, w) in sized)
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


def sparsity(model: Model, threshold: float) -> str:
    """For each array of weights the share that is next to nothing, and its regularizer."""
    rows = []
    for layer in model.layers:
        for weight in layer.trainable_weights:
            sizes = np.abs(weight.value)
            small = int((sizes <= threshold * sizes.max(initial=0)).sum())
            share = f"{small / max(1, sizes.size):.1%}"
            kind = type(weight.regularizer).__name__ if weight.regularizer else "-"
            rows.append((f"{layer.name}/{weight.name}", kind, f"{sizes.size:,}", share))
    return "\n".join(table(("Weights", "Regularizer", "Size", "Near 0"), rows))


def numbered(names: list[str]) -> list[str]:
    """Each name once: a layer that gives two outputs has a number behind the second."""
    return [f"{name}_{names[:i].count(name)}" if name in names[:i] else name for i, name in enumerate(names)]
