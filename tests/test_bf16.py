"""Operations on bfloat16: what float32 makes of the same numbers, rounded once; gradients within their bounds."""

import sys

import numpy as np
import pytest

import tapwise
from cases import CASES, Case, named
from close import bound
from engines import LOW_PRECISION, Engine
from exact import exact
from test_low_precision import BF16, EPS_BF16, bits, specified

F32 = np.float32
SOME = named("prime channels", "3-D", "1-D causal, dilated", "depthwise, 19 channels")
SHAPES = [(3, 1), (2, 7, 5), (70, 9, 8, 33)]
formats = pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])


@pytest.fixture(params=[*LOW_PRECISION, Engine("reference")], ids=str)
def engine(request):
    with request.param.use():
        yield request.param


def halves(rng, *shape):
    return rng.standard_normal(shape, F32).astype(BF16)


def assert_rounded(operation, *arguments, **options):
    """The bits of the operation on float32, with what it gives beside dx or y as it is."""
    got = operation(*arguments, **options)
    wide = [a.astype(F32) if isinstance(a, np.ndarray) and a.dtype == BF16 else a for a in arguments]
    options = {name: a.astype(F32) if getattr(a, "dtype", None) == BF16 else a for name, a in options.items()}
    want = operation(*wide, **options)
    for one, two in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, want)), strict=True):
        if one.dtype == BF16:
            np.testing.assert_array_equal(bits(one), bits(two.astype(BF16)))
        else:
            np.testing.assert_array_equal(one, two)
    return got


def test_cast_of_any_bits(engine, rng):
    """All numbers of bfloat16 and back; half to even; infinity, NaN and subnormal numbers as ml_dtypes has them."""
    every = np.arange(2**16, dtype=np.uint16).view(BF16)
    wide = tapwise.cast(every, F32)
    np.testing.assert_array_equal(wide.view(np.uint32), every.view(np.uint16).astype(np.uint32) << 16)
    np.testing.assert_array_equal(bits(tapwise.cast(wide, "bfloat16")), bits(every))
    x = rng.integers(0, 2**32, 100_003, np.uint32)
    x[::3] = x[::3] & 0xFFFF0000 | 0x8000  # ties
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(bits(tapwise.cast(x.view(F32), BF16)), bits(x.view(F32).astype(BF16)))
    out = np.empty((2, 3), F32)
    assert tapwise.cast(np.ones((2, 3), BF16), F32, out=out) is out
    assert tapwise.cast(out, F32) is out
    assert (out == 1).all()


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "relu6"])
def test_activations(kind, engine, rng):
    x = halves(rng, *SHAPES[2][1:])
    y = assert_rounded(tapwise.activation, x, kind)
    dy = halves(rng, *x.shape)
    assert_rounded(tapwise.activation_grad, dy, y, kind, x=x)
    if engine.backend == "native":
        assert_rounded(tapwise.activation_grad_bias, dy, y, kind, x=x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_element_by_element(shape, engine, rng):
    a, b = halves(rng, *shape), halves(rng, *shape)
    y = assert_rounded(tapwise.add, a, b, activation="relu")
    assert_rounded(tapwise.dropout, a, 0.3, 11)
    assert_rounded(tapwise.softmax_grad, a, assert_rounded(tapwise.softmax, b))
    np.testing.assert_array_equal(bits(tapwise.add(a, b, activation="relu", out=a)), bits(y))


@formats
@pytest.mark.parametrize("shape", [(2, 7, 5), (40, 9, 8, 33)], ids=str)
def test_normalization(shape, data_format, engine, rng):
    c = shape[-1 if data_format == "channels_last" else 1]
    x, residual, dy = halves(rng, *shape), halves(rng, *shape), halves(rng, *shape)
    gamma, beta = rng.standard_normal((2, c), F32)
    how = {"data_format": data_format, "activation": "relu"}
    y, mean, variance = assert_rounded(tapwise.batch_norm, x, gamma, beta, training=True, residual=residual, **how)
    assert mean.dtype == variance.dtype == F32
    assert_rounded(tapwise.batch_norm, x, gamma, beta, mean, variance, data_format=data_format)
    assert_rounded(tapwise.batch_norm_grad, dy, x, gamma, mean, variance, beta=beta, **how)
    assert_rounded(tapwise.batch_norm_grad, dy, x, gamma, mean, variance, y=y, **how)
    assert_rounded(tapwise.conv_grad_bias, dy, data_format=data_format)
    dz = np.empty_like(dy)
    tapwise.batch_norm_grad(dy, x, gamma, mean, variance, y=y, out_residual=dz, **how)
    np.testing.assert_array_equal(dz, np.where(y <= 0, 0, dy).astype(BF16))


@formats
@pytest.mark.parametrize(
    "pool", [{"size": 2}, {"size": 3, "strides": 1, "padding": 1}], ids=["disjoint", "overlapping"]
)
def test_pooling(pool, data_format, engine, rng):
    x = halves(rng, 5, 8, 9, 20)
    y, indices = assert_rounded(tapwise.max_pool, x, **pool, data_format=data_format, return_indices=True)
    assert_rounded(tapwise.max_pool_grad, y, indices, x.shape, data_format=data_format)
    y = assert_rounded(tapwise.average_pool, x, **pool, data_format=data_format)
    assert_rounded(tapwise.average_pool_grad, y, x.shape, **pool, data_format=data_format)


def arrays(case, rng):
    x, w, _, dy = case.arrays(rng)
    return x.astype(BF16), w, dy.astype(BF16)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_within_the_bound(case, rng):
    """The weights' is float32."""
    x, w, dy = arrays(case, rng)
    w, near = w.astype(BF16), w.astype(BF16).astype(F32)
    with LOW_PRECISION[0].use() if LOW_PRECISION else Engine("reference").use():
        dx = tapwise.conv_grad_input(dy, w, case.x_shape, algorithm="direct", **case.geometry)
        dw = tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm="direct", **case.geometry)
    want, mass = exact(tapwise.conv_grad_input, dy.astype(F32), near, case.x_shape, **case.geometry)
    allowed = bound(mass, case.grad_input_terms)
    assert dx.dtype == BF16
    assert (np.abs(dx.astype(np.float64) - want) <= allowed + EPS_BF16 * (np.abs(want) + allowed)).all()
    want, mass = exact(tapwise.conv_grad_weight, x.astype(F32), dy.astype(F32), case.w_shape, **case.geometry)
    assert dw.dtype == F32
    assert (np.abs(dw - want) <= bound(mass, case.grad_weight_terms + 1)).all()


@pytest.mark.parametrize("case", SOME, ids=str)
def test_gradients_on_every_level(case, engine, rng):
    """At stride 1 the input gradient is a forward pass, whose bits are specified."""
    x, w, dy = arrays(case, rng)
    dx = tapwise.conv_grad_input(dy, w.astype(BF16), case.x_shape, **case.geometry)
    if case.groups == 1 and case.strides == 1:
        want = specified(tapwise.conv_grad_input, dy, w.astype(BF16), case.x_shape, **case.geometry)
        np.testing.assert_array_equal(bits(dx), bits(want))
    want, mass = exact(tapwise.conv_grad_weight, x.astype(F32), dy.astype(F32), case.w_shape, **case.geometry)
    dw = tapwise.conv_grad_weight(x, dy, case.w_shape, **case.geometry, accuracy="strict")
    assert (np.abs(dw - want) <= bound(mass, case.grad_weight_terms + 1)).all()


WIDE = Case("as wide as Winograd's pays", (2, 14, 13, 64), (3, 3), 70, padding=1)


@pytest.mark.parametrize("case", [*SOME, WIDE], ids=str)
def test_weights_of_float32(case, engine, rng):
    """However they are multiplied, errors are those of rounding the result: at most 2^-8 of it, as rms less."""
    x, w, dy = arrays(case, rng)
    w, b = w.astype(BF16).astype(F32), rng.standard_normal(case.co, F32)
    wide = x.astype(F32), dy.astype(F32)
    results = [
        (tapwise.conv(x, w, b, **case.geometry), exact(tapwise.conv, wide[0], w, b, **case.geometry)[0]),
        (
            tapwise.conv_grad_input(dy, w, case.x_shape, **case.geometry),
            exact(tapwise.conv_grad_input, wide[1], w, case.x_shape, **case.geometry)[0],
        ),
    ]
    for got, want in results:
        assert np.linalg.norm(got.astype(np.float64) - want) <= EPS_BF16 * np.linalg.norm(want)
    y = tapwise.conv(x, w, b, activation="relu", out=np.empty(case.y_shape, F32), **case.geometry)
    want = np.maximum(results[0][1], 0)
    assert np.linalg.norm(y - want) <= 2.0**-15 * np.linalg.norm(want)


def test_dense(engine, rng):
    x, w, b, dy = halves(rng, 5, 19), rng.standard_normal((19, 7), F32), rng.standard_normal(7, F32), halves(rng, 5, 7)
    assert tapwise.dense(x, w, out=np.empty((5, 7), F32)).dtype == F32
    w = w.astype(BF16)
    one = tapwise.conv(x[:, None], w[None], b, activation="relu")[:, 0]
    np.testing.assert_array_equal(bits(tapwise.dense(x, w, b, activation="relu")), bits(one))
    np.testing.assert_array_equal(bits(tapwise.dense_grad_input(dy, w)), bits(tapwise.dense(dy, w.T)))
    dw = tapwise.dense_grad_weight(x, dy)
    assert dw.dtype == F32
    np.testing.assert_allclose(dw, x.astype(np.float64).T @ dy.astype(np.float64), atol=5 * 5 * 2**-23 * 16)
    assert_rounded(tapwise.dense_grad_bias, dy)


@pytest.mark.parametrize("strides", [1, 2])
def test_threads_do_not_change_bits(strides, engine, rng):
    case = Case("shares of the images", (12, 30, 31, 64), (3, 3), 64, strides=strides, padding=1)
    x, w, dy = arrays(case, rng)
    results = []
    for count in (1, 2):
        with tapwise.threads.set(count):
            dx = tapwise.conv_grad_input(dy, w, case.x_shape, **case.geometry)
            y = tapwise.conv(x, w, **case.geometry)
            results.append((bits(dx), bits(y), tapwise.conv_grad_weight(x, dy, case.w_shape, **case.geometry)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_trace_names_what_float32_computes(rng):
    if not LOW_PRECISION:
        pytest.skip("needs the extension: pip install .")
    case = Case("stride 2", (2, 9, 9, 16), (3, 3), 16, strides=2)
    x, w, dy = arrays(case, rng)
    wide = np.zeros(WIDE.x_shape, BF16), np.zeros(WIDE.w_shape, F32)
    with LOW_PRECISION[0].use(), tapwise.trace() as trace:
        tapwise.conv(x, w.astype(BF16), **case.geometry)
        tapwise.conv_grad_input(dy, w, case.x_shape, **case.geometry)
        tapwise.conv_grad_weight(x, dy, case.w_shape, algorithm="im2col", **case.geometry)
        tapwise.relu(x)
        tapwise.conv(*wide, **WIDE.geometry)
    assert trace.records.pop().algorithm.startswith("winograd-")
    named = [(record.name, record.algorithm) for record in trace.records]
    assert named == [
        ("conv_bf16", "direct"),
        ("conv_bf16_grad_input", "direct widened"),
        ("conv_bf16_grad_weight", "im2col widened"),
        ("activation", "widened"),
    ]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: tapwise.cast(x, "float64"), TypeError, "dtype must be float32 or bfloat16, got float64"),
        (lambda x: tapwise.cast(x.astype(np.float64), BF16), TypeError, "x must be float32, got float64"),
        (lambda x: tapwise.add(x, x.astype(F32)), TypeError, "b must be bfloat16, got float32"),
        (lambda x: tapwise.relu(x, out=np.empty(x.shape, F32)), TypeError, "out must be bfloat16, got float32"),
        (lambda x: tapwise.batch_norm(x, np.ones(4, BF16), None, training=True), TypeError, "gamma must be float32"),
        (
            lambda x: tapwise.conv_grad_weight(x, x.astype(F32), (1, 1, 4, 4)),
            TypeError,
            "dy must be bfloat16, got float32",
        ),
        (
            lambda x: tapwise.conv_grad_weight(x, x, (1, 1, 4, 4), out=np.empty((1, 1, 4, 4), BF16)),
            TypeError,
            "out must be float32, got bfloat16",
        ),
        (
            lambda x: tapwise.conv_grad_input(x, np.ones((1, 1, 4, 4), F32), x.shape, residual=x),
            ValueError,
            "residual must be None for bfloat16",
        ),
        (
            lambda x: tapwise.dense_grad_input(x, np.ones((4, 4))),
            TypeError,
            "w must be bfloat16 or float32, got float64",
        ),
        (
            lambda x: tapwise.softmax_cross_entropy(x[0, 0], np.zeros(3, np.int32)),
            TypeError,
            "logits must be",
        ),
    ],
)
def test_rejects(call, error, message, engine):
    with pytest.raises(error, match=message):
        call(np.zeros((2, 3, 3, 4), BF16))


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    from tapwise.ops.bf16 import bfloat16

    bfloat16.cache_clear()
    with pytest.raises(ImportError, match=r"bfloat16 needs ml_dtypes: pip install .tapwise\[bf16\]"):
        tapwise.cast(np.zeros(3, F32), "bfloat16")
    with pytest.raises(ImportError, match="pip install"):
        tapwise.layers.Dense(3, dtype="mixed_bfloat16")
