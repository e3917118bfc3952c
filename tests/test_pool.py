"""Every pooling and its gradient against the float64 reference: each case, layout, backend and instruction set.

Inputs lie between NaN fences at odd offsets, outputs start as NaN between canaries.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import prod

import numpy as np
import pytest

import tapwise
from cases import EDGES
from close import Fenced, assert_adjoint, assert_within, bound, dot, fenced_copy
from engines import NATIVE
from exact import exact

AXES = {"channels_last": slice(1, -1), "channels_first": slice(2, None)}


@dataclass(frozen=True)
class Case:
    """x (n, *spatial, c) in channels-last order, whatever data_format asks of the arrays."""

    name: str
    x: tuple
    size: int | tuple
    strides: int | tuple = None
    padding: int | str | tuple = "valid"
    dilation: int | tuple = 1
    ceil_mode: bool = False
    data_format: str = "channels_last"

    def __str__(self):
        return self.name if self.data_format == "channels_last" else f"{self.name}, channels first"

    @property
    def options(self):
        names = ("size", "strides", "padding", "dilation", "ceil_mode", "data_format")
        return {name: getattr(self, name) for name in names}

    @property
    def x_shape(self):
        return self.x if self.data_format == "channels_last" else (self.x[0], self.x[-1], *self.x[1:-1])

    @property
    def window(self):
        """The most positions of a window, and so the most windows that overlap."""
        rank = len(self.x) - 2
        return prod(self.size if isinstance(self.size, tuple) else (self.size,) * rank)

    def whole(self, rng, shape=None):
        """Few different numbers, so that many are equal, and every sum of them is exact."""
        return rng.integers(-3, 4, self.x_shape if shape is None else shape).astype(np.float32)

    def normal(self, rng, shape=None):
        return rng.standard_normal(self.x_shape if shape is None else shape, np.float32)


ONE_LAYOUT = [
    Case("one pixel", (1, 1, 1, 1), 1),
    Case("one window", (2, 3, 4, 3), (3, 4)),
    *(Case(f"c = {c}, {why}", (1, 5, 4, c), 2, strides=1) for c, why in EDGES.items()),
    *(Case(f"ow = {ow}, {why}", (1, 4, ow + 2, 2), 3, strides=1) for ow, why in EDGES.items()),
    *(Case(f"ow = {ow} at stride 2", (1, 5, 2 * ow + 1, 2), 3, strides=2) for ow in (4, 7, 8, 9, 15, 16, 17, 33)),
    Case("2x2", (2, 8, 10, 20), 2),
    Case("2x2 over odd sizes: the last row and column are left out", (2, 7, 9, 5), 2),
    Case("3x3 stride 2, same (ResNet's first)", (1, 12, 13, 19), 3, strides=2, padding="same"),
    Case("3x3 stride 2, padding 1", (2, 9, 12, 6), 3, strides=2, padding=1),
    Case("3x3 stride 1, same_lower", (1, 6, 35, 4), 3, strides=1, padding="same_lower"),
    Case("stride 3 between lanes", (1, 7, 60, 3), 2, strides=3),
    Case("stride larger than the window", (2, 9, 11, 5), 2, strides=4),
    Case("asymmetric padding", (1, 6, 7, 9), 3, strides=2, padding=((0, 2), (1, 0))),
    Case("cropped at the end", (1, 8, 9, 4), 2, padding=((0, -1), (1, -2))),
    Case("ceil_mode", (2, 8, 7, 5), 3, strides=2, ceil_mode=True),
    Case("ceil_mode and padding", (1, 8, 6, 5), 3, strides=3, padding=1, ceil_mode=True),
    Case("dilated", (1, 9, 24, 5), 3, strides=1, padding=2, dilation=(2, 3)),
    Case("dilated, strided", (1, 11, 40, 5), (2, 3), strides=2, padding=1, dilation=2),
    Case("window larger than the input", (1, 3, 2, 5), 5, strides=1, padding=2),
    Case("several chunks", (3, 40, 41, 33), 3, strides=2, padding=1),
    Case("1-D", (2, 37, 5), 4, strides=3, padding=1),
    Case("1-D, one channel", (1, 100, 1), 7, strides=1, padding=3),
    Case("3-D", (2, 4, 5, 6, 5), (2, 3, 2), strides=(1, 2, 1), padding=((1, 0), (0, 1), (1, 1))),
    Case("3-D, dilated", (1, 7, 6, 5, 4), (2, 2, 2), strides=1, padding=1, dilation=(4, 3, 2)),
    Case("2x2 of 300 channels, several images", (9, 5, 6, 300), 2),
    Case("empty batch", (0, 5, 5, 3), 2),
]
CASES = [replace(case, data_format=layout) for layout in AXES for case in ONE_LAYOUT]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_layouts = pytest.mark.parametrize("data_format", AXES)


def fenced_call(operation, shape, *arguments, **options):
    """operation(*arguments, out=...) between fences; nothing else may be written or read."""
    fenced = [fenced_copy(a, offset) if isinstance(a, np.ndarray) else a for offset, a in enumerate(arguments, 1)]
    out = Fenced(shape, offset=3)
    result = operation(*fenced, out=out.array, **options)
    out.assert_intact(operation.__name__)
    return result


def reference(operation, *arguments, **options):
    with tapwise.backend.use("reference"):
        return operation(*arguments, **options)


@every_case
def test_max_is_exact(case, engine, rng):
    """The result is one of the inputs to the bit, the first of equals; NaN and infinities included."""
    x = case.whole(rng)
    for value, share in ((np.nan, 0.03), (np.inf, 0.03), (-np.inf, 0.2)):
        x[rng.random(x.shape) < share] = value
    want, want_indices = reference(tapwise.max_pool, x, return_indices=True, **case.options)
    given = Fenced(want.shape)
    places = given.array.view(np.int32)
    y, indices = fenced_call(tapwise.max_pool, want.shape, x, return_indices=True, indices_out=places, **case.options)
    given.assert_intact()
    assert indices is places
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(indices, want_indices)
    np.testing.assert_array_equal(fenced_call(tapwise.max_pool, want.shape, x, **case.options), want)


@every_case
@pytest.mark.parametrize("count_include_pad", [False, True], ids=["inside", "padded"])
def test_average(case, count_include_pad, engine, rng):
    x, options = case.normal(rng), {**case.options, "count_include_pad": count_include_pad}
    want, mass = exact(tapwise.average_pool, x, **options)
    y = fenced_call(tapwise.average_pool, want.shape, x, **options)
    assert_within(y, want, mass, case.window)


@every_case
@pytest.mark.parametrize("count_include_pad", [False, True], ids=["inside", "padded"])
def test_average_grad(case, count_include_pad, engine, rng):
    options = {**case.options, "count_include_pad": count_include_pad}
    dy = case.normal(rng, tapwise.average_pool(case.normal(rng), **options).shape)
    want, mass = exact(tapwise.average_pool_grad, dy, case.x_shape, **options)
    dx = fenced_call(tapwise.average_pool_grad, case.x_shape, dy, case.x_shape, **options)
    assert_within(dx, want, mass, case.window)


@every_case
def test_max_grad_is_exact(case, engine, rng):
    """Whole numbers: each dy arrives once, where its maximum was."""
    y, indices = tapwise.max_pool(case.whole(rng), return_indices=True, **case.options)
    dy, kind = case.whole(rng, y.shape), {"data_format": case.data_format}
    want = reference(tapwise.max_pool_grad, dy, indices, case.x_shape, **kind)
    dx = Fenced(case.x_shape, offset=1)
    tapwise.max_pool_grad(fenced_copy(dy, 2), indices, case.x_shape, out=dx.array, **kind)
    dx.assert_intact()
    np.testing.assert_array_equal(dx.array, want)


@every_case
def test_gradients_are_adjoint(case, engine, rng):
    """Average pooling is linear, <dy, pool(x)> == <dx, x>; so is the choice that maximum pooling made."""
    x = case.normal(rng)
    y = tapwise.average_pool(x, **case.options)
    dy = case.normal(rng, y.shape)
    mass = dot(np.abs(dy), reference(tapwise.average_pool, np.abs(x), **case.options))
    dx = tapwise.average_pool_grad(dy, case.x_shape, **case.options)
    assert_adjoint(dy, y, dx, x, bound(mass, 2 * case.window), "average")
    y, indices = tapwise.max_pool(x, return_indices=True, **case.options)
    dx = tapwise.max_pool_grad(dy, indices, case.x_shape, data_format=case.data_format)
    assert_adjoint(dy, y, dx, x, bound(dot(np.abs(dy), np.abs(y)), case.window), "max")


@pytest.mark.parametrize("offset", [0, 1, 4], ids=lambda floats: f"y {floats} floats past 64 bytes")
@pytest.mark.parametrize("operation", [tapwise.max_pool, tapwise.average_pool])
def test_larger_than_the_caches(operation, offset, rng):
    """Outputs that go past the caches, at any alignment, are those of one image."""
    x = rng.standard_normal((17, 66, 62, 68), np.float32)
    size = 17 * 33 * 31 * 68
    memory = np.full(size + 32, np.nan, np.float32)
    start = -memory.ctypes.data // 4 % 16 + offset
    y = memory[start : start + size].reshape(17, 33, 31, 68)
    operation(x, 3, strides=2, padding=1, out=y)
    for image in range(17):
        alone = operation(x[image : image + 1], 3, strides=2, padding=1)
        np.testing.assert_array_equal(y[image : image + 1], alone)
    assert np.isnan(memory[:start]).all()
    assert np.isnan(memory[start + size :]).all()


@both_layouts
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2)])
def test_nan_and_ties_in_every_lane(size, stride, padding, data_format, engine):
    """A NaN at any place makes NaN of the windows that hold it and names itself; of equals the first is named."""
    length, channels = 40, 19
    options = {"strides": stride, "padding": padding, "data_format": data_format}
    starts = np.arange((length + 2 * padding - size) // stride + 1) * stride - padding
    for place in range(length):
        x = np.ones((1, length, channels), np.float32)
        x[:, place] = np.nan
        if data_format == "channels_first":
            x = np.ascontiguousarray(x.swapaxes(1, 2))
        holds = (starts <= place) & (place < starts + size)
        rows = (1, -1, 1) if data_format == "channels_last" else (1, 1, -1)
        y, indices = tapwise.max_pool(x, size, return_indices=True, **options)
        want = np.where(holds, place, np.maximum(starts, 0)).reshape(rows)
        np.testing.assert_array_equal(indices, np.broadcast_to(want, y.shape))
        for pooled in (y, tapwise.average_pool(x, size, **options)):
            np.testing.assert_array_equal(np.isnan(pooled), np.broadcast_to(holds.reshape(rows), y.shape))


def windows(length, size, stride, padding, dilation, ceil_mode):
    """For each output: the window's positions in the input, and how many there are in the padded input."""
    room = length + 2 * padding - dilation * (size - 1) - 1
    outputs = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (outputs - 1) * stride >= length + padding:
        outputs -= 1
    for o in range(outputs):
        taps = [o * stride - padding + t * dilation for t in range(size)]
        yield [i for i in taps if 0 <= i < length], sum(i < length + padding for i in taps)


@cache
def small_shapes():
    """Length 1..6, window 1..5, stride and dilation 1..3, padding 0..window, floor and ceil; those that are allowed."""
    kept = []
    for length, size, stride, dilation, ceil in product(range(1, 7), range(1, 6), range(1, 4), range(1, 4), (0, 1)):
        for padding in range(size + 1):
            if dilation * (size - 1) + 1 <= length + 2 * padding:
                found = list(windows(length, size, stride, padding, dilation, bool(ceil)))
                if found and all(inside for inside, _ in found):
                    options = {"strides": stride, "padding": padding, "dilation": dilation, "ceil_mode": bool(ceil)}
                    kept.append((length, size, options, found))
    return kept


@both_layouts
def test_every_small_shape(data_format, engine):
    """Values, indices, divisors and both gradients of each, by enumeration; all of them exact."""
    channels, kind = 2, {"data_format": data_format}
    for length, size, options, found in small_shapes():
        label = f"length {length}, size {size}, {options}"
        x = np.stack([np.arange(length) * 5 % 7, -np.arange(length)], -1).astype(np.float32)
        best = np.array([[max(inside, key=lambda i: (x[i, c], -i)) for c in range(channels)] for inside, _ in found])
        sums = np.array([x[inside].sum(0) for inside, _ in found])
        dy = np.arange(1, 2 * len(found) + 1, dtype=np.float32).reshape(len(found), 2) * 60  # every divisor divides it
        dx_max, dx_average = np.zeros_like(x), {False: np.zeros_like(x), True: np.zeros_like(x)}
        for o, (inside, counted) in enumerate(found):
            dx_max[best[o], range(channels)] += dy[o]
            for padded, divisor in ((False, len(inside)), (True, counted)):
                dx_average[padded][inside] += dy[o] / np.float32(divisor)

        def given(a):
            return np.ascontiguousarray(a[None] if data_format == "channels_last" else a.T[None])

        y, indices = tapwise.max_pool(given(x), size, return_indices=True, **options, **kind)
        np.testing.assert_array_equal(indices, given(best), err_msg=label)
        np.testing.assert_array_equal(y, given(np.take_along_axis(x, best, 0)), err_msg=label)
        dx = tapwise.max_pool_grad(given(dy), indices, given(x).shape, **kind)
        np.testing.assert_array_equal(dx, given(dx_max), err_msg=label)
        for padded in (False, True):
            divisors = [[counted if padded else len(inside)] for inside, counted in found]
            flags = {**options, **kind, "count_include_pad": padded}
            y = tapwise.average_pool(given(x), size, **flags)
            np.testing.assert_array_equal(y, given(sums / np.array(divisors, np.float32)), err_msg=label)
            dx = tapwise.average_pool_grad(given(dy), given(x).shape, size, **flags)
            np.testing.assert_array_equal(dx, given(dx_average[padded]), err_msg=label)


@both_layouts
def test_adaptive(data_format, engine, rng):
    """Every pair of sizes up to 9 by 7, more outputs than inputs too, against the definition of the windows."""
    kind = {"data_format": data_format}
    for size, outputs in product(range(1, 10), range(1, 8)):
        shape = (2, size, 6, 5) if data_format == "channels_last" else (2, 5, size, 6)
        x, output_size = rng.standard_normal(shape, np.float32), (outputs, 3)
        want, want_indices = reference(tapwise.adaptive_max_pool, x, output_size, return_indices=True, **kind)
        y, indices = tapwise.adaptive_max_pool(x, output_size, return_indices=True, **kind)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(indices, want_indices)
        window = (-(-size // outputs) + 1) * 3
        want, mass = exact(tapwise.adaptive_average_pool, x, output_size, **kind)
        y = fenced_call(tapwise.adaptive_average_pool, want.shape, x, output_size, **kind)
        assert_within(y, want, mass, window)
        dy = rng.standard_normal(want.shape, np.float32)
        want, mass = exact(tapwise.adaptive_average_pool_grad, dy, shape, **kind)
        dx = fenced_call(tapwise.adaptive_average_pool_grad, shape, dy, shape, **kind)
        assert_within(dx, want, mass, (-(-outputs // size) + 1) * 3)


@both_layouts
def test_global(data_format, engine, rng):
    kind = {"data_format": data_format}
    x = rng.standard_normal((3, 9, 11, 37) if data_format == "channels_last" else (3, 37, 9, 11), np.float32)
    want, mass = exact(tapwise.global_average_pool, x, **kind)
    assert_within(fenced_call(tapwise.global_average_pool, want.shape, x, **kind), want, mass, 99)
    np.testing.assert_array_equal(
        fenced_call(tapwise.global_max_pool, want.shape, x, **kind), reference(tapwise.global_max_pool, x, **kind)
    )
    dy = rng.standard_normal(want.shape, np.float32)
    want, mass = exact(tapwise.global_average_pool_grad, dy, x.shape, **kind)
    assert_within(tapwise.global_average_pool_grad(dy, x.shape, **kind), want, mass, 1)


@both_layouts
@pytest.mark.parametrize("c, size", [(96, (33, 41)), (37, (7, 7)), (2048, (7, 7)), (16, (1, 3000)), (2, (90, 103))])
def test_global_average_of_one_image(data_format, c, size, engine, rng):
    """Threads share its channels: the bits are the same for any number of them, and for any batch."""
    kind = {"data_format": data_format}
    x = rng.standard_normal((2, *size, c) if data_format == "channels_last" else (2, c, *size), np.float32)
    with tapwise.threads.set(1):
        both = fenced_call(tapwise.global_average_pool, (2, c), x, **kind)
    with tapwise.threads.set(4):
        one = fenced_call(tapwise.global_average_pool, (1, c), x[:1], **kind)
    np.testing.assert_array_equal(one, both[:1])
    want, mass = exact(tapwise.global_average_pool, x, **kind)
    assert_within(both, want, mass, size[0] * size[1])


@both_layouts
def test_a_dilated_window_as_large_as_the_input_is_not_global(data_format, engine, rng):
    """Two taps, two apart, see the first of two rows, and padding behind them."""
    x = rng.standard_normal((3, 2, 1, 5) if data_format == "channels_last" else (3, 5, 2, 1), np.float32)
    y = tapwise.average_pool(x, (2, 1), dilation=(2, 1), padding=[(0, 1), (0, 0)], data_format=data_format)
    first = x[:, :1] if data_format == "channels_last" else x[:, :, :1]
    np.testing.assert_array_equal(y, first)


def passes(case, rng):
    """The bits of each pass, by name."""
    x = case.normal(rng)
    y, indices = tapwise.max_pool(x, return_indices=True, **case.options)
    dy = case.normal(rng, y.shape)
    results = {
        "max": y,
        "indices": indices,
        "max_grad": tapwise.max_pool_grad(dy, indices, x.shape, data_format=case.data_format),
        "average": tapwise.average_pool(x, **case.options),
        "average_grad": tapwise.average_pool_grad(dy, x.shape, **case.options),
    }
    return {name: a.tobytes() for name, a in results.items()}


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ("several chunks", "3-D", "dilated")], ids=str)
def test_bits_do_not_depend_on_threads(case, engine):
    with tapwise.threads.set(1):
        alone = passes(case, np.random.default_rng(5))
    with tapwise.threads.set(4):
        assert passes(case, np.random.default_rng(5)) == alone


@pytest.mark.skipif(not NATIVE, reason="needs the extension: pip install .")
@every_case
def test_bits_do_not_depend_on_the_instruction_set(case):
    """A window is summed in memory order whatever the lanes."""
    bits = []
    for level in NATIVE:
        with level.use():
            bits.append(passes(case, np.random.default_rng(6)))
    assert all(found == bits[0] for found in bits)
