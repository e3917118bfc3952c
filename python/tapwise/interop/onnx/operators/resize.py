"""Resize and Upsample: along each axis every output is a weighted sum of a few inputs, so axes go one by one.

Coordinates and the cubic kernel are those of ONNX' specification; Keys, "Cubic convolution interpolation", 1981.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node
from ..run import Run
from ..values import Array, Shape, Value, positive
from .shape import memory_axis


class Axis(NamedTuple):
    """One axis: sizes, scale, and for tf_crop_and_resize the part of it."""

    size: int
    output: int
    scale: float
    start: float
    end: float


class Taps(NamedTuple):
    """Output j is the sum over k of weights[j, k] * x[at[j, k]]; outside: outputs that lie beyond the input."""

    at: Array
    weights: Array
    outside: Array


def coordinates(a: Axis, mode: str) -> Array:
    """Where in the input each output lies."""
    j, n, m, scale = np.arange(a.output, dtype=np.float64), a.size, a.output, a.scale
    if mode == "asymmetric":
        return np.asarray(j / scale)
    if mode == "align_corners":
        return np.asarray(j * (n - 1) / (n * scale - 1) if m > 1 else np.zeros(m))
    if mode == "tf_half_pixel_for_nn":
        return np.asarray((j + 0.5) / scale)
    if mode == "tf_crop_and_resize":
        if m > 1:
            return np.asarray(a.start * (n - 1) + j * (a.end - a.start) * (n - 1) / (m - 1))
        return np.full(m, 0.5 * (a.start + a.end) * (n - 1))
    half = (j + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return half if m > 1 else np.zeros(m)
    if mode == "half_pixel_symmetric":
        centre = n / 2 * (1 - m / (scale * n))
        return np.asarray(centre + half)
    if mode != "half_pixel":
        raise ValueError(f"coordinate_transformation_mode must be one that ONNX has, got {mode!r}")
    return np.asarray(half)


def nearest(where: Array, size: int, rule: str) -> Array:
    down, up = np.floor(where), np.ceil(where)
    if rule == "floor":
        at = down
    elif rule == "ceil":
        at = up
    else:
        half = where - down == 0.5
        at = np.where(half, down if rule == "round_prefer_floor" else up, np.floor(where + 0.5))
    return np.clip(at, 0, size - 1).astype(np.int64)


def kernel(mode: str, cubic_a: float, distance: Array) -> Array:
    d = np.abs(distance)
    if mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    a = cubic_a
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))


def taps(a: Axis, node: Node, transformation: str) -> Taps:
    """The inputs that each output of an axis is made of."""
    mode = mode_of(node)
    where = coordinates(a, transformation)
    outside = (where < 0) | (where > a.size - 1) if transformation == "tf_crop_and_resize" else np.zeros(a.output, bool)
    if mode == "nearest":
        at = nearest(where, a.size, node.get("nearest_mode", "round_prefer_floor"))
        return Taps(at[:, None], np.ones((a.output, 1)), outside)
    stretch = min(a.scale, 1.0) if node.get("antialias", 0) else 1.0
    reach = (1 if mode == "linear" else 2) / stretch
    count = int(np.ceil(2 * reach)) + 1
    at = np.floor(where - reach).astype(np.int64)[:, None] + 1 + np.arange(count)
    weights = kernel(mode, node.get("cubic_coeff_a", -0.75), (at - where[:, None]) * stretch)
    if node.get("exclude_outside", 0):
        weights = np.where((at < 0) | (at >= a.size), 0, weights)
    if node.get("exclude_outside", 0) or stretch < 1:
        weights = weights / weights.sum(1, keepdims=True)
    return Taps(np.clip(at, 0, a.size - 1), weights, outside)


def along(x: Array, t: Taps, axis: int) -> Array:
    """x with its axis resized, in float64 unless values are only picked."""
    if t.at.shape[1] == 1:
        return np.take(x, t.at[:, 0], axis)
    matrix = np.zeros((len(t.at), x.shape[axis]))
    np.add.at(matrix, (np.arange(len(t.at))[:, None], t.at), t.weights)
    return np.moveaxis(np.tensordot(matrix.astype(x.dtype), x, (1, axis)), 0, axis)


def resize(
    run: Run, node: Node, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
) -> Value:
    if node.version < 11:
        scales, roi = roi, None
    if sizes is not None and sizes.memory.shape != (0,):
        scales = None
    arrays = [None if each is None else run.known(each) for each in (roi, scales, sizes)]
    return resized(run, node, x, resize_plans(node, x.shape, *arrays), transformation_of(node))


def transformation_of(node: Node) -> str:
    return "asymmetric" if node.version < 11 else str(node.get("coordinate_transformation_mode", "half_pixel"))


def resize_plans(
    node: Node, shape: Shape, roi: Array | None, scales: Array | None, sizes: Array | None
) -> dict[int, Axis]:
    """Sizes and scales of the axes that change."""
    mode, rank = node.get("mode", "nearest"), len(shape)
    if mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"mode must be nearest, linear or cubic, got {mode!r}")
    axes = [positive(int(axis), rank) for axis in node.get("axes") or range(rank)]
    old = [shape[axis] for axis in axes]
    if sizes is not None and sizes.shape != (0,):
        new = [int(size) for size in sizes]
        by = [m / n for m, n in zip(new, old, strict=True)]
        if (policy := node.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
            scale = min(by) if policy == "not_larger" else max(by)
            new, by = [int(np.floor(scale * n + 0.5)) for n in old], [scale] * len(old)
    else:
        numbers = node.get("scales") if scales is None else scales.tolist()
        by = [float(number) for number in numbers]
        if min(by, default=1) <= 0:
            raise ValueError(f"scales must be > 0, got {by}")
        new = [int(np.floor(n * scale)) for n, scale in zip(old, by, strict=True)]
    boxed = roi is not None and roi.size
    plans = {}
    for number, (axis, n, m, scale) in enumerate(zip(axes, old, new, by, strict=True)):
        start, end = (float(roi[number]), float(roi[number + len(axes)])) if roi is not None and boxed else (0.0, 1.0)
        cropped = boxed and node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if m != n or scale != 1 or (cropped and (start, end) != (0, 1)):
            plans[axis] = Axis(n, m, scale, start, end)
    return plans


def resized(run: Run, node: Node, x: Value, plans: dict[int, Axis], transformation: str) -> Value:
    run.check_size([plans[a].output if a in plans else n for a, n in enumerate(x.shape)], x.dtype)
    run.need(x.dtype.kind in "fiu", f"of {x.dtype}")
    for plan in plans.values():
        run.check_size((plan.output, plan.size + 8), np.float64)  # its matrix of weights
    made = [(memory_axis(x, axis), taps(plan, node, transformation)) for axis, plan in plans.items()]
    exact = x.dtype.kind == "f" and x.dtype != np.float16
    picks, filler = mode_of(node) == "nearest", node.get("extrapolation_value", 0.0)

    def step(a: Array) -> Array:
        y = a if exact or picks else a.astype(np.float64)
        for axis, t in made:
            y = along(y, t, axis)
        for axis, t in made:
            if t.outside.any():
                y = y.copy()
                np.moveaxis(y, axis, 0)[t.outside] = filler
        return y if y.dtype == a.dtype else (np.rint(y) if a.dtype.kind in "iu" else y).astype(a.dtype)

    return Value(run.made(step, x.memory), x.last)


def mode_of(node: Node) -> str:
    mode = str(node.get("mode", "nearest"))
    return "linear" if mode == "bilinear" else mode


def upsample_plans(node: Node, shape: Shape, scales: Array | None) -> dict[int, Axis]:
    node.attributes.setdefault("nearest_mode", "floor")
    given = node.get("scales") if scales is None else scales.tolist()
    return {
        axis: Axis(n, int(np.floor(n * scale)), float(scale), 0.0, 1.0)
        for axis, (n, scale) in enumerate(zip(shape, given, strict=True))
        if scale != 1
    }


def upsample(run: Run, node: Node, x: Value, scales: Value | None = None) -> Value:
    plans = upsample_plans(node, x.shape, None if scales is None else run.known(scales))
    return resized(run, node, x, plans, "asymmetric")


OPERATORS: dict[str, Callable[..., Any]] = {"Resize": resize, "Upsample": upsample}
