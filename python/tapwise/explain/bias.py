"""Where in the images a class's evidence lies, over a data set: marks, borders and backgrounds that go with a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import slices
from ..console import Progress
from ..model import Model
from .cam import grad_cam
from .check import Method
from .draw import Array
from .report import CORNERS, BiasReport, ClassEvidence
from .subject import channel_axis, images_of, need_scores, spatial

CORNER_SIDE = 0.25  # of the image's


def bias_report(
    model: Model,
    images: Array,
    labels: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    masks: ArrayLike | None = None,
    method: Method = grad_cam,
    border: float = 0.1,
    worst: int = 12,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> BiasReport:
    """Where the evidence for their labels lies in images (n, h, w, c) with labels (n,): class numbers.

    masks: (h, w) or (n, h, w), true where evidence is welcome; border: the width of the border, a share of each side;
    method: grad_cam or another of one map an image; worst: how many images with most evidence in the background to
    keep. One map at a time is held beside the sums, so that n may be large.
    """
    images = images_of(model, images)
    numbers, names, inside = checked(model, images, labels, class_names, masks, border)
    regions = places(inside.shape[-2:], border)
    outside = None if masks is None else ~np.broadcast_to(inside, (len(images), *inside.shape[-2:]))
    sums = np.zeros((len(names), *inside.shape[-2:]))
    shares = np.zeros((len(images), len(regions) + 1))  # of each image's evidence; the last one outside of its mask
    right = np.zeros(len(images), bool)
    batches = slices(images, batch_size)
    with Progress(len(batches), epochs=None, verbose=verbose) as progress:
        for step, rows in enumerate(batches, 1):
            right[rows] = model.tape(images[rows], None).scores.argmax(1) == numbers[rows]
            found = method(model, images[rows], classes=numbers[rows, None], verbose=0)
            for at, each in enumerate(found, rows.start):
                evidence = each.evidence()
                sums[numbers[at]] += evidence
                shares[at, :-1] = [evidence[region].sum() for region in regions]
                shares[at, -1] = 0 if outside is None else evidence[outside[at]].sum()
            progress.step(step, {})
        progress.finish({})
    areas = np.array([region.mean() for region in regions])
    if outside is None:
        background = (shares[:, :-1] / areas).max(1)
    else:
        background = shares[:, -1] / np.maximum(outside.mean((1, 2)), 1e-12)
    order = np.argsort(-background, kind="stable")
    classes = [
        ClassEvidence(
            name, int(of.sum()), float(right[of].mean()), sums[c] / max(sums[c].sum(), 1e-12),
            float(shares[of, 0].mean()), shares[of, 1:-1].mean(0),
            None if outside is None else float(shares[of, -1].mean()),
        )
        for c, name in enumerate(names)
        if (of := numbers == c).any()
    ]  # fmt: skip
    kept = order[:worst]
    again = method(model, images[kept], classes=numbers[kept, None], verbose=0) if worst else []
    again = [replace(each, class_name=names[each.class_index]) for each in again]
    return BiasReport(
        classes, order, background, float(areas[0]), float(areas[1]),
        None if outside is None else float(outside.mean()), [*zip(map(int, kept), again, strict=True)],
    )  # fmt: skip


def checked(
    model: Model,
    images: Array,
    labels: ArrayLike,
    class_names: Sequence[str] | None,
    masks: ArrayLike | None,
    border: float,
) -> tuple[Array, list[str], Array]:
    """Class numbers (n,), names, and where evidence is welcome, (h, w) or (n, h, w)."""
    count = need_scores(model)
    numbers = np.asarray(labels)
    if numbers.shape != (len(images),) or numbers.dtype.kind not in "iu":
        raise ValueError(f"labels must be {len(images)} class numbers, got {numbers.dtype} of shape {numbers.shape}")
    if numbers.min() < 0 or numbers.max() >= count:
        raise ValueError(f"labels must be of 0 to {count - 1}, got {numbers.min()} to {numbers.max()}")
    names = [f"class {c}" for c in range(count)] if class_names is None else list(class_names)
    if len(names) != count:
        raise ValueError(f"class_names must be {count}, got {len(names)}")
    if not 0 < border < 0.5:
        raise ValueError(f"border must be in (0, 0.5), got {border}")
    size = spatial(images.shape[1:], channel_axis(model, model.inputs[0]))
    if len(size) != 2:
        raise ValueError(f"images must have two axes of space, (n, h, w, c), got {images.shape}")
    inside = np.ones(size, bool) if masks is None else np.asarray(masks, bool)
    if inside.shape not in (size, (len(images), *size)):
        raise ValueError(f"masks must be {size} or {(len(images), *size)}, got {inside.shape}")
    return numbers, names, inside


def places(size: tuple[int, ...], border: float) -> list[Array]:
    """Where the border and the four corners are, each (h, w) bool; at least a pixel wide."""
    h, w = size
    ring = np.ones(size, bool)
    high, wide = (max(1, round(border * side)) for side in size)
    ring[high : h - high, wide : w - wide] = False
    corners = [np.zeros(size, bool) for _ in CORNERS]
    tall, broad = (max(1, round(CORNER_SIDE * side)) for side in size)
    for corner, rows, columns in zip(
        corners,
        (slice(tall), slice(tall), slice(h - tall, h), slice(h - tall, h)),
        (slice(broad), slice(w - broad, w), slice(broad), slice(w - broad, w)),
        strict=True,
    ):
        corner[rows, columns] = True
    return [ring, *corners]
