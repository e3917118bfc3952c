"""im2col and its transpose on a block of output pixels: x <-> columns, one row (or column) of taps an output pixel.

    channels last     columns (pixels of the block, taps * cg)       cg channels of a group, from `channel` on
    channels first    columns (cg * taps, pixels of the block)

gather writes zeros where a tap lies in the padding; scatter leaves those out. Pixels are numbered through the batch,
[first, last) are the block's; scatter overwrites dx if the block is fresh, the first of its images, else adds to it.

Range of gather: pixels of the block, or rows of the columns. Range of scatter: pixels of dx in memory order, or
elements of the group's planes of dx.
"""

from .compiled import Array, Size, kernel
from .walk import source, valid


@kernel
def gather_last(
    x: Array, columns: Array, kernel_size: Size, strides: Size, dilation: Size, before: Size, output: Size,
    channel: int, first: int, begin: int, end: int,
) -> None:  # fmt: skip
    _, id_, ih, iw, ci = x.shape
    kd, kh, kw = kernel_size
    od, oh, ow = output
    cg = columns.shape[1] // (kd * kh * kw)
    run = kw * cg
    for pixel in range(begin, end):
        to = columns[pixel]
        o, row = (first + pixel) % ow, (first + pixel) // ow
        i, d, h = row // (od * oh), row // oh % od, row % oh
        left = o * strides[2] - before[2]
        lo, hi = valid(left, dilation[2], iw, 0, kw)
        for rs in range(kd * kh):
            z = d * strides[0] + rs // kh * dilation[0] - before[0]
            v = h * strides[1] + rs % kh * dilation[1] - before[1]
            part = to[rs * run : (rs + 1) * run]
            if not (0 <= z < id_ and 0 <= v < ih) or lo >= hi:
                part[:] = 0
                continue
            part[: lo * cg] = 0
            part[hi * cg :] = 0
            if dilation[2] == 1 and cg == ci:
                _copy(part[lo * cg :], x[i, z, v, left + lo :].reshape(-1), (hi - lo) * cg)
            else:
                for t in range(lo, hi):
                    _copy(part[t * cg :], x[i, z, v, left + t * dilation[2], channel:], cg)


@kernel
def scatter_last(
    columns: Array, dx: Array, kernel_size: Size, strides: Size, dilation: Size, before: Size, output: Size,
    channel: int, first: int, last: int, fresh: bool, begin: int, end: int,
) -> None:  # fmt: skip
    _, id_, ih, iw, _ = dx.shape
    kd, kh, kw = kernel_size
    od, oh, ow = output
    cg = columns.shape[1] // (kd * kh * kw)
    pixel = begin
    while pixel < end:
        row, left = pixel // iw, pixel % iw
        right = min(iw, left + end - pixel)
        i, z, v = row // (id_ * ih), row // ih % id_, row % ih
        if fresh:
            dx[i, z, v, left:right, channel : channel + cg] = 0
        for rs in range(kd * kh):
            d = source(z + before[0] - rs // kh * dilation[0], strides[0], od)
            h = source(v + before[1] - rs % kh * dilation[1], strides[1], oh)
            if d < 0 or h < 0:
                continue
            start = ((i * od + d) * oh + h) * ow - first
            for t in range(kw):
                offset = t * dilation[2] - before[2]
                lo, hi = valid(offset - left, strides[2], right - left, max(0, -start), min(ow, last - first - start))
                tap = (rs * kw + t) * cg
                for o in range(lo, hi):
                    _add(dx[i, z, v, o * strides[2] + offset, channel:], columns[start + o, tap:], cg)
        pixel += right - left


@kernel
def gather_first(
    x: Array, columns: Array, kernel_size: Size, strides: Size, dilation: Size, before: Size, output: Size,
    channel: int, first: int, begin: int, end: int,
) -> None:  # fmt: skip
    _, _, id_, ih, iw = x.shape
    kd, kh, kw = kernel_size
    od, oh, ow = output
    count = columns.shape[1]
    for index in range(begin, end):
        c, r, s, t = channel + index // (kd * kh * kw), index // (kh * kw) % kd, index // kw % kh, index % kw
        offset = t * dilation[2] - before[2]
        to, pixel = columns[index], 0
        while pixel < count:
            row, left = (first + pixel) // ow, (first + pixel) % ow
            right = min(ow, left + count - pixel)
            part = to[pixel : pixel + right - left]
            pixel += right - left
            i, d, h = row // (od * oh), row // oh % od, row % oh
            z = d * strides[0] + r * dilation[0] - before[0]
            v = h * strides[1] + s * dilation[1] - before[1]
            lo, hi = valid(offset, strides[2], iw, left, right)
            if not (0 <= z < id_ and 0 <= v < ih) or lo >= hi:
                part[:] = 0
                continue
            part[: lo - left] = 0
            part[hi - left :] = 0
            by = x[i, c, z, v, lo * strides[2] + offset :]
            if strides[2] == 1:
                _copy(part[lo - left :], by, hi - lo)
            else:
                for o in range(hi - lo):
                    part[lo - left + o] = by[o * strides[2]]


@kernel
def scatter_first(
    columns: Array, dx: Array, kernel_size: Size, strides: Size, dilation: Size, before: Size, output: Size,
    channel: int, first: int, last: int, fresh: bool, begin: int, end: int,
) -> None:  # fmt: skip
    _, _, id_, ih, iw = dx.shape
    kd, kh, kw = kernel_size
    od, oh, ow = output
    cg = columns.shape[0] // (kd * kh * kw)
    element = begin
    while element < end:
        row, left = element // iw, element % iw
        right = min(iw, left + end - element)
        i, c, z, v = row // (cg * id_ * ih), row // (id_ * ih) % cg, row // ih % id_, row % ih
        to = dx[i, channel + c, z, v]
        if fresh:
            to[left:right] = 0
        for rs in range(kd * kh):
            d = source(z + before[0] - rs // kh * dilation[0], strides[0], od)
            h = source(v + before[1] - rs % kh * dilation[1], strides[1], oh)
            if d < 0 or h < 0:
                continue
            start = ((i * od + d) * oh + h) * ow - first
            for t in range(kw):
                offset = t * dilation[2] - before[2]
                lo, hi = valid(offset - left, strides[2], right - left, max(0, -start), min(ow, last - first - start))
                if lo >= hi:
                    continue
                by = columns[(c * kd * kh + rs) * kw + t, start + lo :]
                if strides[2] == 1:
                    _add(to[lo + offset :], by, hi - lo)
                else:
                    for o in range(lo, hi):
                        to[o * strides[2] + offset] += by[o - lo]
        element += right - left


@kernel
def _copy(to: Array, by: Array, count: int) -> None:
    for j in range(count):
        to[j] = by[j]


@kernel
def _add(to: Array, by: Array, count: int) -> None:
    for j in range(count):
        to[j] += by[j]
