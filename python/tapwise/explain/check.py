"""Checks of explanations, so that nobody has to trust a picture: what a map claims, the network is asked.

deletion, insertion   the class's probability as pixels go, or come, in the map's order          Petsiuk et al., 2018
randomization         maps must change when weights are made random, from the last layer down    Adebayo et al., 2018
pointing_game         whether the map's highest place lies in the object's box                   Zhang et al., 2018
agreement             rank correlation between the maps of several methods
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..arrays import slices
from ..model import Model
from ..random import generator
from .draw import Array, resized
from .explanation import Explanation
from .occlusion import filling
from .subject import images_of

Method: TypeAlias = Callable[..., list[Explanation]]


@dataclass(frozen=True)
class Curve:
    """values[i]: of the class where shares[i] of the pixels are deleted, or inserted; area: its mean over shares."""

    shares: Array
    values: Array
    method: str

    @property
    def area(self) -> float:
        """By trapezoids. Low is good for deletion, high for insertion."""
        middles = (self.values[1:] + self.values[:-1]) / 2
        return float((middles * np.diff(self.shares)).sum())


def deletion(
    model: Model, explanation: Explanation, *, steps: int = 32, fill: Any = None, batch_size: int = 32
) -> Curve:
    """The class's probability, its score without a softmax, while pixels are covered, highest evidence first.

    fill: what covers, a number or one a channel; None: the image's mean, channel by channel.
    """
    image = explanation.image
    return followed(model, explanation, image, filling(image, fill, explanation.channels), steps, batch_size)


def insertion(
    model: Model, explanation: Explanation, *, steps: int = 32, fill: Any = None, batch_size: int = 32
) -> Curve:
    """As deletion, from the covered image back to the whole one. fill None: the image blurred beyond recognition."""
    image, axis = explanation.image, explanation.channels
    start = blurred(image, axis) if fill is None else filling(image, fill, axis)
    return followed(model, explanation, start, image, steps, batch_size)


def followed(model: Model, explanation: Explanation, start: Array, end: Array, steps: int, batch_size: int) -> Curve:
    """From start to end, pixel by pixel in the map's order, in so many steps."""
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    order = np.argsort(-explanation.map.ravel(), kind="stable")
    place = np.empty(order.size, int)
    place[order] = np.arange(order.size)
    shares = np.linspace(0, 1, steps + 1)
    values = []
    for rows in slices(shares, batch_size):
        done = place < (shares[rows] * order.size).round()[:, None]
        done = done.reshape(-1, *explanation.map.shape)
        if explanation.channels is not None:
            done = np.expand_dims(done, explanation.channels + 1)
        tape = model.tape(np.where(done, end, start), None)
        found = tape.scores if tape.probabilities is None else tape.probabilities
        values.append(found[:, explanation.class_index])
    return Curve(shares, np.concatenate(values), explanation.method)


def blurred(image: Array, axis: int | None) -> Array:
    """The image from an eighth of its size on each side, whose pixels are means."""
    for each in range(image.ndim):
        if each != axis:
            size = image.shape[each]
            parts = np.array_split(image, max(1, size // 8), each)
            small = np.concatenate([part.mean(each, keepdims=True) for part in parts], each)
            image = resized(small, [size if i == each else side for i, side in enumerate(small.shape)])
    return image


def random_map(explanation: Explanation, seed: int = 0) -> Explanation:
    """A map of random values, as coarse as explanation's, for comparison."""
    raw = generator(seed).random(explanation.raw.shape, np.float32)
    return replace(explanation, raw=raw, map=resized(raw, explanation.map.shape), method="random", signed=False)


def centred_map(explanation: Explanation) -> Explanation:
    """A blob in the middle, for comparison: objects often stand there. Its deviation is a quarter of each side."""
    found = np.ones((), np.float32)
    for size in explanation.map.shape:
        at = (np.arange(size) + 0.5) / size - 0.5
        found = np.multiply.outer(found, np.exp(-8 * at**2).astype(np.float32))
    return replace(explanation, raw=found, map=found, method="centred blob", signed=False)


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's, -1 to 1, equal values sharing their mean rank; 0 where all values of one are equal."""
    a, b = (ranks(each) for each in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.ravel()])


def agreement(found: Sequence[Sequence[Explanation]]) -> Array:
    """(k, k) mean rank correlation between the maps of k methods, each of which explained the same images."""
    if len({len(each) for each in found}) != 1:
        raise ValueError(f"found must hold as many maps of each method, got {[len(each) for each in found]}")
    table = np.eye(len(found))
    for i, one in enumerate(found):
        for j in range(i):
            pairs = zip(one, found[j], strict=True)
            table[i, j] = table[j, i] = np.mean([rank_correlation(a.map, b.map) for a, b in pairs])
    return table


def pointing_game(explanations: Sequence[Explanation], boxes: Sequence[Any], *, tolerance: float = 0) -> float:
    """The share of maps whose highest place lies in a box, or not more than `tolerance` pixels beside it.

    boxes: for each explanation one or several of (low, ..., high, ...), pixels from low to below high on each axis;
    in two dimensions (top, left, bottom, right).
    """
    if len(explanations) != len(boxes) or not len(boxes):
        raise ValueError(f"boxes must be one for each of {len(explanations)} explanations, got {len(boxes)}")
    hits = 0
    for each, given in zip(explanations, boxes, strict=True):
        rank = each.map.ndim
        table = np.atleast_2d(np.asarray(given, float))
        if table.shape[1] != 2 * rank or (table[:, :rank] >= table[:, rank:]).any():
            raise ValueError(f"boxes must have {2 * rank} numbers, low before high, got {given}")
        at = np.unravel_index(each.map.argmax(), each.map.shape)
        inside = (at >= table[:, :rank] - tolerance) & (at < table[:, rank:] + tolerance)
        hits += bool(each.map.any() and inside.all(1).any())
    return hits / len(explanations)


def randomization(model: Model, images: Array, method: Method, *, seed: int = 0) -> list[tuple[str, float]]:
    """For each layer with weights, from the last to the first: its name, and the mean rank correlation of the maps
    with the first ones when its weights and those of all behind it are shuffled. The model gets them back.

    method: grad_cam or another, or functools.partial of it with arguments of your own. One whose correlation stays
    near 1 draws the image, not what the network makes of it.
    """
    images = images_of(model, images)
    first = method(model, images)
    classes = np.array([each.class_index for each in first]).reshape(len(images), -1)
    shuffled = [layer for layer in model.layers if layer.weights]
    kept = [(weight, weight.value.copy()) for layer in shuffled for weight in layer.weights]
    rng = generator(seed)
    found = []
    try:
        for layer in reversed(shuffled):
            for weight in layer.weights:
                weight.value[...] = rng.permutation(weight.value.ravel()).reshape(weight.shape)
            pairs = zip(first, method(model, images, classes=classes), strict=True)
            found.append((layer.name, float(np.mean([rank_correlation(a.map, b.map) for a, b in pairs]))))
    finally:
        for weight, value in kept:
            weight.value[...] = value
    return found
