"""Direct convolution, channels last, one group: a row of pixels times the weights of one tap, for every tap in turn.

    y[row, lo:hi] (., co)                           += x[row', lo * sw + offset :: sw] (., ci) @ w[tap] (ci, co)
    dx[row', lo * sw + offset :: sw] (., ci)        += dy[row, lo:hi] (., co) @ w[tap]' (co, ci)
    dw[tap] (ci, co)                                += x[row', lo * sw + offset :: sw]' @ dy[row, lo:hi]

lo:hi leaves out the pixels whose tap lies in the padding, so padding is never multiplied. The vector axis is the
result's channels; four terms go into each pass over them, because loads and stores of the sums set the speed.

Range: pixels of the result in memory order; for grad_weight, private sums x taps.
"""

from .compiled import Array, Size, kernel
from .walk import source, valid


@kernel
def forward(x: Array, w: Array, y: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int) -> None:
    _, id_, ih, iw, _ = x.shape
    _, od, oh, ow, _ = y.shape
    kd, kh, kw = w.shape[:3]
    pixel = begin
    while pixel < end:
        row, first = pixel // ow, pixel % ow
        last = min(ow, first + end - pixel)
        i, d, h = row // (od * oh), row // oh % od, row % oh
        to = y[i, d, h]
        to[first:last] = 0
        for r in range(kd):
            z = d * strides[0] + r * dilation[0] - before[0]
            for s in range(kh):
                v = h * strides[1] + s * dilation[1] - before[1]
                if 0 <= z < id_ and 0 <= v < ih:
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset, strides[2], iw, first, last)
                        start = lo * strides[2] + offset
                        _add_product(to, lo, 1, x[i, z, v], start, strides[2], hi - lo, w[r, s, t])
        pixel += last - first


@kernel
def grad_input(
    dy: Array, w: Array, dx: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    """w (kd, kh, kw, co, ci) is transposed, so that the vector axis is dx's."""
    _, id_, ih, iw, _ = dx.shape
    _, od, oh, ow, _ = dy.shape
    kd, kh, kw = w.shape[:3]
    pixel = begin
    while pixel < end:
        row, first = pixel // iw, pixel % iw
        last = min(iw, first + end - pixel)
        i, z, v = row // (id_ * ih), row // ih % id_, row % ih
        to = dx[i, z, v]
        to[first:last] = 0
        for r in range(kd):
            d = source(z + before[0] - r * dilation[0], strides[0], od)
            for s in range(kh):
                h = source(v + before[1] - s * dilation[1], strides[1], oh)
                if d >= 0 and h >= 0:
                    for t in range(kw):
                        offset = t * dilation[2] - before[2]
                        lo, hi = valid(offset - first, strides[2], last - first, 0, ow)
                        start = lo * strides[2] + offset
                        _add_product(to, start, strides[2], dy[i, d, h], lo, 1, hi - lo, w[r, s, t])
        pixel += last - first


@kernel
def grad_weight(
    x: Array, dy: Array, sums: Array, strides: Size, dilation: Size, before: Size, begin: int, end: int
) -> None:
    """sums (parts, kd, kh, kw, ci, co): part p takes the p-th share of the pixels of dy."""
    _, id_, ih, iw, _ = x.shape
    n, od, oh, ow, _ = dy.shape
    parts, kd, kh, kw = sums.shape[:4]
    pixels = n * od * oh * ow
    for unit in range(begin, end):
        part, r, s, t = unit // (kd * kh * kw), unit // (kh * kw) % kd, unit // kw % kh, unit % kw
        to = sums[part, r, s, t]
        to[:] = 0
        offset = t * dilation[2] - before[2]
        pixel, stop = pixels * part // parts, pixels * (part + 1) // parts
        while pixel < stop:
            row, first = pixel // ow, pixel % ow
            last = min(ow, first + stop - pixel)
            i, d, h = row // (od * oh), row // oh % od, row % oh
            z = d * strides[0] + r * dilation[0] - before[0]
            v = h * strides[1] + s * dilation[1] - before[1]
            if 0 <= z < id_ and 0 <= v < ih:
                lo, hi = valid(offset, strides[2], iw, first, last)
                _add_outer(to, x[i, z, v], lo * strides[2] + offset, strides[2], dy[i, d, h], lo, hi - lo)
            pixel += last - first


@kernel
def _add_product(
    c: Array, c_start: int, c_step: int, a: Array, a_start: int, a_step: int, count: int, b: Array
) -> None:
    """c[c_start + i * c_step] += a[a_start + i * a_step] @ b for i < count; c (., co), a (., ci), b (ci, co)."""
    depth = b.shape[0]
    fours = depth - depth % 4
    for k in range(0, fours, 4):
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        for i in range(count):
            to, by = c[c_start + i * c_step], a[a_start + i * a_step]
            a0, a1, a2, a3 = by[k], by[k + 1], by[k + 2], by[k + 3]
            for j in range(to.size):
                to[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
    for k in range(fours, depth):
        b0 = b[k]
        for i in range(count):
            to, a0 = c[c_start + i * c_step], a[a_start + i * a_step, k]
            for j in range(to.size):
                to[j] += a0 * b0[j]


@kernel
def _add_outer(c: Array, a: Array, a_start: int, a_step: int, b: Array, b_start: int, count: int) -> None:
    """c += the sum over i < count of the outer product of a[a_start + i * a_step] (ci,) and b[b_start + i] (co,)."""
    fours = count - count % 4
    for i in range(0, fours, 4):
        p = a_start + i * a_step
        a0, a1, a2, a3 = a[p], a[p + a_step], a[p + 2 * a_step], a[p + 3 * a_step]
        q = b_start + i
        b0, b1, b2, b3 = b[q], b[q + 1], b[q + 2], b[q + 3]
        for k in range(c.shape[0]):
            to = c[k]
            s0, s1, s2, s3 = a0[k], a1[k], a2[k], a3[k]
            for j in range(to.size):
                to[j] += s0 * b0[j] + s1 * b1[j] + s2 * b2[j] + s3 * b3[j]
    for i in range(fours, count):
        a0, b0 = a[a_start + i * a_step], b[b_start + i]
        for k in range(c.shape[0]):
            to, s0 = c[k], a0[k]
            for j in range(to.size):
                to[j] += s0 * b0[j]
