"""Direct convolution, channels first, any number of groups: rows of pixels are the vectors, one weight at a time.

    y[o, row, lo:hi]                         += w[o, k, tap] * x[c + k, row', lo * sw + offset :: sw]
    dx[c + k, row', lo * sw + offset :: sw]  += w[o, k, tap] * dy[o, row, lo:hi]
    dw[o, k, tap]                            += the sum of x[c + k, row', lo * sw + offset :: sw] * dy[o, row, lo:hi]

c is the first input channel of o's group. lo:hi leaves out what lies in the padding.

Range: elements of the result in memory order; for grad_weight, pairs (o, k).
"""

import numpy as np

from .compiled import Array, Size, kernel
from .walk import source, valid

LANES = 64  # partial sums of a product of rows: enough for the widest vectors, added in a fixed order


@kernel
def forward(x: Array, w: Array, y: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int) -> None:
    _, ci, id_, ih, iw = x.shape
    _, co, od, oh, ow = y.shape
    cg, kd, kh, kw = w.shape[1:]
    element = begin
    while element < end:
        row, first = element // ow, element % ow
        last = min(ow, first + end - element)
        i, o, d, h = row // (co * od * oh), row // (od * oh) % co, row // oh % od, row % oh
        c = o // (co * cg // ci) * cg
        to = y[i, o, d, h]
        to[first:last] = 0
        for r in range(kd):
            z = d * strides[0] + r * dilation[0] - before[0]
            for s in range(kh):
                v = h * strides[1] + s * dilation[1] - before[1]
                if 0 <= z < id_ and 0 <= v < ih:
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset, strides[2], iw, first, last)
                        at, weights = (c, z, v, lo * strides[2] + offset), w[o, :, r, s, t]
                        _add_rows(to, lo, 1, x[i], at, strides[2], weights, hi - lo)
        element += last - first


@kernel
def grad_input(
    dy: Array, w: Array, dx: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    _, ci, id_, ih, iw = dx.shape
    _, co, od, oh, ow = dy.shape
    cg, kd, kh, kw = w.shape[1:]
    og = co * cg // ci
    element = begin
    while element < end:
        row, first = element // iw, element % iw
        last = min(iw, first + end - element)
        i, c, z, v = row // (ci * id_ * ih), row // (id_ * ih) % ci, row // ih % id_, row % ih
        to = dx[i, c, z, v]
        to[first:last] = 0
        o = c // cg * og
        for r in range(kd):
            d = source(z + before[0] - r * dilation[0], strides[0], od)
            for s in range(kh):
                h = source(v + before[1] - s * dilation[1], strides[1], oh)
                if d >= 0 and h >= 0:
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset - first, strides[2], last - first, 0, ow)
                        at, weights = (o, d, h, lo), w[o : o + og, c % cg, r, s, t]
                        _add_rows(to, lo * strides[2] + offset, strides[2], dy[i], at, 1, weights, hi - lo)
        element += last - first


@kernel
def grad_weight(
    x: Array, dy: Array, dw: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    n, ci, id_, ih, iw = x.shape
    _, co, od, oh, ow = dy.shape
    cg, kd, kh, kw = dw.shape[1:]
    sums = np.empty(LANES, x.dtype)
    for pair in range(begin, end):
        o, k = pair // cg, pair % cg
        c = o // (co * cg // ci) * cg + k
        for tap in range(kd * kh * kw):
            r, s, t = tap // (kh * kw), tap // kw % kh, tap % kw
            offset = t * dilation[2] - before[2]
            lo, hi = valid(offset, strides[2], iw, 0, ow)
            sums[:] = 0
            for row in range(n * od * oh):
                i, d, h = row // (od * oh), row // oh % od, row % oh
                z = d * strides[0] + r * dilation[0] - before[0]
                v = h * strides[1] + s * dilation[1] - before[1]
                if 0 <= z < id_ and 0 <= v < ih:
                    by = x[i, c, z, v, lo * strides[2] + offset :]
                    _add_lanes(sums, by, strides[2], dy[i, o, d, h, lo:hi])
            total = sums[0]
            for j in range(1, LANES):
                total += sums[j]
            dw[o, k, r, s, t] = total


@kernel
def _add_rows(
    row: Array, start: int, to_step: int, a: Array, at: tuple[int, ...], by_step: int, w: Array, count: int
) -> None:
    """row[start + i * to_step] += the sum over k of w[k] * a[c + k, z, v, u + i * by_step], for i < count."""
    to = row[start:]
    c, z, v, u = at
    fours = w.size - w.size % 4
    for k in range(0, fours, 4):
        a0, a1, a2, a3 = a[c + k, z, v, u:], a[c + k + 1, z, v, u:], a[c + k + 2, z, v, u:], a[c + k + 3, z, v, u:]
        w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
        if to_step == 1 and by_step == 1:
            for i in range(count):
                to[i] += w0 * a0[i] + w1 * a1[i] + w2 * a2[i] + w3 * a3[i]
        else:
            for i in range(count):
                j = i * by_step
                to[i * to_step] += w0 * a0[j] + w1 * a1[j] + w2 * a2[j] + w3 * a3[j]
    for k in range(fours, w.size):
        a0, w0 = a[c + k, z, v, u:], w[k]
        if to_step == 1 and by_step == 1:
            for i in range(count):
                to[i] += w0 * a0[i]
        else:
            for i in range(count):
                to[i * to_step] += w0 * a0[i * by_step]


@kernel
def _add_lanes(sums: Array, a: Array, a_step: int, b: Array) -> None:
    """sums[i % LANES] += a[i * a_step] * b[i] for all i of b."""
    for start in range(0, b.size, LANES):
        count = min(LANES, b.size - start)
        if a_step == 1:
            x, y = a[start:], b[start:]
            for j in range(count):
                sums[j] += x[j] * y[j]
        else:
            for j in range(count):
                sums[j] += a[(start + j) * a_step] * b[start + j]
