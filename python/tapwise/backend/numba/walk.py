"""Which positions meet: the window's arithmetic that the convolution kernels share."""

from .compiled import kernel


@kernel
def valid(offset: int, stride: int, size: int, begin: int, end: int) -> tuple[int, int]:
    """The o of [begin, end) with 0 <= o * stride + offset < size, as a range; it may be empty."""
    lo = max(begin, -(offset // stride))
    hi = min(end, (size - 1 - offset) // stride + 1)
    return lo, max(lo, hi)


@kernel
def source(position: int, stride: int, size: int) -> int:
    """The o of [0, size) with o * stride == position, or -1."""
    o = position // stride
    return o if 0 <= o < size and o * stride == position else -1
