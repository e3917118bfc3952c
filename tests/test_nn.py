"""Activations, losses, dropout and optimizers on every engine, against float64.

The reference itself is held to definitions and central differences in test_reference_nn.
"""

from functools import cache

import numpy as np
import pytest

import tapwise
from close import Fenced, assert_within, fenced_copy
from exact import wide

EPS, TINY = float(np.finfo(np.float32).eps), float(np.finfo(np.float32).tiny)
LAYOUTS = ["channels_last", "channels_first"]

# Largest error of y in units in the last place; 1 is what rounding the parameter and the product costs leaky_relu.
ACTIVATIONS = {"relu": 0, "leaky_relu": 1, "elu": 1.75, "sigmoid": 2.5, "tanh": 2.5, "gelu": 5.25, "relu6": 0}
every_activation = pytest.mark.parametrize("kind", ACTIVATIONS)

# Around every number of lanes, and several chunks of work.
SIZES = [0, *range(1, 36), 1000, 100_003]


def reference(operation, *arguments, **options):
    """The same in float64; labels stay integers."""
    arguments = [wide(a)[0] if getattr(a, "dtype", None) == np.float32 else a for a in arguments]
    with tapwise.backend.use("reference"):
        return operation(*arguments, **options)


def fenced_call(operation, shape, *arguments, **options):
    """operation(*arguments, out=...) between fences; nothing else may be written or read."""
    fenced = [fenced_copy(a, 1) if getattr(a, "dtype", None) == np.float32 else a for a in arguments]
    out = Fenced(shape, offset=3)
    result = operation(*fenced, out=out.array, **options)
    out.assert_intact(operation.__name__)
    return result


@cache
def sweep():
    """Some 430,000 floats: every 9973rd bit pattern from -infinity to infinity."""
    positive = np.arange(0, 0x7F800001, 9973, dtype=np.uint32)
    return np.concatenate([positive, positive | np.uint32(0x80000000)]).view(np.float32)


@cache
def swept(kind):
    return reference(tapwise.activation, sweep(), kind)


def allowed_ulp(kind, engine, x):
    """The other backends take libm's functions; erfc at a rounded argument is off by its condition number, x^2."""
    if engine.backend == "native":
        return np.full(x.shape, ACTIVATIONS[kind])
    return ACTIVATIONS[kind] + 1 + (2 * np.square(x) if kind == "gelu" else np.zeros(x.shape))


@every_activation
def test_activation_in_ulp(kind, engine):
    """Over all of float32. Below 2^-126 results may be flushed to 0, and what gelu multiplies x by."""
    want, y = swept(kind), tapwise.activation(sweep(), kind)
    finite = np.abs(want) <= float(np.finfo(np.float32).max)
    np.testing.assert_array_equal(y[~finite], want[~finite].astype(np.float32))
    x, y, want = sweep()[finite].astype(np.float64), y[finite], want[finite]
    ulp = np.spacing(np.maximum(np.abs(want), TINY).astype(np.float32)).astype(np.float64)
    flushed = TINY * np.minimum(np.maximum(np.abs(x), 1), 15)
    error = np.maximum(np.abs(y - want) - flushed, 0) / ulp
    outside = error > allowed_ulp(kind, engine, x)
    assert not outside.any(), f"{error[outside].max()} ulp at {x[outside][error[outside].argmax()]}"


@every_activation
def test_activation_of_special_values(kind, engine):
    """In the vectors and behind them."""
    special = np.array([np.nan, -np.inf, np.inf, 0, -np.float32(3e38), np.float32(3e38)], np.float32)
    for shift in range(18):
        x = np.concatenate([np.ones(shift, np.float32), special])
        np.testing.assert_array_equal(
            np.isnan(tapwise.activation(x, kind)), np.isnan(reference(tapwise.activation, x, kind))
        )
        y = tapwise.activation(x, kind)[shift:]
        np.testing.assert_allclose(y, reference(tapwise.activation, special, kind).astype(np.float32), rtol=5 * EPS)


@every_activation
def test_activation_of_every_size(kind, engine, rng):
    """The tail rounds as the body does, and x may be the output."""
    whole = rng.standard_normal(SIZES[-1], np.float32) * 4
    want = tapwise.activation(whole, kind)
    for size in SIZES:
        x = whole[:size].copy()
        y = fenced_call(tapwise.activation, x.shape, x, kind)
        np.testing.assert_array_equal(y, want[:size])
        np.testing.assert_array_equal(tapwise.activation(x, kind, out=x), want[:size])


def gradient_mass(kind, dy, y, x):
    """The sizes of the terms of dx."""
    dy, y, x = np.abs(dy), np.abs(y), np.abs(x)
    if kind == "elu":
        return dy * (y + 1)
    if kind == "sigmoid":
        return dy * y * (1 + y)
    if kind == "tanh":
        return dy * (1 + y * y)
    if kind == "gelu":
        return dy * (1 + x * np.exp(-x * x / 2))
    return dy


@every_activation
def test_activation_grad(kind, engine, rng):
    x = (rng.standard_normal(100_003, np.float32) * 4).astype(np.float32)
    x[:3] = 0, 20, -20
    y, dy = tapwise.activation(x, kind), rng.standard_normal(x.shape, np.float32)
    want = reference(tapwise.activation_grad, dy, y, kind, x=x.astype(np.float64))
    dx = fenced_call(tapwise.activation_grad, x.shape, dy, y, kind, x=x)
    # gelu: 4.5 ulp of the distribution, and exp(-x^2 / 2) to 2.
    assert_within(dx, want, gradient_mass(kind, *wide(dy, y, x)), 8 if kind == "gelu" else 3)
    for size in SIZES:
        part = dy[:size].copy()
        tapwise.activation_grad(part, y[:size], kind, x=x[:size], out=part)
        np.testing.assert_array_equal(part, dx[:size])


@every_activation
def test_add(kind, engine, rng):
    """activation(a + b) rounds once before it, in every size, and may be written over a or b."""
    a, b = rng.standard_normal((2, SIZES[-1]), np.float32) * 4
    want = tapwise.activation(a + b, kind)
    np.testing.assert_array_equal(tapwise.add(a, b), a + b)
    for size in SIZES:
        x, y = a[:size].copy(), b[:size].copy()
        np.testing.assert_array_equal(fenced_call(tapwise.add, x.shape, x, y, activation=kind), want[:size])
        np.testing.assert_array_equal(tapwise.add(x, y.copy(), activation=kind, out=x), want[:size])
        np.testing.assert_array_equal(tapwise.add(a[:size].copy(), y, activation=kind, out=y), want[:size])


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ([(2, 3, 5), (2, 3, 1), (2, 3, 16)], -1),
        ([(3, 700, 33), (3, 2, 33)], 1),
        ([(1, 4), (5, 4)], 0),
        ([(2, 0, 3), (2, 0, 4)], 2),
        ([(70, 60, 64), (70, 60, 32)], 2),
        ([(7,)], 0),
    ],
)
def test_concatenate(shapes, axis, engine, rng):
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    want = np.concatenate(arrays, axis)
    np.testing.assert_array_equal(tapwise.concatenate(arrays, axis), want)
    fenced = fenced_call(lambda *given, out: tapwise.concatenate(given, axis, out=out), want.shape, *arrays)
    np.testing.assert_array_equal(fenced, want)


@pytest.mark.parametrize(
    ("shapes", "axis", "message"),
    [
        ([(2, 3), (2, 4)], 0, r"arrays\[1\] must have shape \(2, 3\), got \(2, 4\)"),
        ([(2, 3), (2, 3, 1)], 1, r"arrays\[1\] must have shape \(2, 3\), got \(2, 3, 1\)"),
        ([(2, 3)], 2, "arrays must be one at least, and have the axis, got 1 and axis 2"),
        ([], 0, "arrays must be one at least"),
    ],
)
def test_concatenate_refuses(shapes, axis, message):
    with pytest.raises(ValueError, match=message):
        tapwise.concatenate([np.zeros(shape, np.float32) for shape in shapes], axis)


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu"])
def test_activation_grad_at_zero_and_nan(kind, engine):
    """y <= 0 has the left slope; a NaN of y or dy isn't lost where it counts."""
    y, dy = np.array([0, np.nan, 2, -0.5], np.float32), np.array([1, 1, np.nan, 1], np.float32)
    slope = {"relu": [0, 0], "leaky_relu": [np.float32(0.2), np.float32(0.2)], "elu": [1, 0.5]}[kind]
    want = np.array([slope[0], 1, np.nan, slope[1]], np.float32)
    np.testing.assert_array_equal(tapwise.activation_grad(dy, y, kind), want)


# rows, classes
TABLES = [(0, 3), (5, 1), (4, 3), (7, 10), (3, 15), (3, 16), (3, 17), (5, 33), (2, 1000), (3001, 10), (130, 257)]
every_table = pytest.mark.parametrize("shape", TABLES, ids=str)


def softmax_terms(x):
    """What the difference to the row's largest, exp and the sum cost an element of the softmax, in eps."""
    return x.shape[1] + 8 + np.ptp(x.astype(np.float64), axis=1, keepdims=True)


@every_table
def test_softmax(shape, engine, rng):
    x = rng.standard_normal(shape, np.float32) * 8
    want = reference(tapwise.softmax, x)
    y = fenced_call(tapwise.softmax, shape, x)
    assert_within(y, want, want, softmax_terms(x))
    dy = rng.standard_normal(shape, np.float32)
    want = reference(tapwise.softmax_grad, dy, y)
    mass = y * (np.abs(dy) + np.sum(np.abs(dy.astype(np.float64) * y), axis=1, keepdims=True))
    assert_within(fenced_call(tapwise.softmax_grad, shape, dy, y), want, mass, shape[1] + 3)


@every_table
@pytest.mark.parametrize("labels", ["numbers", "distribution"])
def test_softmax_cross_entropy(shape, labels, engine, rng):
    logits = rng.standard_normal(shape, np.float32) * 8
    weights = rng.random(shape, np.float32) * (rng.random(shape) < 0.5)
    if labels == "numbers":
        given = rng.integers(0, shape[1], shape[0]).astype(np.int32)
        weights = np.eye(shape[1])[given]
    else:
        given = weights
    terms, size = softmax_terms(logits), np.abs(logits - logits.max(1, keepdims=True, initial=-np.inf))
    want = reference(tapwise.softmax_cross_entropy, logits, given)
    loss = fenced_call(tapwise.softmax_cross_entropy, shape[:1], logits, given)
    # An error of terms * eps in the sum is as much in its logarithm.
    assert_within(loss, want, np.sum(weights * (1 + size) * terms, axis=1), 2)
    scale = rng.standard_normal(shape[0], np.float32)
    want = reference(tapwise.softmax_cross_entropy_grad, logits, given, scale.astype(np.float64))
    mass = np.abs(scale)[:, None] * (reference(tapwise.softmax, logits) * weights.sum(1, keepdims=True) + weights)
    dlogits = fenced_call(tapwise.softmax_cross_entropy_grad, shape, logits, given, scale)
    assert_within(dlogits, want, mass, terms + shape[1])


def test_softmax_of_large_and_special_values(engine):
    """No overflow; -infinity has no share; NaN or +infinity makes its row NaN, no other; a label of 0 adds nothing."""
    x = np.tile(np.array([[3e38, -3e38, -np.inf]], np.float32), (4, 12))
    x[1, 20], x[2, 35] = np.nan, np.inf
    y, loss = tapwise.softmax(x), tapwise.softmax_cross_entropy(x, np.zeros(4, np.int32))
    want = np.tile(np.array([1 / 12, 0, 0], np.float32), 12)
    np.testing.assert_allclose(y[[0, 3]], [want, want], rtol=4 * EPS)
    np.testing.assert_allclose(loss[[0, 3]], np.log(12), rtol=8 * EPS)
    assert np.isnan(y[1:3]).all()
    assert np.isnan(loss[1:3]).all()
    first = np.zeros_like(x)
    first[:, 0] = 1
    np.testing.assert_allclose(tapwise.softmax_cross_entropy(x, first)[[0, 3]], np.log(12), rtol=8 * EPS)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32 + 7, 2**64 - 1])
def test_dropout_has_one_mask(seed, engine, rng):
    """The same bits as the reference in float32, in every size and in place."""
    whole = rng.standard_normal(SIZES[-1], np.float32)
    for rate in (0.0, 0.3, 0.5, 1 - 2**-30):
        with tapwise.backend.use("reference"):
            want = tapwise.dropout(whole, rate, seed)
        for size in SIZES:
            x = whole[:size].copy()
            np.testing.assert_array_equal(fenced_call(tapwise.dropout, x.shape, x, rate, seed), want[:size])
            np.testing.assert_array_equal(tapwise.dropout(x, rate, seed, out=x), want[:size])


def test_dropout_drops_nan(engine):
    """What is dropped is 0 whatever it was; what is kept stays."""
    x = np.full(1000, np.nan, np.float32)
    y, ones = tapwise.dropout(x, 0.5, 3), tapwise.dropout(np.ones_like(x), 0.5, 3)
    np.testing.assert_array_equal(y, np.where(ones == 0, 0, np.nan))


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("size", SIZES)
def test_sgd(size, momentum, nesterov, engine, rng):
    w, dw, velocity = rng.standard_normal((3, size), np.float32)
    options = {"learning_rate": 0.1, "momentum": momentum, "nesterov": nesterov}
    want = list(wide(w, dw, velocity))
    mass = np.abs(w) + 0.1 * 2 * np.abs(dw) + momentum * np.abs(velocity)
    with tapwise.backend.use("reference"):
        tapwise.sgd_update(want[0], want[1], want[2] if momentum else None, **options)
    memory = [Fenced(w.shape, offset=1), Fenced(w.shape, offset=2)]
    memory[0].array[:], memory[1].array[:] = w, velocity
    tapwise.sgd_update(memory[0].array, fenced_copy(dw, 3), memory[1].array if momentum else None, **options)
    assert_within(memory[0].array, want[0], mass, 5)
    assert_within(memory[1].array, want[2], np.abs(velocity) + 0.1 * np.abs(dw), 3)
    for fenced in memory:
        fenced.assert_intact()


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("size", SIZES)
def test_adam(size, step, engine, rng):
    w, dw, m = rng.standard_normal((3, size), np.float32)
    v = rng.random(size, np.float32)
    options = {"learning_rate": 0.1, "step": step, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}
    want = wide(w, dw, m, v)
    with tapwise.backend.use("reference"):
        tapwise.adam_update(*want, **options)
    memory = [Fenced(w.shape, offset) for offset in range(3)]
    for fenced, a in zip(memory, (w, m, v), strict=True):
        fenced.array[:] = a
    tapwise.adam_update(memory[0].array, fenced_copy(dw, 3), memory[1].array, memory[2].array, **options)
    new_w, new_m, new_v = (fenced.array for fenced in memory)
    m_mass = np.abs(m) + np.abs(dw)
    assert_within(new_m, want[2], m_mass, 3)
    assert_within(new_v, want[3], v + dw * dw, 4)
    size_of_step = 0.1 * np.sqrt(1 - 0.99**step) / (1 - 0.8**step) / (np.sqrt(want[3]) + 1e-3)
    assert_within(new_w, want[0], np.abs(w) + size_of_step * m_mass, 8)
    for fenced in memory:
        fenced.assert_intact()


def results(rng):
    """Large enough for several chunks of every operation."""
    x, dy = rng.standard_normal((2, 60, 30, 35), np.float32)
    logits, labels = x.reshape(-1, 35), rng.integers(0, 35, 1800).astype(np.int32)
    for kind in ACTIVATIONS:
        yield tapwise.activation(x, kind)
        yield tapwise.activation_grad(dy, x, kind, x=x)
    yield tapwise.softmax(x)
    yield tapwise.softmax_grad(dy, x)
    yield tapwise.softmax_cross_entropy(logits, labels)
    yield tapwise.softmax_cross_entropy_grad(logits, labels)
    yield tapwise.add(x, dy, activation="relu")
    for data_format in LAYOUTS:
        kind = {"data_format": data_format}
        y, mean, variance = tapwise.batch_norm(x, None, None, training=True, residual=dy, activation="relu", **kind)
        yield from (y, mean, variance)
        yield from tapwise.batch_norm_grad(dy, x, None, mean, variance, **kind)
        yield from tapwise.batch_norm_grad(dy, x, None, mean, variance, activation="relu", **kind)
        yield from tapwise.activation_grad_bias(dy, x, "relu", **kind)
    yield tapwise.dropout(x, 0.4, 5)
    w, m, v = x.copy(), dy.copy(), np.abs(dy)
    tapwise.sgd_update(w, dy, m, learning_rate=0.1, momentum=0.9)
    tapwise.adam_update(w, dy, m, v, learning_rate=0.1, step=2)
    yield from (w, m, v)


def test_bits_do_not_depend_on_threads(engine):
    with tapwise.threads.set(1):
        alone = [a.tobytes() for a in results(np.random.default_rng(3))]
    with tapwise.threads.set(4):
        assert [a.tobytes() for a in results(np.random.default_rng(3))] == alone
