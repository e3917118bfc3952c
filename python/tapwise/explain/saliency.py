"""Sensitivity to single pixels: how a class's score S changes as they change, by dS/dx.

vanilla     max over channels of |dS/dx|                                       Simonyan et al., 2014
x-input     sum over channels of x dS/dx
smoothgrad  vanilla of the mean dS/dx over copies of x with noise              Smilkov et al., 2017
integrated  sum over channels of (x - b) mean dS/dx on the way from b to x:
            it adds up to S(x) - S(b)                                          Sundararajan et al., 2017
guided      vanilla where only what is positive flows back through a ReLU      Springenberg et al., 2015
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..arrays import slices
from ..console import Progress
from ..model import Model
from ..random import generator
from .draw import Array
from .explanation import Explanation
from .subject import Answer, Classes, chosen, images_of, need_scores, one_hot

Copy: TypeAlias = Callable[[Array], Array]  # numbers of copies of an image -> those copies
KINDS = {
    "vanilla": "saliency",
    "x-input": "gradient x input",
    "smoothgrad": "SmoothGrad",
    "integrated": "integrated gradients",
    "guided": "guided backpropagation",
}
SIGNED = ("x-input", "integrated")


def saliency(
    model: Model,
    images: Array,
    *,
    classes: Classes = None,
    top: int = 1,
    kind: str = "vanilla",
    samples: int = 25,
    noise: float = 0.15,
    steps: int = 32,
    baseline: Any = 0.0,
    seed: int = 0,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> list[Explanation]:
    """Maps of dS/dx of images (n, ...), or of one, for each image and class in turn; classes and top as in grad_cam.

    kind: one of KINDS. smoothgrad: `samples` copies with normal noise of `noise` times the image's range. integrated:
    `steps` points on the way from baseline, a number or an image. batch_size: images, or copies of one, at a time.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for name, value in (("samples", samples), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    if not noise >= 0:
        raise ValueError(f"noise must be >= 0, got {noise}")
    images = images_of(model, images)
    count = need_scores(model)
    base = np.broadcast_to(np.asarray(baseline, images.dtype), images.shape[1:])
    table = None if classes is None else chosen(np.empty((len(images), count)), classes, top)
    copies = {"smoothgrad": samples, "integrated": steps}.get(kind)
    groups = slices(images, batch_size if copies is None else 1)
    found: list[Explanation] = []
    with Progress(len(groups), epochs=None, verbose=verbose) as progress:
        for step, rows in enumerate(groups, 1):
            x = images[rows]
            tape = model.tape(x)
            wanted = chosen(tape.scores, None, top) if table is None else table[rows]
            if copies is None:
                ones = [one_hot(each, count) for each in wanted.T]
                gradients = [tape.gradients(each, guided=kind == "guided")[0] for each in ones]
            else:
                rng = generator(seed + step - 1)
                copy = noisy(x, noise * float(np.ptp(x)), rng) if kind == "smoothgrad" else between(base, x, steps)
                gradients = mean_gradients(model, copy, copies, batch_size, wanted[0], count)
            answer = Answer(model, x, tape, KINDS[kind], None, kind in SIGNED)
            scale = x if kind == "x-input" else x - base if kind == "integrated" else None
            for i, row in enumerate(wanted):
                for each, gradient in zip(row, gradients, strict=True):
                    flat = reduced(gradient[i], None if scale is None else scale[i], answer.axis)
                    found.append(answer.make(i, each, flat, flat))
            progress.step(step, {})
        progress.finish({})
    return found


def noisy(x: Array, deviation: float, rng: np.random.Generator) -> Copy:
    def copy(numbers: Array) -> Array:
        return np.asarray(x + deviation * rng.standard_normal((len(numbers), *x.shape[1:]), np.float32))

    return copy


def between(base: Array, x: Array, steps: int) -> Copy:
    """The middles of so many parts of the way from base to x, those of these numbers."""

    def copy(numbers: Array) -> Array:
        share = ((numbers + 0.5) / steps).reshape(-1, *(1,) * (x.ndim - 1))
        return base + (x - base) * share

    return copy


def mean_gradients(model: Model, copy: Copy, copies: int, batch_size: int, classes: Array, count: int) -> list[Array]:
    """The mean of dS/dx over copies of one image, (1, ...) for each class; copy(numbers) makes some of them."""
    numbers = np.arange(copies)
    sums = [np.zeros((1, *model.inputs[0].example), model.dtype) for _ in classes]
    for rows in slices(numbers, batch_size):
        tape = model.tape(copy(numbers[rows]).astype(model.dtype))
        for total, each in zip(sums, classes, strict=True):
            dy = one_hot(np.full(len(tape.scores), each), count)
            total += tape.gradients(dy)[0].sum(0, keepdims=True)
    return [each / copies for each in sums]


def reduced(gradient: Array, scale: Array | None, axis: int | None) -> Array:
    """One image's gradient without its channels: the largest size, or with scale the sum of the products."""
    values: Array = np.abs(gradient) if scale is None else gradient * scale
    if axis is None:
        return values
    return np.asarray(values.max(axis) if scale is None else values.sum(axis))
