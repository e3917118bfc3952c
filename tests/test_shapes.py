"""Every row of the shape lists of a folder, under 2 GFLOP: pytest --shapes DIR tests/test_shapes.py

Forward and both gradients on every instruction set and on Numba, each element within the derived bound of float64; and
pooling with the row's kernel as the window. Budget: ten minutes on two cores, 12 GB (one kernel has 226 million taps).
"""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import float64
import tapwise
from cases import CASES, DIRECTIONS
from close import assert_within
from engines import ENGINES
from exact import exact
from shape_lists import read

COMPILED = [engine for engine in ENGINES if engine.backend != "reference"]
LITTLE = 1e8  # operations up to which every algorithm and both layouts run; above, "auto" and channels last
MANY_TAPS = 10_000  # too many for loops over taps; such a kernel covers its input


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        rows, _ = read(metafunc.config.getoption("shapes"))
        applies = pool_outputs if metafunc.function is test_pooling else lambda row: row.convolves
        metafunc.parametrize("row", [row for row in rows if applies(row)], ids=str)


def geometry(case):
    """What the functions of float64 take after the arrays' own sizes."""
    return case.strides, case.pads, case.dilation


def in_float64(case, direction, x, w, b, dy):
    """The result of a pass and its mass, channels last."""
    passes = {
        "forward": ((x, w, case.outputs), float64.conv),
        "grad_input": ((dy, w, case.x[1:-1]), float64.conv_grad_input),
        "grad_weight": ((x, dy, case.k), float64.conv_grad_weight),
    }
    (*arrays, sizes), operation = passes[direction]
    arrays = [a.astype(np.float64) for a in arrays]
    added = b if direction == "forward" else np.zeros(1)
    # One thread: with two, a busy machine lets BLAS wait for itself up to fifty times as long.
    with threadpool_limits(1, user_api="blas"):
        value = operation(*arrays, sizes, *geometry(case), case.groups) + added
        return value, operation(*map(np.abs, arrays), sizes, *geometry(case), case.groups) + np.abs(added)


def relaid(a, kind, layout):
    """Channels-last images or weights in the layout, contiguous."""
    if layout == "channels_last" or a.ndim == 1:
        return a
    return np.ascontiguousarray(np.moveaxis(a, -1, 1) if kind == "image" else np.moveaxis(a, (-1, -2), (0, 1)))


def assert_on_every_engine(case, direction, arrays, want, mass):
    """arrays, want and mass are channels last."""
    little = case.operations <= LITTLE
    for layout in ("channels_last", "channels_first") if little else ("channels_last",):
        turned = replace(case, data_format=layout)
        laid = [relaid(a, kind, layout) for a, kind in zip(arrays, ("image", "weight", "bias", "image"), strict=True)]
        terms, operation, *arguments = turned.passes(*laid)[direction]
        kind = "weight" if direction == "grad_weight" else "image"
        want_laid, mass_laid = relaid(want, kind, layout), relaid(mass, kind, layout)
        for engine in COMPILED:
            with engine.use():
                for algorithm in turned.algorithms(direction) if little else ("auto",):
                    got = operation(*arguments, algorithm=algorithm, **turned.geometry)
                    label = f"{direction}, {engine}, {algorithm}, {layout}"
                    assert_within(got, want_laid, mass_laid, terms, label=label)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_convolution(row, direction, rng):
    case = row.case
    if np.prod(case.k) >= MANY_TAPS:
        assert_dense_on_every_engine(case, direction, rng)
    else:
        arrays = case.arrays(rng)
        assert_on_every_engine(case, direction, arrays, *in_float64(case, direction, *arrays))


def assert_dense_on_every_engine(case, direction, rng):
    """The kernel covers the input: y = x w + b, dx = dy w', dw = x' dy, by slabs of the kernel, which may be 1 GB.

    On whole numbers, exactly: the derived bound of so many terms would allow anything.
    """
    assert (case.k, case.pads, case.groups) == (case.x[1:-1], ((0, 0),) * len(case.k), 1)
    x, w, b, dy = case.integers(rng)
    _, operation, *arguments = case.passes(x, w, b, dy)[direction]
    x, w, dy = x.reshape(case.x[0], -1), w.reshape(-1, case.co), dy.reshape(-1, case.co)
    slabs = [slice(i, i + 2**22) for i in range(0, len(w), 2**22)]
    if direction == "forward":
        y = sum((x[:, s].astype(np.float64) @ w[s].astype(np.float64) for s in slabs), b)
    for engine in COMPILED:
        with engine.use():
            got = operation(*arguments, **case.geometry)
        if direction == "forward":
            np.testing.assert_array_equal(got.reshape(y.shape), y, err_msg=str(engine))
        elif direction == "grad_input":
            for s in slabs:
                np.testing.assert_array_equal(got.reshape(x.shape)[:, s], dy @ w[s].T, err_msg=str(engine))
        else:
            for s in slabs:
                np.testing.assert_array_equal(got.reshape(w.shape)[s], x[:, s].T @ dy, err_msg=str(engine))


def pool_outputs(row):
    """Sizes of the pooled image, by PyTorch's rule where the division rounds up; () if a window would hold no input."""
    case, sizes = row.case, []
    if np.prod(case.k) == 1 or np.prod(case.k) >= MANY_TAPS:
        return ()
    axes = zip(case.x[1:-1], case.extents, case.pads, case.strides, case.dilation, strict=True)
    for size, extent, (before, after), stride, dilation in axes:
        room = size + before + after - extent
        o = room // stride + 1
        if row.ceil_mode and room % stride and o * stride < size + before:
            o += 1
        starts_beyond = (o - 1) * stride - before >= size
        if extent <= before or starts_beyond or (before and dilation > size):
            return ()
        sizes.append(o)
    return tuple(sizes)


def test_pooling(row, rng):
    """Maxima exactly; averages and gradients within the bound."""
    case, o = row.case, pool_outputs(row)
    window = {"strides": case.strides, "padding": case.pads, "dilation": case.dilation, "ceil_mode": row.ceil_mode}
    x = rng.standard_normal(case.x, np.float32)
    dy = rng.standard_normal((case.x[0], *o, case.ci), np.float32)
    largest = float64.max_pool(x, case.k, o, *geometry(case))
    average = [float64.average_pool(a, case.k, o, *geometry(case)) for a in (x, np.abs(x))]
    spread = [float64.average_pool_grad(a, case.x[1:-1], case.k, *geometry(case)) for a in (dy, np.abs(dy))]
    terms = int(np.prod(case.k)) + 1
    for engine in COMPILED:
        with engine.use():
            y, indices = tapwise.max_pool(x, case.k, return_indices=True, **window)
            dx = tapwise.max_pool_grad(dy, indices, x.shape)
            mean = tapwise.average_pool(x, case.k, **window)
            d_mean = tapwise.average_pool_grad(dy, x.shape, case.k, **window)
        np.testing.assert_array_equal(y, largest, err_msg=str(engine))
        if engine is COMPILED[0]:
            places, flat = indices, float64.flat_indices(indices, x.shape)
            np.testing.assert_array_equal(x.reshape(-1)[flat], largest.reshape(-1), err_msg="indices")
            want, mass = (np.bincount(flat, a.reshape(-1), x.size).reshape(x.shape) for a in (dy, np.abs(dy)))
        np.testing.assert_array_equal(indices, places, err_msg=str(engine))
        assert_within(dx, want, mass, terms, label=f"max_pool_grad, {engine}")
        assert_within(mean, *average, terms, label=f"average_pool, {engine}")
        assert_within(d_mean, *spread, terms, label=f"average_pool_grad, {engine}")


@pytest.mark.parametrize("case", [case for case in CASES if case.data_format == "channels_last"], ids=str)
def test_float64_is_the_reference(case, rng):
    """The oracle of this file against the specification: whole numbers, so equality is exact."""
    arrays = case.integers(rng)
    explicit = replace(case, strides=case.per_axis(case.strides), dilation=case.per_axis(case.dilation))
    for direction, (_, operation, *arguments) in case.passes(*arrays).items():
        for got, want in zip(
            in_float64(explicit, direction, *arrays), exact(operation, *arguments, **case.geometry), strict=True
        ):
            np.testing.assert_array_equal(got, want, err_msg=direction)
