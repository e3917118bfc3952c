"""The poolings of torch.nn.functional; see functional, whose part this is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from .given import Array
from .images import FIRST, images, sizes

Sizes: TypeAlias = int | Sequence[int]


def per_axis(value: Any, rank: int, name: str) -> tuple[int, ...]:
    found = sizes(value, rank, name)
    return found if isinstance(found, tuple) else (found,) * rank


def halves(rank: int, padding: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    given = per_axis(padding, rank, "padding")
    if any(not 0 <= 2 * p <= k for p, k in zip(given, size, strict=True)):
        raise ValueError(f"padding must be at most half of kernel_size {size}, got {given}")
    return given


def max_pool(
    rank: int, x: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    x, alone = images(x, rank)
    size = per_axis(size, rank, "kernel_size")
    found = ops.max_pool(
        x, size, strides=None if stride is None else sizes(stride, rank, "stride"),
        padding=halves(rank, padding, size), dilation=sizes(dilation, rank, "dilation"), ceil_mode=ceil_mode,
        return_indices=return_indices, **FIRST,
    )  # fmt: skip
    return unbatched(found, alone)


def unbatched(found: Any, alone: bool) -> Any:
    if not alone:
        return found
    return (found[0][0], found[1][0]) if isinstance(found, tuple) else found[0]


def max_pool1d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """(n, c, iw) -> (n, c, ow), with return_indices and where in iw each was; a NaN wins."""
    return max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """(n, c, ih, iw) -> (n, c, oh, ow), with return_indices and where in the plane each was; a NaN wins."""
    return max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """(n, c, id, ih, iw) -> (n, c, od, oh, ow), with return_indices and where in the volume each was; a NaN wins."""
    return max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def average_pool(
    rank: int, x: Any, size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: int | None
) -> Array:
    x, alone = images(x, rank)
    size = per_axis(size, rank, "kernel_size")
    stride = size if stride is None else per_axis(stride, rank, "stride")
    padding = halves(rank, padding, size)
    if divisor is not None and not divisor:
        raise ValueError("divisor_override must not be 0, got 0")
    y = ops.average_pool(
        x, size, strides=stride, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=include or divisor is not None, **FIRST,
    )  # fmt: skip
    if divisor is not None:
        y *= window_counts(x.shape[2:], y.shape[2:], size, stride, padding).astype(y.dtype) / y.dtype.type(divisor)
    return y[0] if alone else y


def window_counts(
    inputs: tuple[int, ...], outputs: tuple[int, ...], size: Any, stride: Any, padding: Any
) -> np.ndarray[Any, Any]:
    """How many positions of each window lie in the padded input: all but those that ceil_mode lets stand out."""
    counts = np.ones((1,) * len(inputs))
    for axis, (i, o, k, s, p) in enumerate(zip(inputs, outputs, size, stride, padding, strict=True)):
        starts = np.arange(o) * s - p
        inside = np.minimum(starts + k, i + p) - starts
        counts = counts * inside.reshape([o if each == axis else 1 for each in range(len(inputs))])
    return counts


def avg_pool1d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:  # fmt: skip
    """(n, c, iw) -> (n, c, ow)."""
    return average_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """(n, c, ih, iw) -> (n, c, oh, ow); divisor_override divides the windows' sums in place of their sizes."""
    return average_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """(n, c, id, ih, iw) -> (n, c, od, oh, ow); divisor_override divides the windows' sums in place of their sizes."""
    return average_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def targets(x: Array, rank: int, output_size: Any) -> tuple[int, ...]:
    """output_size, an axis's own size where it is None."""
    wanted = output_size if isinstance(output_size, Sequence) else (output_size,) * rank
    if len(wanted) != rank:
        raise ValueError(f"output_size must be an integer or one for each of {rank} axes, got {output_size}")
    return tuple(have if want is None else want for have, want in zip(x.shape[2:], wanted, strict=True))


def adaptive_average(rank: int, x: Any, output_size: Any) -> Array:
    x, alone = images(x, rank)
    y = ops.adaptive_average_pool(x, targets(x, rank, output_size), **FIRST)
    return y[0] if alone else y


def adaptive_max(rank: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    x, alone = images(x, rank)
    found = ops.adaptive_max_pool(x, targets(x, rank, output_size), return_indices=return_indices, **FIRST)
    return unbatched(found, alone)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Array:
    """(n, c, iw) -> (n, c, output_size); None keeps the size."""
    return adaptive_average(1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Array:
    """(n, c, ih, iw) -> (n, c, *output_size); None in it keeps that axis's size."""
    return adaptive_average(2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Array:
    """(n, c, id, ih, iw) -> (n, c, *output_size); None in it keeps that axis's size."""
    return adaptive_average(3, input, output_size)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """(n, c, iw) -> (n, c, output_size); None keeps the size."""
    return adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """(n, c, ih, iw) -> (n, c, *output_size); None in it keeps that axis's size."""
    return adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """(n, c, id, ih, iw) -> (n, c, *output_size); None in it keeps that axis's size."""
    return adaptive_max(3, input, output_size, return_indices)
