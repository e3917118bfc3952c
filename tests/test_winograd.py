"""Winograd's convolution against the float64 reference, within the bound of its own domain."""

from dataclasses import replace

import numpy as np
import pytest

import tapwise
from cases import CASES, Case
from close import Fenced, assert_within, bound, fenced_copy
from engines import WINOGRAD
from exact import exact
from winograd_mass import winograd, winograd_gradient, winograd_gradient_terms, winograd_terms

ALGORITHMS = {"winograd-2x2": 2, "winograd-4x4": 4, "winograd-6x6": 6}

# Tiles of 2, 4 and 6 outputs; register tiles of 6, 12 or 14 tiles; vectors of 4, 8 or 16 channels, panels of two.
OWN = [
    *(Case(f"{h} x {w} outputs", (2, h, w, 3), (3, 3), 5, padding=1) for h, w in ((1, 7), (5, 4), (6, 13), (8, 12))),
    *(Case(f"ci = {c}, co = {34 - c}", (1, 5, 6, c), (3, 3), 34 - c, padding=1) for c in (1, 15, 16, 17, 31, 33)),
    Case("more tiles than a block", (3, 19, 23, 5), (3, 3), 3, padding=1),
    Case("blocks enough to prefetch", (2, 47, 93, 3), (3, 3), 17, padding=1),
    Case("several panels of output channels", (2, 9, 10, 19), (3, 3), 97, padding=1),
    Case("channels that share cache sets", (1, 6, 7, 512), (3, 3), 33, padding=1),
    Case("5x5", (2, 9, 12, 7), (5, 5), 18, padding=2),
    Case("5x5, kernel larger than the input", (1, 2, 3, 4), (5, 5), 6, padding=3),
    Case("1x3", (2, 5, 11, 6), (1, 3), 19, padding=((0, 0), (1, 1))),
    Case("3x1", (2, 11, 5, 6), (3, 1), 19, padding=((1, 1), (0, 0))),
    Case("1x3, two outputs in the last tile", (1, 3, 10, 6), (1, 3), 7, padding=((0, 0), (1, 1))),
    Case("3x1, padded on both axes", (1, 6, 3, 5), (3, 1), 4, padding=1),
    Case("1x5", (1, 4, 17, 3), (1, 5), 9, padding=((0, 0), (2, 2))),
    Case("5x1", (1, 17, 4, 3), (5, 1), 9, padding=((2, 2), (0, 0))),
    Case("1x7", (2, 3, 17, 6), (1, 7), 19, padding=((0, 0), (3, 3))),
    Case("7x1", (1, 16, 3, 5), (7, 1), 9, padding=((3, 3), (0, 0))),
    Case("1-D, long", (2, 500, 9), (3,), 20, padding=1),
    Case("1-D, five taps, causal", (3, 29, 8), (5,), 7, padding="causal"),
    Case("1-D, nine taps", (2, 61, 16), (9,), 35, padding=4),
    Case("1-D, eight taps, a phase of two", (1, 40, 32), (8,), 7, padding="causal"),
    Case("1-D, 31 taps, blocks enough to prefetch", (1, 2000, 16), (31,), 9, padding=15),
    Case("6x1", (1, 17, 3, 16), (6, 1), 5, padding=((2, 3), (0, 0))),
    Case("1x10, cropped", (2, 3, 29, 16), (1, 10), 6, padding=((0, 0), (1, -4))),
    Case("13x1, one output", (1, 4, 3, 16), (13, 1), 34, padding=((4, 5), (0, 0))),
    Case("padded beyond a tile", (1, 5, 6, 3), (3, 3), 4, padding=((7, 8), (9, 10))),
    Case("padding on one side", (1, 7, 9, 5), (3, 3), 6, padding=((2, 0), (0, 3))),
    Case("cropped", (2, 11, 12, 4), (3, 3), 7, padding=((0, -2), (1, -3))),
    Case("stride 2", (2, 21, 30, 16), (3, 3), 35, strides=2, padding=1),
    Case("stride 2, all last tiles", (1, 13, 7, 32), (3, 3), 6, strides=2),
    Case("stride 2, padded as TensorFlow does", (1, 28, 22, 48), (3, 3), 64, strides=2, padding="same"),
    Case("stride 2, one output", (1, 3, 2, 16), (3, 3), 5, strides=2, padding=((0, 0), (2, 0))),
    Case("stride 2, blocks enough to prefetch", (3, 107, 163, 16), (3, 3), 9, strides=2, padding=1),
    Case("stride 2, padded beyond a tile", (1, 5, 6, 16), (3, 3), 4, strides=2, padding=((15, 14), (17, 3))),
]
LARGE = [
    Case("weights that are kept as taps", (1, 2, 5, 384), (3, 3), 392, padding=1),
    Case("several rounds of tiles", (1, 33, 34, 520), (3, 3), 4, padding=1),
    Case("1-D, eleven taps that are kept, the last phase short", (1, 50, 528), (11,), 560, padding=5),
    Case("stride 2, weights that are kept as taps", (1, 11, 9, 192), (3, 3), 260, strides=2, padding=1),
]
FIT = [case for case in CASES if case.groups == 1 and set(case.k) <= {1, 3, 5}]


def possible(case, direction="forward"):
    """The Winograd algorithms that native offers for a case."""
    with WINOGRAD[0].use():
        every = tapwise.plan(case.x_shape, case.w_shape, direction=direction, **case.geometry).possible
    return [name for name in every if name in ALGORITHMS]


both = [replace(case, data_format=layout) for layout in ("channels_last", "channels_first") for case in OWN]
TESTED = [case for case in [*both, *LARGE, *FIT] if WINOGRAD and possible(case)]
every_case = pytest.mark.parametrize("case", TESTED, ids=str)


def on_channels(case, b):
    return b if case.data_format == "channels_last" else b.reshape(-1, *[1] * len(case.k))


@pytest.mark.parametrize("case", TESTED, ids=str)
def test_the_transforms_are_exact(case, rng):
    """What the bounds below come from, in float64: the matrices give a convolution."""
    x, w, _, dy = case.arrays(rng)
    want, _ = exact(tapwise.conv, x, w, **case.geometry)
    for algorithm in possible(case):
        tile = ALGORITHMS[algorithm]
        got, mass = (winograd(case, x, w, tile, mass=mass) for mass in (False, True))
        assert_within(got, want, mass, winograd_terms(case, tile), label=algorithm)
    want, _ = exact(tapwise.conv_grad_weight, x, dy, case.w_shape, **case.geometry)
    for algorithm in possible(case, "grad_weight"):
        tile = ALGORITHMS[algorithm]
        got, mass = (winograd_gradient(case, x, dy, tile, mass=mass) for mass in (False, True))
        assert_within(got, want, mass, winograd_gradient_terms(case, tile), label=algorithm)


@every_case
@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_forward(case, engine, rng):
    x, w, b, _ = case.arrays(rng)
    want, _ = exact(tapwise.conv, x, w, b, **case.geometry)
    for algorithm in possible(case):
        tile = ALGORITHMS[algorithm]
        mass = winograd(case, x, w, tile, mass=True) + np.abs(on_channels(case, b))
        fenced = [fenced_copy(a, offset) for offset, a in enumerate((x, w, b), 1)]
        out = Fenced(case.y_shape, offset=3)
        with engine.use():
            tapwise.conv(*fenced, algorithm=algorithm, out=out.array, **case.geometry)
        out.assert_intact(algorithm)
        assert_within(out.array, want, mass, winograd_terms(case, tile) + 1, label=algorithm)


def turned(case, w):
    """The convolution of dy that grad_input is, and its weights: turned round, channels exchanged."""
    spatial = tuple(range(len(case.k))) if case.data_format == "channels_last" else tuple(range(2, w.ndim))
    outputs = (1, *case.outputs)[-len(case.k) :]
    pads = []
    for size, k, (before, _), out in zip(case.x[1:-1], case.k, case.pads, outputs, strict=True):
        pads.append((k - 1 - before, size - out + before))
    back = replace(case, x=(case.x[0], *outputs, case.co), co=case.ci, padding=tuple(pads))
    axes = (-2, -1) if case.data_format == "channels_last" else (0, 1)
    return back, np.swapaxes(np.flip(w, spatial), *axes)


@every_case
@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_grad_input(case, engine, rng):
    _, w, _, dy = case.arrays(rng)
    want, _ = exact(tapwise.conv_grad_input, dy, w, case.x_shape, **case.geometry)
    back, w_back = turned(case, w)
    for algorithm in possible(case, "grad_input"):
        tile = ALGORITHMS[algorithm]
        out = Fenced(case.x_shape, offset=1)
        with engine.use():
            tapwise.conv_grad_input(
                fenced_copy(dy, 2), w, case.x_shape, algorithm=algorithm, out=out.array, **case.geometry
            )
        out.assert_intact(algorithm)
        mass = winograd(back, dy, w_back, tile, mass=True)
        assert_within(out.array, want, mass, winograd_terms(back, tile), label=algorithm)


# How the sums of a weight gradient are cut: see csrc/winograd_gradient_plan.cpp.
SUMS = [
    Case("chunks of rounds, each a thread's own", (3, 61, 37, 33), (3, 3), 34, padding=1),
    Case("dw made at once, of output channels in two groups", (1, 44, 43, 16), (3, 3), 1024, padding=1),
    Case("several rounds", (1, 40, 44, 512), (3, 3), 16, padding=1),
    Case("several rounds of several groups", (2, 57, 58, 250), (3, 3), 250, padding=1),
]


@pytest.mark.parametrize("case", [*TESTED, *SUMS], ids=str)
@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_grad_weight(case, engine, rng):
    x, _, _, dy = case.arrays(rng)
    want, _ = exact(tapwise.conv_grad_weight, x, dy, case.w_shape, **case.geometry)
    for algorithm in possible(case, "grad_weight"):
        tile = ALGORITHMS[algorithm]
        mass = winograd_gradient(case, x, dy, tile, mass=True)
        fenced = [fenced_copy(a, offset) for offset, a in enumerate((x, dy), 1)]
        out = Fenced(case.w_shape, offset=3)
        with engine.use():
            tapwise.conv_grad_weight(*fenced, case.w_shape, algorithm=algorithm, out=out.array, **case.geometry)
            out.assert_intact(algorithm)
            with tapwise.threads.set(3):
                again = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(out.array, again, err_msg=f"{algorithm}, on 3 threads")
        assert_within(out.array, want, mass, winograd_gradient_terms(case, tile), label=algorithm)


SOME = ("more tiles than a block", "several panels of output channels", "5x5", "3x1", "1-D, long", "6x1", "stride 2")
some_cases = pytest.mark.parametrize(
    "case", [case for case in TESTED if case.name in SOME or case in LARGE], ids=str
)  # fmt: skip


@some_cases
@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "gelu"])
@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_epilogue(case, kind, engine, rng):
    """activation(conv(x, w) + b + residual), the same to a few roundings as each step on its own."""
    x, w, b, residual = case.arrays(rng)
    for algorithm in possible(case):
        tile = ALGORITHMS[algorithm]
        mass = winograd(case, x, w, tile, mass=True) + np.abs(on_channels(case, b)) + np.abs(residual)
        want = exact(tapwise.conv, x, w, b, **case.geometry)[0] + residual
        with tapwise.backend.use("reference"):
            want = getattr(tapwise, kind)(want)
        with engine.use():
            y = tapwise.conv(x, w, b, activation=kind, residual=residual, algorithm=algorithm, **case.geometry)
        # No slope is above 1.13; gelu rounds its own value by up to 5.25 units.
        assert_within(y, want, 1.13 * mass + np.abs(want), winograd_terms(case, tile) + 8, label=algorithm)


@some_cases
@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_bits_depend_on_nothing_else(case, engine, rng):
    """The same with packed weights, with any number of threads, and for an image alone."""
    x, w, b, _ = case.arrays(rng)
    for algorithm in possible(case):
        options = {"algorithm": algorithm, **case.geometry}
        with engine.use():
            with tapwise.threads.set(1):
                y = tapwise.conv(x, w, b, **options)
            with tapwise.threads.set(3):
                np.testing.assert_array_equal(tapwise.conv(x, w, b, **options), y, err_msg=algorithm)
            packed = tapwise.pack(w, x_shape=case.x_shape, **options)
            np.testing.assert_array_equal(tapwise.conv(x, packed, b, **case.geometry), y, err_msg=algorithm)
            np.testing.assert_array_equal(tapwise.conv(x[:1], w, b, **options), y[:1], err_msg=algorithm)


@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_whole_numbers_by_2x2_are_exact(engine, rng):
    """Its points are 0, 1 and -1, so weights are divided by 4 at most: a misplaced term shows."""
    for case in TESTED:
        if set(case.k) <= {1, 3}:
            x, w, b, _ = case.integers(rng)
            want, _ = exact(tapwise.conv, x, w, b, **case.geometry)
            with engine.use():
                y = tapwise.conv(x, w, b, algorithm="winograd-2x2", **case.geometry)
            np.testing.assert_array_equal(y, want, err_msg=str(case))


@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_nan_spreads_over_its_tiles_only(engine, data_format, rng):
    """Outputs whose window holds the NaN are NaN; of the others only those whose tile reads it may be."""
    case = Case("", (1, 14, 17, 5), (3, 3), 20, padding=1, data_format=data_format)
    x, w, *_ = case.arrays(rng)
    h, v = 6, 9
    x[(0, h, v, 2) if data_format == "channels_last" else (0, 2, h, v)] = np.nan
    for algorithm in possible(case):
        tile = ALGORITHMS[algorithm]
        with engine.use():
            y = tapwise.conv(x, w, algorithm=algorithm, **case.geometry)
        y = y if data_format == "channels_last" else np.moveaxis(y, 1, -1)
        rows, columns = ({o for o in range(size) if o // tile * tile - 1 <= at <= o // tile * tile + tile}
                         for size, at in ((14, h), (17, v)))  # fmt: skip
        tiles = np.zeros((14, 17), bool)
        tiles[np.ix_(sorted(rows), sorted(columns))] = True
        nan = np.isnan(y[0])
        assert nan[h - 1 : h + 2, v - 1 : v + 2].all(), algorithm
        assert not nan[~tiles].any(), algorithm


def left_to_right(columns, w):
    """Each product rounded and added in turn, in float32."""
    y = np.zeros((len(columns), w.shape[-1]), np.float32)
    for column, row in zip(columns.T, w.reshape(-1, w.shape[-1]), strict=True):
        y += column[:, None] * row
    return y


@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
@pytest.mark.parametrize("ci", [16, 64])
@pytest.mark.parametrize(
    "k, strides", [((3, 3), 1), ((5, 5), 1), ((1, 3), 1), ((5, 1), 1), ((1, 7), 1), ((1, 9), 1), ((3, 3), 2)]
)
def test_rms_error_that_default_admits(engine, k, strides, ci, rng):
    """At most 4 times that of a left-to-right sum (gate 20), on data after a ReLU, where it is largest."""
    x = np.maximum(rng.standard_normal((1, 24 * strides, 24 * strides, ci), np.float32), 0)
    w = rng.standard_normal((*k, ci, 32), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], k, (0, 1))[::strides, ::strides]
    columns = windows.transpose(0, 1, 3, 4, 2).reshape(-1, k[0] * k[1] * ci)
    want = columns.astype(np.float64) @ w.reshape(-1, 32).astype(np.float64)
    allowed = 4 * np.sqrt(np.mean((left_to_right(columns, w) - want) ** 2))
    for algorithm in possible(Case("", x.shape, k, 32, strides=strides)):
        with engine.use():
            y = tapwise.conv(x, w, strides=strides, algorithm=algorithm).reshape(want.shape)
        if algorithm != ("winograd-4x4" if strides == 2 else "winograd-6x6") or (1 in k and ci >= 32):
            assert np.sqrt(np.mean((y - want) ** 2)) <= allowed, algorithm


@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
@pytest.mark.parametrize("n, size", [(1, 4), (1, 8), (1, 14), (4, 28), (3, 52)])
@pytest.mark.parametrize("k", [(3, 3), (5, 5), (1, 3), (5, 1), (7, 1), (1, 9)], ids=str)
def test_rms_error_of_weight_gradients_that_default_admits(engine, k, n, size, rng):
    """The same for sums over 16 pixels to 8,112; the fewer, the better is the sum that it is compared with."""
    ci = 16 if k == (1, 9) else 8
    case = Case("", (n, size, size, ci), k, 8, padding=tuple((taps // 2, taps // 2) for taps in k))
    x, _, _, dy = case.arrays(rng)
    x = np.maximum(x, 0)
    pads = [(0, 0), *case.pads, (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), k, (1, 2))
    rows = windows.reshape(n * size * size, -1)
    want = rows.T.astype(np.float64) @ dy.reshape(-1, 8).astype(np.float64)
    plain = np.sqrt(np.mean((left_to_right(rows.T, dy.reshape(-1, 8)) - want) ** 2))
    with engine.use():
        candidates = tapwise.plan(case.x_shape, case.w_shape, direction="grad_weight", **case.geometry).candidates
        for algorithm in (c.algorithm for c in candidates if c.algorithm in ALGORITHMS and not c.refused):
            dw = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm=algorithm, **case.geometry)
            got = dw.transpose(2, 0, 1, 3).reshape(want.shape)
            assert np.sqrt(np.mean((got - want) ** 2)) <= 4 * plain, algorithm


@pytest.mark.parametrize("engine", WINOGRAD, ids=str)
def test_accuracy_decides_what_auto_may_choose(engine):
    """strict sums products as they stand; the 6x6 tiles, whose error is larger, are for fast alone."""
    shapes = {(n, size, size, c) for n in (1, 16) for size in (7, 28, 112) for c in (3, 64, 512)}
    chosen = {accuracy: set() for accuracy in ("strict", "default", "fast")}
    with engine.use():
        for shape in shapes:
            for accuracy, names in chosen.items():
                w_shape = (3, 3, shape[-1], 64)
                names.add(tapwise.plan(shape, w_shape, padding="same", accuracy=accuracy).algorithm)
        for accuracy in chosen:
            assert (
                tapwise.plan((1, 8, 8, 4), (3, 3, 4, 4), algorithm="winograd", accuracy=accuracy).algorithm
                in ALGORITHMS
            )
    assert chosen["strict"] == {"direct"}
    assert chosen["default"] <= {"direct", "winograd-2x2", "winograd-4x4"}
    assert "winograd-4x4" in chosen["default"]


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "why"),
    [
        ((1, 8, 8, 4), (3, 3, 4, 4), {"strides": (1, 2)}, "strides must be 1, or both 2"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"strides": 2, "algorithm": "winograd-4x4"}, "in multiples of 16"),
        ((1, 8, 8, 16), (3, 3, 16, 4), {"strides": 2, "algorithm": "winograd-6x6"}, "3x3 .*and 5x5"),
        ((1, 8, 8, 16), (3, 3, 16, 4), {"strides": 2, "direction": "grad_input"}, "a gradient's strides must be 1"),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"dilation": (1, 2)}, "dilation must be 1"),
        ((1, 8, 8, 4), (3, 3, 2, 4), {}, "groups must be 1"),
        ((1, 8, 8, 4), (1, 1, 4, 4), {}, "3, 5 or 7 taps"),
        ((1, 50, 16), (32, 16, 4), {}, "3 or 5 to 31"),
        ((1, 50, 8), (9, 8, 4), {}, "in multiples of 16"),
        ((1, 8, 8, 4), (3, 5, 4, 4), {}, "3, 5 or 7 taps"),
        ((1, 8, 8, 8, 4), (3, 3, 3, 4, 4), {}, "one or two spatial dimensions"),
        ((1, 8, 8, 4), (5, 5, 4, 4), {"algorithm": "winograd-4x4"}, "have tiles of 2 outputs alone"),
        ((1, 8, 8, 8200), (3, 3, 8200, 4), {"direction": "grad_weight"}, "exceed the workspace"),
    ],
)
def test_refuses_with_a_reason(x_shape, w_shape, options, why):
    with WINOGRAD[0].use(), pytest.raises(ValueError, match=f"winograd.* can't: .*{why}"):
        tapwise.plan(x_shape, w_shape, **{"algorithm": "winograd", **options})


def test_bound_is_sharp_enough(rng):
    """One of nine taps left out is outside the bound."""
    case = Case("", (1, 12, 12, 16), (3, 3), 8, padding=1)
    x, w, *_ = case.arrays(rng)
    want, _ = exact(tapwise.conv, x, w, **case.geometry)
    w[1, 2] = 0
    short, _ = exact(tapwise.conv, x, w, **case.geometry)
    for tile in ALGORITHMS.values():
        allowed = bound(winograd(case, x, w, tile, mass=True), winograd_terms(case, tile))
        assert np.median(np.abs(short - want) / allowed) > 10
