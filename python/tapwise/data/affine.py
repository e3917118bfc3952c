"""Affine maps of many images at once: from pixels (x, y, 1) of the output to the input's, (n, 3, 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .philox import Doubles


def matrices(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Doubles:
    """Numbers or (n,) -> (n, 3, 3): x = a column + b row + c, y = d column + e row + f."""
    rows = np.broadcast_arrays(a, b, c, d, e, f, 0.0, 0.0, 1.0)
    return np.stack(rows, -1).astype(np.float64).reshape(-1, 3, 3)


def around_centre(a: Any, b: Any, d: Any, e: Any, size: tuple[int, int]) -> Doubles:
    """The map of [[a, b], [d, e]] that keeps the centre of an image of that size where it is."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    return matrices(a, b, x - a * x - b * y, d, e, y - d * x - e * y)


def move_points(points: NDArray[Any], maps: Doubles) -> Doubles:
    """(n, k, 2) x, y in the input -> in the output."""
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"keypoints must have shape (n, k, 2), got {points.shape}")
    back = np.linalg.inv(maps)
    moved: Doubles = points @ back[:, :2, :2].transpose(0, 2, 1) + back[:, None, :2, 2]
    return moved


def move_boxes(boxes: NDArray[Any], maps: Doubles, size: tuple[int, int]) -> Doubles:
    """(n, k, 4) left top right bottom -> the upright boxes around them, clipped; NaN outside.

    Boxes count from the first pixel's edge, maps from its centre.
    """
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise ValueError(f"bounding_boxes must have shape (n, k, 4), got {boxes.shape}")
    n, k = boxes.shape[:2]
    corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].astype(np.float64).reshape(n, k * 4, 2) - 0.5
    corners = move_points(corners, maps).reshape(n, k, 4, 2) + 0.5
    limits = np.array([size[1], size[0]], np.float64)
    low, high = (np.clip(edge, 0, limits) for edge in (corners.min(2), corners.max(2)))
    moved = np.concatenate([low, high], -1)
    moved[(low >= high).any(-1)] = np.nan
    return moved
