"""Class activation maps: maps of a layer, weighed by what they do for a class, added up and drawn over the image.

  A (n, *s, c)  what the layer gives for the images, S the class's score before the softmax, g = dS/dA
  Grad-CAM      max(0, sum_c w_c A_c), w_c the mean of g_c over the map        Selvaraju et al., 2017
  Grad-CAM++    w_c = sum(a max(0, g_c)), a = g^2 / (2 g^2 + g^3 sum(A_c))     Chattopadhay et al., 2018
  LayerCAM      sum_c max(0, g_c) A_c, place by place                          Jiang et al., 2021
  Score-CAM     w = softmax over c of S(image where A_c is high) - S(nothing)  Wang et al., 2020
  Eigen-CAM     A's places along A's first principal direction, any class      Muhammad & Yeasin, 2020

The gradient ends at the layer, so a map costs little more than a prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from ..arrays import slices
from ..console import Progress
from ..model import Model
from ..tape import Tape
from .draw import Array, resized
from .explanation import Explanation
from .subject import Answer, Classes, channel_axis, chosen, images_of, maps_of, need_scores, one_hot

Gradient: TypeAlias = Callable[[], Array]  # makes g (n, places, c)
Weigh: TypeAlias = Callable[[Array, Gradient], Array]  # A (n, places, c) -> (n, places)


def grad_cam(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    layer: str | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Grad-CAM of images (n, ...), or of one, for each image and class in turn.

    classes: numbers for all images, or a row (n, k) of them for each; None: the `top` with the highest scores.
    layer: the name of one that gives maps; None: the maps behind the last convolution, with the normalization,
    activation and sum that follow it. map lies in [0, 1]. Raises ValueError on what the model doesn't have.
    """
    return weighed("Grad-CAM", mean_gradient, model, images, classes, top, layer, batch_size, verbose)


def grad_cam_plus_plus(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    layer: str | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Grad-CAM++, which sees several objects of a class better; the arguments are grad_cam's."""
    return weighed("Grad-CAM++", plus_plus, model, images, classes, top, layer, batch_size, verbose)


def layer_cam(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    layer: str | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """LayerCAM, which shows fine detail in early layers too; the arguments are grad_cam's."""
    return weighed("LayerCAM", place_by_place, model, images, classes, top, layer, batch_size, verbose)


def mean_gradient(a: Array, gradient: Gradient) -> Array:
    return added(a, gradient().mean(1))


def plus_plus(a: Array, gradient: Gradient) -> Array:
    g = gradient()
    below = 2 * g**2 + g**3 * a.sum(1, keepdims=True)
    alpha = np.divide(g**2, below, out=np.zeros_like(g), where=below != 0)
    return added(a, (alpha * np.maximum(g, 0)).sum(1))


def place_by_place(a: Array, gradient: Gradient) -> Array:
    return np.asarray((np.maximum(gradient(), 0) * a).sum(-1))


def first_direction(a: Array, gradient: Gradient) -> Array:
    """Singular vectors have no sign: the one with the larger sum of places is taken."""
    _, _, directions = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    along = added(a, directions[:, 0])
    return along * np.where(along.sum(1, keepdims=True) < 0, -1, 1)


def added(a: Array, w: Array) -> Array:
    """a (n, places, c) times w (n, c), summed over c."""
    return np.asarray(np.matmul(a, w[..., None])[..., 0])


def weighed(
    method: str,
    weigh: Weigh,
    model: Model,
    images: Array,
    classes: Classes,
    top: int,
    layer: str | None,
    batch_size: int,
    verbose: int | str,
) -> list[Explanation]:
    images = images_of(model, images)
    count = need_scores(model)
    tensor = maps_of(model, layer)
    table = None if classes is None else chosen(np.empty((len(images), count)), classes, top)
    batches = slices(images, batch_size)
    found: list[Explanation] = []
    with Progress(len(batches), epochs=None, verbose=verbose) as progress:
        for step, rows in enumerate(batches, 1):
            tape = model.tape(images[rows], [tensor])
            wanted = chosen(tape.scores, None, top) if table is None else table[rows]
            answer = Answer(model, images[rows], tape, method, tensor.name, False)
            axis = channel_axis(model, tensor)
            maps, size = places(tape.values[0], axis)
            raws = [weigh(maps, partial(gradient_at, tape, one_hot(each, count), axis)) for each in wanted.T]
            found += [
                made(answer, i, each, raws[j][i].reshape(size))
                for i, row in enumerate(wanted)
                for j, each in enumerate(row)
            ]
            progress.step(step, {})
        progress.finish({})
    return found


def gradient_at(tape: Tape, dy: Array, axis: int | None) -> Array:
    return places(tape.gradients(dy)[0], axis)[0]


def places(values: Array, axis: int | None) -> tuple[Array, tuple[int, ...]]:
    """Maps (n, *s, c), or (n, c, *s), as (n, places, c), and s."""
    values = values[..., None] if axis is None else np.moveaxis(values, axis + 1, -1)
    return values.reshape(len(values), -1, values.shape[-1]), values.shape[1:-1]


def made(answer: Answer, number: int, class_index: int, raw: Array) -> Explanation:
    """raw (*s) without what is negative, its largest value 1, and the same of the image's size."""
    raw = np.maximum(raw, 0)
    raw = raw / (raw.max() or 1)
    return answer.make(number, class_index, raw, np.clip(resized(raw, answer.size), 0, 1))


def eigen_cam(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    layer: str | None = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Eigen-CAM: what stands out in the maps whatever the class, which is only named; the arguments are grad_cam's."""
    return weighed("Eigen-CAM", first_direction, model, images, classes, top, layer, batch_size, verbose)


def score_cam(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    layer: str | None = None,
    maps: int | None = None,
    baseline: float = 0.0,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Score-CAM: no gradients, a prediction for each of the layer's maps; the other arguments are grad_cam's.

    maps: only so many of them, those that vary most; baseline: the pixels of an image that shows nothing.
    """
    images = images_of(model, images)
    count = need_scores(model)
    tensor = maps_of(model, layer)
    if maps is not None and maps < 1:
        raise ValueError(f"maps must be >= 1, got {maps}")
    table = None if classes is None else chosen(np.empty((len(images), count)), classes, top)
    nothing = model.tape(np.full_like(images[:1], baseline), None).scores[0]
    found: list[Explanation] = []
    axis = channel_axis(model, tensor)
    with Progress(len(images), epochs=None, verbose=verbose) as progress:
        for number, image in enumerate(images):
            tape = model.tape(image[None], [tensor])
            wanted = chosen(tape.scores, None, top)[0] if table is None else table[number]
            answer = Answer(model, image[None], tape, "Score-CAM", tensor.name, False)
            values, size = places(tape.values[0], axis)
            kept = values[0].T[varying(values[0], maps)].reshape(-1, *size)
            rises = masked_scores(model, image, kept, answer, baseline, batch_size) - nothing
            for each in wanted:
                weights = np.exp(rises[:, each] - rises[:, each].max())
                raw = np.tensordot(weights / weights.sum(), kept, 1)
                found.append(made(answer, 0, each, raw))
            progress.step(number + 1, {})
        progress.finish({})
    return found


def varying(values: Array, maps: int | None) -> Array:
    """The numbers of the maps, of (places, c), that vary: so many, those with the widest range first."""
    spread = np.ptp(values, axis=0)
    order = np.argsort(-spread, kind="stable")[: maps or len(spread)]
    return order[spread[order] > 0] if spread.max() > 0 else order[:1]


def masked_scores(model: Model, image: Array, kept: Array, answer: Answer, baseline: float, batch_size: int) -> Array:
    """Scores (maps, classes) of the image where each map is high, and the baseline where it is low."""
    scores = []
    for rows in slices(kept, batch_size):
        masks = np.stack([resized(each, answer.size) for each in kept[rows]])
        masks -= masks.min(tuple(range(1, masks.ndim)), keepdims=True)
        masks /= np.maximum(masks.max(tuple(range(1, masks.ndim)), keepdims=True), 1e-12)
        if answer.axis is not None:
            masks = np.expand_dims(masks, answer.axis + 1)
        scores.append(model.tape(baseline + (image - baseline) * masks, None).scores)
    return np.concatenate(scores)
