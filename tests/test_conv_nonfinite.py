"""Infinities, NaN and subnormal numbers: they reach the outputs that read them and no others."""

import numpy as np
import pytest

import tapwise
from cases import CASES, Case
from close import assert_within
from exact import exact

PADDED = [case for case in CASES if case.padding not in ("valid", 0) and 0 < np.prod(case.y_shape) < 4000]
padded_cases = pytest.mark.parametrize("case", PADDED, ids=str)


def reach(operation, *arguments, **options):
    """True where an output reads a non-zero element: operation on the indicators of the arguments, which is exact."""
    indicators = (np.asarray(a != 0, np.float64) if isinstance(a, np.ndarray) else a for a in arguments)
    with tapwise.backend.use("reference"):
        return operation(*indicators, **options) > 0


def assert_only_reached_are_nan(got, reached, label):
    np.testing.assert_array_equal(np.isnan(got), reached, err_msg=label)


@padded_cases
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_padding_never_meets_a_weight(case, value, engine, rng):
    """One tap of w is not finite; outputs whose product with it would be padding's stay finite."""
    x, w, _, dy = case.arrays(rng)
    tap = (0,) * len(case.k)
    at = (*tap, ...) if case.data_format == "channels_last" else (..., *tap)
    marked = np.zeros_like(w)
    marked[at] = 1
    w[at] = value
    reached = reach(tapwise.conv, np.ones_like(x), marked, **case.geometry)
    for algorithm in case.algorithms("forward"):
        y = tapwise.conv(x, w, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(~np.isfinite(y), reached, err_msg=algorithm)
    reached = reach(tapwise.conv_grad_input, np.ones_like(dy), marked, case.x_shape, **case.geometry)
    for algorithm in case.algorithms("grad_input"):
        dx = tapwise.conv_grad_input(dy, w, case.x_shape, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(~np.isfinite(dx), reached, err_msg=algorithm)


@padded_cases
def test_padding_never_meets_an_output_gradient(case, engine, rng):
    """dy is infinite where its window begins in the padding; taps that only padding meets keep a finite gradient."""
    x, _, _, dy = case.arrays(rng)
    corner = (0,) * len(case.k)
    at = (0, *corner, ...) if case.data_format == "channels_last" else (0, slice(None), *corner)
    marked = np.zeros_like(dy)
    marked[at] = 1
    dy[at] = np.inf
    reached = reach(tapwise.conv_grad_weight, np.ones_like(x), marked, case.w_shape, **case.geometry)
    for algorithm in case.algorithms("grad_weight"):
        dw = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(~np.isfinite(dw), reached, err_msg=algorithm)


NAN_CASES = [
    Case("vector body and tail", (1, 4, 5, 3), (3, 3), 19, padding=1),
    Case("strided", (1, 5, 6, 2), (2, 3), 5, strides=2),
    Case("grouped", (1, 3, 4, 6), (2, 2), 6, groups=2),
    Case("depthwise", (1, 3, 4, 19), (3, 3), 19, padding=1, groups=19),
    Case("1x1", (1, 3, 5, 5), (1, 1), 18),
]


def each_in_turn(a, value):
    """A batch with a copy of image a for each of its elements, that element replaced by value."""
    batch = np.repeat(a, a.size, axis=0)
    batch.reshape(a.size, a.size)[np.diag_indices(a.size)] = value
    return batch


@pytest.mark.parametrize("case", NAN_CASES, ids=str)
def test_nan_reaches_what_reads_it(case, engine, rng):
    """NaN at each element of x in turn (gate 12), and of dy: body and tail alike, and nowhere else."""
    x, w, _, dy = case.arrays(rng)
    nan_x, nan_dy = each_in_turn(x, np.nan), each_in_turn(dy, np.nan)
    batch_shape = (dy.size, *case.x_shape[1:])
    ones = np.ones_like(w)
    for algorithm in case.algorithms("forward"):
        reached = reach(tapwise.conv, np.isnan(nan_x), ones, **case.geometry)
        assert_only_reached_are_nan(tapwise.conv(nan_x, w, algorithm=algorithm, **case.geometry), reached, algorithm)
    for algorithm in case.algorithms("grad_input"):
        reached = reach(tapwise.conv_grad_input, np.isnan(nan_dy), ones, batch_shape, **case.geometry)
        dx = tapwise.conv_grad_input(nan_dy, w, batch_shape, algorithm=algorithm, **case.geometry)
        assert_only_reached_are_nan(dx, reached, algorithm)


@pytest.mark.parametrize("case", NAN_CASES, ids=str)
def test_nan_reaches_the_weight_gradients_that_read_it(case, engine, rng):
    x, _, _, dy = case.arrays(rng)
    for algorithm in case.algorithms("grad_weight"):
        for image in each_in_turn(x, np.nan):
            x = image[None]
            reached = reach(tapwise.conv_grad_weight, np.isnan(x), np.ones_like(dy), case.w_shape, **case.geometry)
            dw = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm=algorithm, **case.geometry)
            assert_only_reached_are_nan(dw, reached, algorithm)


@pytest.mark.parametrize("co", [1, 4, 15, 19, 33])
def test_relu_keeps_nan(co, engine, rng):
    x = rng.standard_normal((1, 4, 5, 3), np.float32)
    w, b = rng.standard_normal((3, 3, 3, co), np.float32), rng.standard_normal(co, np.float32)
    x[0, 1, 2, 0] = np.nan
    reached = reach(tapwise.conv, np.isnan(x), np.ones_like(w))
    y = tapwise.conv(x, w, b, activation="relu")
    assert_only_reached_are_nan(y, reached, "relu")
    assert (y[~reached] >= 0).all()


@pytest.mark.parametrize("exponent", [-42, -39])
def test_subnormal_numbers_within_the_flush_bound(exponent, engine, rng):
    """Subnormal weights and products (gate 9): each may be flushed, which costs terms * 2^-126 * max(1, |x|)."""
    case = Case("subnormal", (2, 6, 7, 5), (3, 3), 18, padding=1)
    x, w, _, _ = case.arrays(rng)
    w *= np.float32(10.0**exponent)
    scale = float(np.abs(x).max())
    want, mass = exact(tapwise.conv, x, w, **case.geometry)
    for algorithm in case.algorithms("forward"):
        y = tapwise.conv(x, w, algorithm=algorithm, **case.geometry)
        assert_within(y, want, mass, case.terms, scale=scale, label=algorithm)


def test_subnormal_arithmetic_is_restored(engine, rng):
    """A call may flush subnormal numbers to zero inside; NumPy's arithmetic after it must not."""
    case = Case("several tasks", (2, 40, 41, 8), (3, 3), 16, padding=1)
    x, w, _, _ = case.arrays(rng)
    y = tapwise.conv(x, w, **case.geometry)
    tapwise.conv_grad_weight(x, y, case.w_shape, **case.geometry)
    tapwise.conv_grad_input(y, w, case.x_shape, **case.geometry)
    small = np.full(64, 1e-40, np.float32)
    np.testing.assert_array_equal((small * np.float32(0.5)).view(np.uint32), np.full(64, 35681, np.uint32))
