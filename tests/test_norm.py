"""Batch normalization with what is joined to it, normalization by groups, and bias gradients, against float64."""

import numpy as np
import pytest

import tapwise
from close import Fenced, assert_within, fenced_copy
from engines import ENGINES
from exact import wide

EPS = float(np.finfo(np.float32).eps)
BLOCK = {"native": 17, "numba": 1, "cuda-emulated": 1}
LAYOUTS = ["channels_last", "channels_first"]


def reference(operation, *arguments, **options):
    """The same in float64."""
    arguments = [wide(a)[0] if getattr(a, "dtype", None) == np.float32 else a for a in arguments]
    options = {k: wide(a)[0] if getattr(a, "dtype", None) == np.float32 else a for k, a in options.items()}
    with tapwise.backend.use("reference"):
        return operation(*arguments, **options)


# (n, ..., c): tails of vectors, one value a channel, several chunks.
NORMED = [
    (1, 1),
    (5, 3),
    (2, 1, 1, 4),
    (7, 16),
    (3, 5, 4, 17),
    (4, 9, 33),
    (2, 3, 4, 5, 6),
    (40, 31, 20, 7),
    (3000, 40),
]
every_norm = pytest.mark.parametrize("shape", NORMED, ids=str)
both_layouts = pytest.mark.parametrize("data_format", LAYOUTS)


def laid_out(a, data_format):
    return a if data_format == "channels_last" else np.ascontiguousarray(np.moveaxis(a, -1, 1))


def columns(a, data_format):
    """(values, channels) in float64: each channel's values in the order of the other axes."""
    a = a if data_format == "channels_last" else np.moveaxis(a, 1, -1)
    return a.reshape(-1, a.shape[-1]).astype(np.float64)


def summed(engine, count):
    """Roundings of a sum over a channel: native sums 16 values in float32, Numba and then native in float64."""
    return count if engine.backend == "reference" else BLOCK[engine.backend] + count * 2.0**-29


def assert_statistics(x, mean, variance, terms, data_format):
    x = columns(x, data_format)
    assert_within(mean, x.mean(0), np.abs(x.mean(0)) + np.abs(x).mean(0) * (terms - 1), 1)
    # The mean's own error adds its square to the variance.
    assert_within(variance, x.var(0), x.var(0) + terms * EPS * np.square(np.abs(x).mean(0)), terms + 2)


@every_norm
@both_layouts
def test_batch_norm(shape, data_format, engine, rng):
    x = laid_out(rng.standard_normal(shape, np.float32) * 3 + 2, data_format)
    gamma, beta = rng.standard_normal((2, shape[-1]), np.float32)
    kind = {"epsilon": 1e-3, "data_format": data_format}
    out, fenced = Fenced(x.shape, offset=1), [fenced_copy(a, 2) for a in (x, gamma, beta)]
    y, mean, variance = tapwise.batch_norm(*fenced, training=True, out=out.array, **kind)
    out.assert_intact()
    assert_statistics(x, mean, variance, summed(engine, x.size // shape[-1]), data_format)
    want = columns(reference(tapwise.batch_norm, x, gamma, beta, mean, variance, **kind), data_format)
    deviation = np.sqrt(variance.astype(np.float64) + 1e-3)
    mass = np.abs(gamma) * (np.abs(columns(x, data_format)) + np.abs(mean)) / deviation + np.abs(beta)
    assert_within(columns(y, data_format).astype(np.float32), want, mass, 4)
    np.testing.assert_array_equal(tapwise.batch_norm(x, gamma, beta, mean, variance, **kind), y)


@every_norm
@both_layouts
def test_batch_norm_grad(shape, data_format, engine, rng):
    x = laid_out(rng.standard_normal(shape, np.float32) * 3 + 2, data_format)
    dy = laid_out(rng.standard_normal(shape, np.float32), data_format)
    gamma, count = rng.standard_normal(shape[-1], np.float32), x.size // shape[-1]
    kind = {"epsilon": 1e-3, "data_format": data_format}
    _, mean, variance = tapwise.batch_norm(x, gamma, None, training=True, **kind)
    want = reference(tapwise.batch_norm_grad, dy, x, gamma, mean, variance, **kind)
    out, fenced = Fenced(x.shape, offset=1), [fenced_copy(a, 2) for a in (dy, x, gamma, mean, variance)]
    dx, dgamma, dbeta = tapwise.batch_norm_grad(*fenced, out=out.array, **kind)
    out.assert_intact()
    size, deviation = np.abs(columns(dy, data_format)), np.sqrt(variance.astype(np.float64) + 1e-3)
    normal, terms = np.abs(columns(x, data_format) - mean) / deviation, summed(engine, count)
    assert_within(dbeta, want[2], size.sum(0), terms)
    assert_within(dgamma, want[1], (size * normal).sum(0), terms + 4)
    mass = np.abs(gamma) / deviation * (size + size.mean(0) + normal * (size * normal).mean(0))
    assert_within(columns(dx, data_format).astype(np.float32), columns(want[0], data_format), mass, terms + 8)


@both_layouts
def test_statistics_far_from_zero(data_format, rng):
    """A mean of 1000 deviations, and a first value that is far off, cost the compiled variance no digits."""
    x = rng.standard_normal((50, 20, 18)).astype(np.float32) + 1000
    x[0, 0] = 1e6
    x[..., 1] = 7
    x = laid_out(x, data_format)
    for engine in (engine for engine in ENGINES if engine.backend != "reference"):
        with engine.use():
            _, mean, variance = tapwise.batch_norm(x, None, None, training=True, data_format=data_format)
        assert_statistics(x, mean, variance, summed(engine, 1000), data_format)
        assert (mean[1], variance[1]) == (7, 0)


ACTIVATIONS = {"relu": 0, "elu": 1.75, "relu6": 0, "linear": 0}  # ulp of their own


@every_norm
@both_layouts
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("adds", [False, True])
def test_batch_norm_with_what_follows(shape, data_format, kind, adds, engine, rng):
    """The same as in steps, whose sums round once more; in place of x and of the residual."""
    x = laid_out(rng.standard_normal(shape, np.float32) * 3 + 2, data_format)
    residual = laid_out(rng.standard_normal(shape, np.float32), data_format) if adds else None
    gamma, beta, mean = rng.standard_normal((3, shape[-1]), np.float32)
    variance = rng.random(shape[-1], np.float32) + np.float32(0.1)
    options = {"data_format": data_format, "activation": kind}
    y = tapwise.batch_norm(x, gamma, beta, mean, variance, residual=residual, **options)
    want = reference(tapwise.batch_norm, x, gamma, beta, mean, variance, residual=residual, **options)
    deviation = np.sqrt(variance.astype(np.float64) + 1e-3)
    mass = np.abs(gamma) * (np.abs(columns(x, data_format)) + np.abs(mean)) / deviation + np.abs(beta)
    mass += np.abs(columns(residual, data_format)) if adds else 0
    assert_within(columns(y, data_format).astype(np.float32), columns(want, data_format), mass, 5 + ACTIVATIONS[kind])
    for over in (x, residual):
        if over is not None:
            given = {"residual": residual, **options}
            memory = over.copy()
            given["residual"] = memory if over is residual else residual
            at = memory if over is x else x
            np.testing.assert_array_equal(tapwise.batch_norm(at, gamma, beta, mean, variance, out=memory, **given), y)


@every_norm
@both_layouts
@pytest.mark.parametrize("by", ["y", "beta"])
def test_batch_norm_grad_behind_relu(shape, data_format, by, engine, rng):
    """The same bits as with the ReLU's gradient taken before, by its output or found again; and dz."""
    x = laid_out(rng.standard_normal(shape, np.float32) * 3 + 2, data_format)
    residual = laid_out(rng.standard_normal(shape, np.float32), data_format) if by == "y" else None
    dy = laid_out(rng.standard_normal(shape, np.float32), data_format)
    gamma, beta = rng.standard_normal((2, shape[-1]), np.float32)
    kind = {"data_format": data_format}
    y, mean, variance = tapwise.batch_norm(x, gamma, beta, training=True, activation="relu", residual=residual, **kind)
    dz = tapwise.activation_grad(dy, y, "relu")
    want = tapwise.batch_norm_grad(dz, x, gamma, mean, variance, **kind)
    options = {"activation": "relu", **({"y": y} if by == "y" else {"beta": beta}), **kind}
    out, sums = Fenced(x.shape, offset=1), [Fenced(mean.shape, offset=1) for _ in range(2)]
    got = tapwise.batch_norm_grad(
        *(fenced_copy(a, 2) for a in (dy, x, gamma, mean, variance)), out=out.array, out_gamma=sums[0].array,
        out_beta=sums[1].array, **options,
    )  # fmt: skip
    for fenced, a, b in zip((out, *sums), got, want, strict=True):
        np.testing.assert_array_equal(a, b)
        fenced.assert_intact()
    memory = dy.copy()
    assert tapwise.batch_norm_grad(memory, x, gamma, mean, variance, out=memory, **options)[0] is memory
    np.testing.assert_array_equal(memory, want[0])
    if by == "y":
        for at in (np.empty_like(dy), dy.copy()):
            first = at if np.array_equal(at, dy) else dy
            got = tapwise.batch_norm_grad(first, x, gamma, mean, variance, out_residual=at, **options)
            np.testing.assert_array_equal(at, dz)
            for a, b in zip(got, want, strict=True):
                np.testing.assert_array_equal(a, b)


# x (n, c, ...) and groups: rows that end in a vector's tail, one value, several chunks; planes, and groups without.
GROUPED = [
    ((1, 1), 1),
    ((5, 3), 1),
    ((7, 16), 1),
    ((300, 333), 1),
    ((2, 9000), 1),
    ((3, 4), 2),
    ((2, 6, 1, 1), 3),
    ((2, 6, 5, 7), 3),
    ((4, 18, 9), 18),
    ((1, 6, 40, 41), 2),
    ((2, 3, 2, 3, 4), 1),
]
every_group = pytest.mark.parametrize(("shape", "groups"), GROUPED, ids=str)


def by_row(a, groups):
    """(n, groups, values) in float64."""
    return a.reshape(len(a), groups, -1).astype(np.float64)


def by_value(a, x):
    """gamma or beta (c,) at each value of x, float64."""
    return np.broadcast_to(a.astype(np.float64).reshape(-1, *(1,) * (x.ndim - 2)), x.shape)


@every_group
def test_group_norm(shape, groups, engine, rng):
    x, (gamma, beta) = rng.standard_normal(shape, np.float32) * 3 + 2, rng.standard_normal((2, shape[1]), np.float32)
    out, fenced = Fenced(x.shape, offset=1), [fenced_copy(a, 2) for a in (x, gamma, beta)]
    y, mean, variance = tapwise.group_norm(*fenced, groups, out=out.array)
    out.assert_intact()
    rows = by_row(x, groups)
    planes = np.ascontiguousarray(x.reshape(1, mean.size, -1))
    assert_statistics(planes, mean.ravel(), variance.ravel(), summed(engine, rows.shape[-1]), "channels_first")
    normal = (rows - mean[..., None]) / np.sqrt(variance[..., None].astype(np.float64) + 1e-3)
    scaled = normal.reshape(shape) * by_value(gamma, x)
    assert_within(y, scaled + by_value(beta, x), np.abs(scaled) + np.abs(by_value(beta, x)), 7)
    memory = x.copy()
    assert tapwise.group_norm(memory, gamma, beta, groups, out=memory)[0] is memory
    np.testing.assert_array_equal(memory, y)


@every_group
def test_group_norm_grad(shape, groups, engine, rng):
    x, dy = rng.standard_normal((2, *shape), np.float32) * 3 + 2
    gamma = rng.standard_normal(shape[1], np.float32)
    _, mean, variance = tapwise.group_norm(x, gamma, None, groups)
    want = reference(tapwise.group_norm_grad, dy, x, gamma, mean, variance)
    out, fenced = Fenced(x.shape, offset=1), [fenced_copy(a, 2) for a in (dy, x, gamma, mean, variance)]
    dx, dgamma, dbeta = tapwise.group_norm_grad(*fenced, out=out.array)
    out.assert_intact()
    deviation = np.sqrt(variance[..., None].astype(np.float64) + 1e-3)
    normal = np.abs(by_row(x, groups) - mean[..., None]) / deviation
    size, g = np.abs(dy).astype(np.float64), np.abs(by_row(dy * by_value(gamma, x), groups))
    axes, terms = (0, *range(2, x.ndim)), summed(engine, x.size // shape[1])
    assert_within(dbeta, want[2], size.sum(axes), terms)
    assert_within(dgamma, want[1], (size * normal.reshape(shape)).sum(axes), terms + 5)
    mass = (g + g.mean(-1, keepdims=True) + normal * (g * normal).mean(-1, keepdims=True)) / deviation
    assert_within(dx, want[0], mass.reshape(shape), summed(engine, g.shape[-1]) + 12)
    memory = dy.copy()
    assert tapwise.group_norm_grad(memory, x, gamma, mean, variance, out=memory)[0] is memory
    np.testing.assert_array_equal(memory, dx)


def test_group_norm_grad_is_the_slope(rng):
    """Of sum(dy * y), by differences in float64."""
    x, dy = rng.standard_normal((2, 2, 6, 5))
    weights = rng.standard_normal((2, 6))
    with tapwise.backend.use("reference"):
        gradients = tapwise.group_norm_grad(dy, x, weights[0], *tapwise.group_norm(x, *weights, 3)[1:])
        for i, got in enumerate(gradients):
            along = rng.standard_normal(got.shape)
            ends = []
            for step in (-1e-5, 1e-5):
                moved = [x, *weights]
                moved[i] = moved[i] + step * along
                ends.append((dy * tapwise.group_norm(*moved, 3)[0]).sum())
            assert np.isclose((ends[1] - ends[0]) / 2e-5, (got * along).sum(), rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, c: tapwise.group_norm(x, c, c, 3), "groups must divide the 4 channels, got 3"),
        (lambda x, c: tapwise.group_norm(x, c, c[:3]), r"beta must have shape \(4,\), got \(3,\)"),
        (lambda x, c: tapwise.group_norm(x[:0], c, c), r"x must have at least 2 dimensions of size >= 1, got \(0, 4\)"),
        (
            lambda x, c: tapwise.group_norm_grad(x, x, c, c, c),
            r"mean must have shape \(3, groups\) with .*, got \(4,\)",
        ),
    ],
)
def test_group_norm_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((3, 4), np.float32), np.ones(4, np.float32))


def test_masks_keep_nan(engine):
    """Where y or what it is made of is NaN, dy passes."""
    x = np.array([[np.nan, 1], [2, 3], [1, 5]], np.float32)
    dy, ones, zeros = np.ones_like(x), np.ones(2, np.float32), np.zeros(2, np.float32)
    for given in ({"y": tapwise.relu(x)}, {"beta": zeros}):
        dx, dgamma, dbeta = tapwise.batch_norm_grad(dy, x, ones, zeros, ones, activation="relu", **given)
        assert np.isnan(dx[:, 0]).all()
        assert np.isnan(dgamma[0])
        np.testing.assert_array_equal(dbeta, [3, 3])
        assert np.isfinite(dx[:, 1]).all()


@every_norm
@both_layouts
@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "relu6", "linear"])
def test_activation_grad_bias(shape, data_format, kind, engine, rng):
    """dz to the bit of activation_grad, in place too, and its sum."""
    x = laid_out(rng.standard_normal(shape, np.float32) * 3, data_format)
    dy = laid_out(rng.standard_normal(shape, np.float32), data_format)
    y = None if kind == "gelu" else tapwise.activation(x, kind)
    want = tapwise.activation_grad(dy, y, kind, x=x)
    options = {"x": x, "data_format": data_format}
    out, sums = Fenced(x.shape, offset=1), Fenced((shape[-1],), offset=2)
    dz, db = tapwise.activation_grad_bias(dy, y, kind, out=out.array, out_bias=sums.array, **options)
    np.testing.assert_array_equal(dz, want)
    exact = columns(want, data_format)
    assert_within(db, exact.sum(0), np.abs(exact).sum(0), summed(engine, len(exact)))
    np.testing.assert_array_equal(tapwise.conv_grad_bias(want, data_format=data_format), db)
    sums.assert_intact()
    if kind != "linear":
        out.assert_intact()
        memory = dy.copy()
        np.testing.assert_array_equal(tapwise.activation_grad_bias(memory, y, kind, out=memory, **options)[0], want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "elu"}, "activation must be None, linear or relu, got 'elu'"),
        ({"out_residual": np.empty((3, 4), np.float32)}, "out_residual must be None without activation and y"),
        ({"out_gamma": np.empty(3, np.float32)}, r"out_gamma must have shape \(4,\), got \(3,\)"),
        ({"y": np.zeros((3, 3), np.float32)}, r"y must have shape \(3, 4\), got \(3, 3\)"),
    ],
)
def test_batch_norm_grad_rejects(change, message):
    x, c = np.ones((3, 4), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match=message):
        tapwise.batch_norm_grad(x, x.copy(), c, c, c, **change)


def test_batch_norm_rejects():
    x, c = np.ones((3, 4), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"residual must have shape \(3, 4\), got \(4,\)"):
        tapwise.batch_norm(x, c, c, c, c, residual=c)
    with pytest.raises(ValueError, match="out_mean and out_variance must be None unless training, got arrays"):
        tapwise.batch_norm(x, c, c, c, c, out_mean=c.copy())
    memory = np.ones(8, np.float32)
    with pytest.raises(ValueError, match="out_variance must not overlap out_mean, got memory of both"):
        tapwise.batch_norm(x, c, c, training=True, out_mean=memory[:4], out_variance=memory[2:6])
    mean, variance = np.empty(4, np.float32), np.empty(4, np.float32)
    made = tapwise.batch_norm(x, c, c, training=True, out_mean=mean, out_variance=variance)
    assert made[1] is mean
    assert made[2] is variance
