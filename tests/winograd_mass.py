"""Winograd's convolution in float64, and what bounds its error: the sum of its terms' sizes in its own domain.

    y = A'[(G w G') . (B' x B)]A,  mass = |A'|[(|G| |w| |G'|) . (|B'| |x| |B|)]|A|

A zero window beside a large pixel has no mass of its own; its tile's products have.
"""

from functools import cache
from math import prod

import numpy as np

from engines import WINOGRAD

# (tile, taps) of which a last tile of at most so many outputs is a smaller one, on processors.
FEW = {} if any(engine.backend.startswith("cuda") for engine in WINOGRAD) else {(4, 3): 2, (5, 2): 3}

# Points besides 0 and infinity, by the number of all of them: each stands for +p and -p.
POINTS = {4: (1.0,), 6: (0.625, 1.5), 8: (0.5, 1.0, 2.0)}


@cache
def matrices(outputs, taps, pairs=None):
    """A' (outputs, size), G (size, taps), B' (size, size) of F(outputs, taps) from its points, size = all of them."""
    size = outputs + taps - 1
    if size == 1:
        return np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1))
    finite = np.array([0.0, *(sign * p for p in pairs or POINTS[size] for sign in (1, -1))])
    a, g, b = np.zeros((outputs, size)), np.zeros((size, taps)), np.zeros((size, size))
    for i, point in enumerate(finite):
        others = np.delete(finite, i)
        a[:, i] = point ** np.arange(outputs)
        g[i] = point ** np.arange(taps) / np.prod(point - others)
        b[i, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(finite)[::-1]
    return a, g, b


def lines(outputs, tile, taps):
    """(first output, number of tiles, A', G, B') of the whole tiles, and of the last one where it has fewer outputs:
    without infinity; up to two of four by F(2, 3) at the smaller points, up to three of five by F(3, 2)."""
    tile = 1 if taps == 1 else tile
    fewer = FEW.get((tile, taps), 0)
    whole, rest = divmod(outputs, tile)
    result = [(0, whole, *matrices(tile, taps))] if whole else []
    if rest:
        a, g, b = matrices(fewer, taps, POINTS[6][:1]) if rest <= fewer else matrices(tile, taps)
        if rest < len(a):
            a, g, b = a[:rest, :-1], g[:-1], b[:-1]
        result.append((whole * tile, 1, a, g, b))
    return result


def pad_or_crop(x, axis, before, size):
    """size elements from -before on, zeros where x has none."""
    x = np.take(x, np.arange(max(0, -before), min(x.shape[axis], size - before)), axis)
    pads = [(0, 0)] * x.ndim
    before = min(max(0, before), size)
    pads[axis] = (before, size - before - x.shape[axis])
    return np.pad(x, pads)


def in_two_dimensions(case, x, w):
    """Channels-last x and w of a one- or two-dimensional case with a height and a width, and its padding before."""
    if case.data_format == "channels_first":
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    before = [pads[0] for pads in case.pads]
    if len(case.k) == 1:
        x, w, before = x[:, None], w[None], [0, *before]
    return x, w, before


def stride_of(case):
    return 2 if case.strides == 2 else 1


def phases_of(taps, stride):
    """Where an axis's phases begin, and how many taps each has: of a stride of 2, of a long kernel, of any other."""
    if stride == 2:
        return range(2), -(-taps // 2)
    if taps == 6 or taps > 7:
        return range(0, taps, 3), 3
    return range(1), taps


def phase(a, axis, first, stride, size):
    """size elements, `stride` apart, from `first` on, zeros where a has none."""
    return np.take(pad_or_crop(a, axis, -first, stride * size), range(0, stride * size, stride), axis)


def phases(x, w, before, outputs, stride):
    """x, padded, and w of a convolution of stride 1 and short kernels, which has the phases for channels.

    A stride of 2: x by even and odd rows and columns. A long kernel: three taps each, x from 0, 3, 6, ... pixels on.
    """
    for axis, (pad, out) in enumerate(zip(before, outputs, strict=True)):
        starts, taps = phases_of(w.shape[axis], stride)
        size = out + taps + 4  # a last tile reads on
        x = np.concatenate([phase(x, axis + 1, first - pad, stride, size) for first in starts], 3)
        w = np.concatenate([phase(w, axis, first, stride, taps) for first in starts], 2)
    return x, w


def from_phases(dw, k):
    """The gradient of w (*k, ci, co) of a stride of 1 from that of its phases."""
    for axis, taps in enumerate(k):
        starts, _ = phases_of(taps, 1)
        dw = np.concatenate(np.split(dw, len(starts), 2), axis)
    return dw[: k[0], : k[1]]


def winograd(case, x, w, tile, *, mass=False):
    """conv(x, w) of a case by F(tile, taps) on each axis that has taps; with mass, the mass."""
    x, w, before = in_two_dimensions(case, x.astype(np.float64), w.astype(np.float64))
    outputs = case.outputs if len(case.k) == 2 else (1, *case.outputs)
    stride = stride_of(case)
    x, w = phases(x, w, before, outputs, stride)
    tile += stride - 1
    y = np.empty((len(x), *outputs, w.shape[-1]))
    down, across = (lines(out, tile, taps) for out, taps in zip(outputs, w.shape[:2], strict=True))
    for h, rows, ah, gh, bh in down:
        for v, cols, aw, gw, bw in across:
            part = x
            for axis, first, count, a, b in ((1, h, rows, ah, bh), (2, v, cols, aw, bw)):
                part = pad_or_crop(part, axis, -first, (count - 1) * len(a) + b.shape[1])
            windows = np.lib.stride_tricks.sliding_window_view(part, (bh.shape[1], bw.shape[1]), (1, 2))
            tiles = windows[:, :: len(ah), :: len(aw)]  # (n, rows, cols, ci, height, width)
            operands = (tiles, w, ah, gh, bh, aw, gw, bw)
            sized = [np.abs(a) for a in operands] if mass else operands
            y[:, h : h + rows * len(ah), v : v + cols * len(aw)] = tiled(*sized)
    y = y.reshape(len(x), *case.outputs, w.shape[-1])
    return np.moveaxis(y, -1, 1) if case.data_format == "channels_first" else y


def tiled(tiles, w, ah, gh, bh, aw, gw, bw):
    """y (n, height, width, co) of tiles that make up a rectangle."""
    v = np.einsum("ai,bj,nrkcij->nrkabc", bh, bw, tiles, optimize=True)
    u = np.einsum("ai,bj,ijco->abco", gh, gw, w, optimize=True)
    m = np.einsum("nrkabc,abco->nrkabo", v, u, optimize=True)
    y = np.einsum("ia,jb,nrkabo->nrikjo", ah, aw, m, optimize=True)
    n, rows, height, cols, width, co = y.shape
    return y.reshape(n, rows * height, cols * width, co)


def winograd_gradient(case, x, dy, tile, *, mass=False):
    """conv_grad_weight(x, dy) of a case by F(taps, tile) on each axis that has taps: a tile of dy is its filter."""
    shape = (*case.k, case.ci, case.co) if case.data_format == "channels_last" else (case.co, case.ci, *case.k)
    x, w, before = in_two_dimensions(case, x.astype(np.float64), np.empty(shape))
    dy = dy.astype(np.float64) if case.data_format == "channels_last" else np.moveaxis(dy.astype(np.float64), 1, -1)
    dy = dy if len(case.k) == 2 else dy[:, None]
    k = w.shape[:2]
    x, w = phases(x, w, before, dy.shape[1:3], 1)
    steps = [1 if taps == 1 else tile for taps in w.shape[:2]]
    (ah, gh, bh), (aw, gw, bw) = (matrices(taps, step) for taps, step in zip(w.shape[:2], steps, strict=True))
    if mass:
        x, dy, ah, gh, bh, aw, gw, bw = (np.abs(a) for a in (x, dy, ah, gh, bh, aw, gw, bw))
    for axis, b, step in zip((1, 2), (bh, bw), steps, strict=True):
        count = -(-dy.shape[axis] // step)
        x = pad_or_crop(x, axis, 0, (count - 1) * step + len(b))
        dy = pad_or_crop(dy, axis, 0, count * step)
    windows = np.lib.stride_tricks.sliding_window_view(x, (len(bh), len(bw)), (1, 2))[:, :: steps[0], :: steps[1]]
    n, rows, cols = windows.shape[:3]
    tiles = dy.reshape(n, rows, steps[0], cols, steps[1], case.co)
    v = np.einsum("ai,bj,nrkcij->abnrkc", bh, bw, windows, optimize=True)
    g = np.einsum("ai,bj,nrikjo->abnrko", gh, gw, tiles, optimize=True)
    m = np.einsum("abnrkc,abnrko->abco", v, g, optimize=True)
    dw = from_phases(np.einsum("ia,jb,abco->ijco", ah, aw, m, optimize=True), k)
    dw = dw if len(case.k) == 2 else dw[0]
    return dw if case.data_format == "channels_last" else np.moveaxis(dw, (-1, -2), (0, 1))


def points(taps, tile):
    """Points of both axes' transforms."""
    return sum(1 if t == 1 else tile + t - 1 for t in taps)


def winograd_gradient_terms(case, tile):
    """Roundings on the way to a weight's gradient: the tiles' sum, and the transforms of x, dy and dw."""
    outputs = (1, *case.outputs)[-len(case.k) :]
    tiles = case.x[0] * np.prod([-(-o // (1 if k == 1 else tile)) for o, k in zip(outputs, case.k, strict=True)])
    return int(tiles) + 3 * points([phases_of(k, 1)[1] for k in case.k], tile) + 6


def winograd_terms(case, tile):
    """Roundings on the way from x and w to an output: the sum over channels, the transforms of x, w and y."""
    stride = stride_of(case)
    starts, taps = zip(*(phases_of(k, stride) for k in case.k), strict=True)
    return case.ci * prod(map(len, starts)) + 2 * points(taps, tile + stride - 1) + 3 + sum(taps)
