"""scipy.signal's correlate and convolve on Tapwise's kernels: the same names, arguments and centring, no SciPy needed.

Arrays of 1, 2 or 3 axes, float32, or float64 on the Numba and reference backends. The sum is always taken directly,
n * k multiplications for n outputs of a kernel of k: for kernels of thousands of values SciPy's method="fft" needs
fewer. Complex and whole numbers, and method="fft", are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .given import Array, floats

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d"]

PADS = {"wrap": "wrap", "symm": "symmetric"}  # SciPy's names and numpy.pad's


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """z[k] = sum over l of in1[l] * in2[l - k]: mode "full", its middle of in1's shape, "same", or "valid".

    Raises TypeError on another type, ValueError on shapes that don't fit.
    """
    a, b = pair(in1, in2, (1, 2, 3))
    need_method(method)
    if mode == "valid" and needs_swap(a, b):
        return np.ascontiguousarray(reversed_axes(slide(b, a, ends(a.shape, mode))))
    return slide(a, b, ends(b.shape, mode))


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """z[k] = sum over l of in1[l] * in2[k - l]: mode "full", its middle of in1's shape, "same", or "valid"."""
    a, b = pair(in1, in2, (1, 2, 3))
    need_method(method)
    if mode == "valid" and needs_swap(a, b):
        a, b = b, a
    return slide(a, reversed_axes(b), ends(b.shape, mode))


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Array:
    """correlate of two images; boundary "fill" continues in1 by fillvalue, "wrap" as a circle, "symm" as a mirror.

    With "same" and a kernel of even size SciPy has another middle than in correlate: one further on.
    """
    a, b = pair(in1, in2, (2,))
    if mode == "valid" and needs_swap(a, b):
        return np.ascontiguousarray(reversed_axes(slide(b, a, ends(a.shape, mode))))
    padding = [(behind, before) for before, behind in ends(b.shape, mode)]
    return bounded(a, b, padding, boundary, fillvalue)


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Array:
    """convolve of two images; boundary "fill" continues in1 by fillvalue, "wrap" as a circle, "symm" as a mirror."""
    a, b = pair(in1, in2, (2,))
    if mode == "valid" and needs_swap(a, b):
        a, b = b, a
    return bounded(a, reversed_axes(b), ends(b.shape, mode), boundary, fillvalue)


def pair(in1: Any, in2: Any, ranks: tuple[int, ...]) -> tuple[Array, Array]:
    a, b = floats(in1, "in1"), floats(in2, "in2")
    if a.ndim != b.ndim or a.ndim not in ranks:
        axes = " or ".join(map(str, ranks))
        raise ValueError(f"in1 and in2 must both have {axes} axes, got shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise TypeError(f"in1 and in2 must be of one type, got {a.dtype} and {b.dtype}")
    if not a.size or not b.size:
        raise ValueError(f"in1 and in2 must hold values, got shapes {a.shape} and {b.shape}")
    return a, b


def need_method(method: str) -> None:
    if method not in ("auto", "direct"):
        raise ValueError(f'method must be "auto" or "direct", the sum itself, got {method!r}')


def needs_swap(a: Array, b: Array) -> bool:
    """Whether b is the larger of the two. Raises ValueError if neither covers the other, as SciPy does."""
    if all(i >= k for i, k in zip(a.shape, b.shape, strict=True)):
        return False
    if all(i <= k for i, k in zip(a.shape, b.shape, strict=True)):
        return True
    raise ValueError(f'mode "valid" must get one of in1, in2 that covers the other, got {a.shape} and {b.shape}')


def ends(kernel: tuple[int, ...], mode: str) -> list[tuple[int, int]]:
    """How far in1 is continued before and behind, by axis; the odd one of an even kernel's "same" is before."""
    if mode == "full":
        return [(k - 1, k - 1) for k in kernel]
    if mode == "valid":
        return [(0, 0)] * len(kernel)
    if mode != "same":
        raise ValueError(f'mode must be "full", "valid" or "same", got {mode!r}')
    return [(k // 2, (k - 1) // 2) for k in kernel]


def reversed_axes(a: Array) -> Array:
    return a[(slice(None, None, -1),) * a.ndim]


def slide(a: Array, kernel: Array, padding: list[tuple[int, int]]) -> Array:
    """One image and one filter of one channel."""
    y = ops.conv(a[None, ..., None], kernel[..., None, None], padding=padding, accuracy="strict")
    return y[0, ..., 0]


def bounded(a: Array, kernel: Array, padding: list[tuple[int, int]], boundary: str, fillvalue: float) -> Array:
    if boundary not in ("fill", *PADS):
        raise ValueError(f'boundary must be "fill", "wrap" or "symm", got {boundary!r}')
    if boundary == "fill" and not fillvalue:
        return slide(a, kernel, padding)
    if boundary == "fill":
        a = np.pad(a, padding, constant_values=a.dtype.type(fillvalue))
    else:
        a = np.pad(a, padding, mode=PADS[boundary])  # type: ignore[call-overload]
    return slide(np.ascontiguousarray(a), kernel, [(0, 0)] * a.ndim)
