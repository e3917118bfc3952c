"""How near is near enough: bounds derived from the number of terms, and outputs that show what was not written."""

import numpy as np

FENCE = np.full(64, 0x7FC0BEEF, np.uint32)  # a NaN with a payload that arithmetic does not make


def bound(mass, terms, scale=1.0, dtype=np.float32):
    """The error of a sum of `terms` products whose sizes add up to `mass`, in any order of summation.

    scale is the largest |x| or |w|: what flushing a subnormal to zero costs a product.
    """
    info = np.finfo(dtype)
    return terms * (float(info.eps) * mass + float(info.tiny) * max(1.0, scale))


def assert_within(got, want, mass, terms, *, scale=1.0, label=""):
    """|got - want| <= terms * eps * mass + terms * tiny * max(1, scale), element by element; NaN is never within."""
    assert got.shape == want.shape, f"{label}: shape {got.shape}, want {want.shape}"
    error = np.abs(got - want)
    allowed = bound(mass, terms, scale, got.dtype)
    outside = ~(error <= allowed)
    if outside.any():
        at = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error - allowed)), got.shape)
        at = tuple(int(i) for i in at)
        raise AssertionError(
            f"{label}: {np.count_nonzero(outside)} of {got.size} outside the bound, worst at {at}: "
            f"got {got[at]!r}, want {want[at]!r}, allowed {np.broadcast_to(allowed, got.shape)[at]:.3g}"
        )


def dot(a, b):
    """<a, b>, summed in float64."""
    return float(np.dot(a.ravel().astype(np.float64), b.ravel().astype(np.float64)))


def assert_adjoint(a, b, c, d, slack, label=""):
    """<a, b> == <c, d> up to slack, itself a sum of bounds."""
    left, right = dot(a, b), dot(c, d)
    assert abs(left - right) <= slack, f"{label}: {left!r} against {right!r}, slack {slack:.3g}"


class Fenced:
    """A contiguous array that starts as NaN, between two fences; `offset` floats off the allocation's alignment."""

    def __init__(self, shape, offset=0):
        size = int(np.prod(shape))
        self._memory = np.full(offset + size + 2 * FENCE.size, FENCE[0], np.uint32)
        self._fences = (self._memory[: offset + FENCE.size], self._memory[offset + FENCE.size + size :])
        inside = self._memory[offset + FENCE.size : offset + FENCE.size + size]
        self.array = inside.view(np.float32).reshape(shape)
        self.array[...] = np.nan

    def assert_intact(self, label=""):
        for side, fence in zip(("before", "after"), self._fences, strict=True):
            assert (fence == FENCE[0]).all(), f"{label}: wrote {side} the output"


def fenced_copy(a, offset=0):
    """a between NaN fences, read-only: reading outside it, or writing to it, shows."""
    copy = Fenced(a.shape, offset).array
    copy[...] = a
    copy.flags.writeable = False
    return copy
