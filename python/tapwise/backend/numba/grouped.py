"""Direct convolution, channels last, several groups: output channel o reads the input channels source[o] + k.

    strip[p, o] = x[row', p, source[o] + k]                   x itself if the convolution is depthwise
    y[row, lo:hi]                         += strip[lo * sw + offset :: sw] * w[tap, k]
    strip[lo * sw + offset :: sw]         += dy[row, lo:hi] * w[tap, k], then dx[row', p, source[o] + k] += strip[p, o]
    dw[tap, k]                            += the sum of strip[lo * sw + offset :: sw] * dy[row, lo:hi] over the pixels

k < ci // groups. All of it goes element by element along the output channels, whatever the size of a group. lo:hi
leaves out what lies in the padding. Range: as in direct.py.
"""

import numpy as np

from .compiled import Array, Size, kernel
from .shape import Conv
from .walk import source, valid

PIECE = 4096  # elements of a row taken at a time: its sums stay in L1 while all taps pass


def sources(c: Conv) -> Array:
    """The first input channel of each output channel's group, int64; empty if it is the output channel itself."""
    if c.depthwise:
        return np.empty(0, np.int64)
    return np.arange(c.co) // (c.co // c.groups) * (c.ci // c.groups)


@kernel
def forward(
    x: Array, w: Array, y: Array, source_of: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    _, id_, ih, iw, _ = x.shape
    _, od, oh, ow, co = y.shape
    kd, kh, kw, cg = w.shape[:4]
    piece = max(1, PIECE // co)
    strip = np.empty((iw if source_of.size else 0, co), x.dtype)
    pixel = begin
    while pixel < end:
        row, first = pixel // ow, pixel % ow
        last = min(ow, first + end - pixel, first + piece)
        i, d, h = row // (od * oh), row // oh % od, row % oh
        to = y[i, d, h]
        to[first:last] = 0
        left = max(0, first * strides[2] - before[2])
        right = min(iw, (last - 1) * strides[2] + (kw - 1) * dilation[2] - before[2] + 1)
        for r in range(kd):
            z = d * strides[0] + r * dilation[0] - before[0]
            for s in range(kh):
                v = h * strides[1] + s * dilation[1] - before[1]
                if not (0 <= z < id_ and 0 <= v < ih):
                    continue
                for k in range(cg):
                    by = x[i, z, v]
                    if source_of.size:
                        _spread(by, strip, source_of, k, left, right)
                        by = strip
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset, strides[2], iw, first, last)
                        start = lo * strides[2] + offset
                        _add_times(to, lo, 1, by, start, strides[2], w[r, s, t, k], hi - lo)
        pixel += last - first


@kernel
def grad_input(
    dy: Array, w: Array, dx: Array, source_of: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    _, id_, ih, iw, _ = dx.shape
    _, od, oh, ow, co = dy.shape
    kd, kh, kw, cg = w.shape[:4]
    piece = max(1, PIECE // co)
    strip = np.empty((iw if source_of.size else 0, co), dy.dtype)
    pixel = begin
    while pixel < end:
        row, first = pixel // iw, pixel % iw
        last = min(iw, first + end - pixel, first + piece)
        i, z, v = row // (id_ * ih), row // ih % id_, row % ih
        dx[i, z, v, first:last] = 0
        for k in range(cg):
            to = dx[i, z, v]
            if source_of.size:
                to = strip
                to[first:last] = 0
            for r in range(kd):
                d = source(z + before[0] - r * dilation[0], strides[0], od)
                for s in range(kh):
                    h = source(v + before[1] - s * dilation[1], strides[1], oh)
                    if d < 0 or h < 0:
                        continue
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset - first, strides[2], last - first, 0, ow)
                        start = lo * strides[2] + offset
                        _add_times(to, start, strides[2], dy[i, d, h], lo, 1, w[r, s, t, k], hi - lo)
            if source_of.size:
                _collect(strip, dx[i, z, v], source_of, k, first, last)
        pixel += last - first


@kernel
def grad_weight(
    x: Array, dy: Array, sums: Array, source_of: Array, strides: Size, dilation: Size, before: Size,
    begin: int, end: int,
) -> None:  # fmt: skip
    """sums (parts, kd, kh, kw, ci // groups, co): part p takes the p-th share of the pixels of dy."""
    _, id_, ih, iw, _ = x.shape
    n, od, oh, ow, co = dy.shape
    parts, kd, kh, kw, cg = sums.shape[:5]
    piece = max(1, PIECE // co)
    strip = np.empty((iw if source_of.size else 0, co), x.dtype)
    pixels = n * od * oh * ow
    for unit in range(begin, end):
        part, r, s = unit // (kd * kh), unit // kh % kd, unit % kh
        sums[part, r, s] = 0
        pixel, stop = pixels * part // parts, pixels * (part + 1) // parts
        while pixel < stop:
            row, first = pixel // ow, pixel % ow
            last = min(ow, first + stop - pixel, first + piece)
            pixel += last - first
            i, d, h = row // (od * oh), row // oh % od, row % oh
            z = d * strides[0] + r * dilation[0] - before[0]
            v = h * strides[1] + s * dilation[1] - before[1]
            if not (0 <= z < id_ and 0 <= v < ih):
                continue
            left = max(0, first * strides[2] - before[2])
            right = min(iw, (last - 1) * strides[2] + (kw - 1) * dilation[2] - before[2] + 1)
            for k in range(cg):
                by = x[i, z, v]
                if source_of.size:
                    _spread(by, strip, source_of, k, left, right)
                    by = strip
                for t in range(kw):
                    offset = t * dilation[2] - before[2]
                    lo, hi = valid(offset, strides[2], iw, first, last)
                    _add_sum(sums[part, r, s, t, k], by, lo * strides[2] + offset, strides[2], dy[i, d, h], lo, hi - lo)


@kernel
def _spread(x: Array, strip: Array, source_of: Array, k: int, begin: int, end: int) -> None:
    for p in range(begin, end):
        to, by = strip[p], x[p]
        for j in range(to.size):
            to[j] = by[source_of[j] + k]


@kernel
def _collect(strip: Array, dx: Array, source_of: Array, k: int, begin: int, end: int) -> None:
    for p in range(begin, end):
        to, by = dx[p], strip[p]
        for j in range(by.size):
            to[source_of[j] + k] += by[j]


@kernel
def _add_times(c: Array, c_start: int, c_step: int, a: Array, a_start: int, a_step: int, w: Array, count: int) -> None:
    """c[c_start + i * c_step] += a[a_start + i * a_step] * w for i < count."""
    for i in range(count):
        to, by = c[c_start + i * c_step], a[a_start + i * a_step]
        for j in range(w.size):
            to[j] += by[j] * w[j]


@kernel
def _add_sum(to: Array, a: Array, a_start: int, a_step: int, b: Array, b_start: int, count: int) -> None:
    """to += the sum over i < count of a[a_start + i * a_step] * b[b_start + i]."""
    for i in range(count):
        x, y = a[a_start + i * a_step], b[b_start + i]
        for j in range(to.size):
            to[j] += x[j] * y[j]
