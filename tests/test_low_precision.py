"""Convolution of bfloat16 and int8: the specified bits on every instruction set, and errors within their bounds."""

import numpy as np
import pytest

import tapwise
from cases import CASES, Case, named
from close import bound
from engines import LOW_PRECISION, NATIVE, Engine
from exact import exact

ml_dtypes = pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)
EPS_BF16 = 2.0**-8  # half a unit of 8 significant bits, relative

every_case = pytest.mark.parametrize("case", CASES, ids=str)
SOME = named(
    "prime channels", "groups of 17 to 33 (tail in each)", "3-D", "1-D causal, dilated", "depthwise, 19 channels"
)
LARGE = Case("several tasks", (2, 23, 25, 36), (3, 3), 70, padding=1)


@pytest.fixture(params=[*LOW_PRECISION, Engine("reference")], ids=str)
def engine(request):
    """Every native level, avx512-bf16 too, and the specification itself."""
    with request.param.use():
        yield request.param


@pytest.fixture
def numbers(rng):
    """numbers(case): x and w in bfloat16, b in float32."""

    def draw(case):
        x, w, b, _ = case.arrays(rng)
        return x.astype(BF16), w.astype(BF16), b

    return draw


def specified(operation, *arguments, **options):
    with tapwise.backend.use("reference"):
        return operation(*arguments, **options)


def fenced(shape, dtype):
    """An output between 64 bytes that nobody may write, off any alignment but its elements'."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(size + 132, 0xA5, np.uint8)
    return memory, memory[68 : 68 + size].view(dtype).reshape(shape)


def assert_fences(memory):
    assert (memory[:68] == 0xA5).all(), "written before the output"
    assert (memory[-64:] == 0xA5).all(), "written behind the output"


def bits(y):
    """The bits of y; NaN counts as one value, and so does zero."""
    y = np.where(np.isnan(y.astype(np.float32)), np.nan, y).astype(y.dtype) + y.dtype.type(0)
    return y.view(np.uint16 if y.dtype == BF16 else np.uint32)


@every_case
@pytest.mark.parametrize("dtype", [BF16, np.float32], ids=["to bfloat16", "to float32"])
def test_bf16_is_what_is_specified(case, dtype, engine, numbers):
    x, w, b = numbers(case)
    want = specified(tapwise.conv, x, w, b, out=np.empty(case.y_shape, dtype), activation="relu", **case.geometry)
    memory, out = fenced(case.y_shape, dtype)
    assert tapwise.conv(x, w, b, out=out, activation="relu", **case.geometry) is out
    assert_fences(memory)
    np.testing.assert_array_equal(bits(out), bits(want))


@every_case
def test_bf16_within_the_bound(case, numbers):
    """Products are exact and sums those of float32; the result's rounding comes once, at the end."""
    x, w, b = numbers(case)
    wide = [a.astype(np.float32) for a in (x, w, b)]
    want, mass = exact(tapwise.conv, *wide, **case.geometry)
    allowed = bound(mass, case.terms + 1)
    with Engine("reference").use():
        narrow = tapwise.conv(x, w, b, **case.geometry)
        y = tapwise.conv(x, w, b, out=np.empty(case.y_shape, np.float32), **case.geometry)
    assert (np.abs(y - want) <= allowed).all()
    assert narrow.dtype == BF16
    assert (np.abs(narrow.astype(np.float64) - want) <= allowed + EPS_BF16 * (np.abs(want) + allowed)).all()


@pytest.mark.parametrize("ci", [1, 2, 3, 8])
def test_bf16_of_any_bits(ci, engine, rng):
    """Overflow, subnormal numbers, infinities and NaN: each product is rounded as one multiply-add rounds it."""
    x = rng.integers(0, 2**16, (1, 64, ci), np.uint16).view(BF16)
    w = rng.integers(0, 2**16, (1, ci, 64), np.uint16).view(BF16)
    near = 2.0 ** rng.integers(-70, -56, (1, 64, ci)) * (1 + rng.integers(0, 128, (1, 64, ci)) / 128)
    small = near.astype(BF16), np.moveaxis(near, -1, 1).astype(BF16)
    for x_, w_ in ((x, w), small):
        out = np.empty((1, 64, 64), np.float32)
        want = specified(tapwise.conv, x_, w_, out=out.copy())
        np.testing.assert_array_equal(bits(tapwise.conv(x_, w_, out=out)), bits(want))
        np.testing.assert_array_equal(bits(tapwise.conv(x_, w_)), bits(specified(tapwise.conv, x_, w_)))


@pytest.mark.parametrize("case", SOME, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bf16_padding_contributes_nothing(case, value, engine, numbers):
    """A weight that isn't finite reaches the outputs whose tap lies inside x, and no others."""
    x, w, b = numbers(case)
    w.ravel()[::5] = value
    want = specified(tapwise.conv, x, w, b, **case.geometry)
    np.testing.assert_array_equal(bits(tapwise.conv(x, w, b, **case.geometry)), bits(want))


@pytest.mark.parametrize("kind", [None, "linear", "relu", "leaky_relu"])
def test_bf16_activations(kind, engine, numbers):
    x, w, b = numbers(SOME[0])
    x[0, 1, 2] = np.nan
    options = {"activation": kind, "alpha": 0.3 if kind == "leaky_relu" else None, **SOME[0].geometry}
    want = specified(tapwise.conv, x, w, b, **options)
    np.testing.assert_array_equal(bits(tapwise.conv(x, w, b, **options)), bits(want))
    assert np.isnan(want).any()


def bytes_of(case, rng, signed):
    x = rng.integers(0, 256, case.x_shape, np.uint8)
    return (
        x.view(np.int8) if signed else x,
        rng.integers(-128, 128, case.w_shape, np.int8),
        rng.integers(-5000, 5000, case.co, np.int32),
    )


def scales_of(case, rng):
    """Outputs spread over a byte."""
    step = 0.3 / np.sqrt(case.terms) / 70
    return {
        "x_scale": 0.02,
        "x_zero_point": 7,
        "w_scale": (step * rng.uniform(0.5, 2, case.co)).astype(np.float32),
        "y_scale": 0.013,
        "y_zero_point": 20,
        **case.geometry,
    }


@every_case
@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
def test_int8_is_what_is_specified(case, signed, engine, rng):
    x, w, b = bytes_of(case, rng, signed)
    options = scales_of(case, rng)
    for out_type, activation in ((np.uint8, None), (np.int8, "relu")):
        memory, out = fenced(case.y_shape, out_type)
        want = specified(tapwise.conv_int8, x, w, b, out=out.copy(), activation=activation, **options)
        assert tapwise.conv_int8(x, w, b, out=out, activation=activation, **options) is out
        assert_fences(memory)
        np.testing.assert_array_equal(out, want)


def test_int8_values(rng):
    """The result stands for the convolution of the values that the bytes stand for, off by half a step at most."""
    case = SOME[0]
    x, w, b = bytes_of(case, rng, False)
    options = scales_of(case, rng)
    y = tapwise.conv_int8(x, w, b, **options)
    values = (x.astype(np.float64) - 7) * 0.02, w * options["w_scale"].astype(np.float64)
    want, _ = exact(tapwise.conv, *values, b * 0.02 * options["w_scale"], dtype=np.float64, **case.geometry)
    want = np.clip(want, (0 - 20) * 0.013, (255 - 20) * 0.013)
    assert np.abs((y.astype(np.float64) - 20) * 0.013 - want).max() <= 0.013 * 0.501
    assert len(np.unique(y)) > 100


@pytest.mark.parametrize(("product", "want"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (1000, 127), (-1000, -128)])
def test_int8_rounds_half_to_even_and_saturates(product, want, engine):
    scales = {"x_scale": 0.5, "w_scale": 1, "y_scale": 1, "x_zero_point": 0, "y_zero_point": 0}
    x, w = np.ones((1, 3, 40), np.int8), np.zeros((1, 40, 40), np.int8)
    y = tapwise.conv_int8(x, w, np.full(40, product, np.int32), **scales)
    np.testing.assert_array_equal(y, want)


def test_int8_extremes_do_not_saturate_inside(engine):
    """255 * 127 + 255 * 127 exceeds 16 bits."""
    x, w = np.full((1, 5, 64), 255, np.uint8), np.full((1, 64, 33), 127, np.int8)
    w[:, :, ::2] = -128
    scales = {"x_scale": 1, "x_zero_point": 0, "w_scale": 1, "y_scale": 255 * 64, "y_zero_point": 0}
    y = tapwise.conv_int8(x, w, out=np.empty((1, 5, 33), np.int8), **scales)
    np.testing.assert_array_equal(y, np.where(np.arange(33) % 2, 127, -128) * np.ones((1, 5, 1)))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_threads_do_not_change_bits(data_format, engine, rng, numbers):
    case = Case("several tasks", LARGE.x, LARGE.k, LARGE.co, padding=1, data_format=data_format)
    x, w, b = numbers(case)
    x8, w8, b8 = bytes_of(case, rng, False)
    options = scales_of(case, rng)
    results = []
    for count in (1, 2):
        with tapwise.threads.set(count):
            results.append((bits(tapwise.conv(x, w, b, **case.geometry)), tapwise.conv_int8(x8, w8, b8, **options)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_packed(case, engine, rng, numbers):
    """One pack serves any batch; a strided view of w packs as its copy does."""
    x, w, b = numbers(case)
    view = np.repeat(w, 2, axis=-1)[..., ::2]
    packed = tapwise.pack(view, x_shape=x.shape, **case.geometry)
    assert packed.nbytes >= w.nbytes
    for batch in (x, np.concatenate([x, x])):
        want = tapwise.conv(batch, w, b, **case.geometry)
        np.testing.assert_array_equal(bits(tapwise.conv(batch, packed, b, **case.geometry)), bits(want))
    x8, w8, b8 = bytes_of(case, rng, False)
    packed, options = tapwise.pack(w8, x_shape=x.shape, **case.geometry), scales_of(case, rng)
    want = tapwise.conv_int8(x8, w8, b8, **options)
    np.testing.assert_array_equal(tapwise.conv_int8(x8, packed, b8, **options), want)


def test_packed_for_something_else(engine, numbers):
    x, w, _ = numbers(SOME[0])
    with pytest.raises(
        ValueError, match="must be packed for direction forward and algorithm auto or direct, got 'grad_input'"
    ):
        tapwise.pack(w, x_shape=x.shape, direction="grad_input")
    packed = tapwise.pack(w.astype(np.float32), x_shape=x.shape, **SOME[0].geometry)
    with pytest.raises(TypeError, match="w must be bfloat16, got float32"):
        tapwise.conv(x, packed, **SOME[0].geometry)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w": np.zeros((3, 3, 4, 8))}, TypeError, "w must be bfloat16 or float32, got float64"),
        ({"b": np.zeros(8, BF16)}, TypeError, "b must be float32, got bfloat16"),
        ({"b": np.zeros(7, np.float32)}, ValueError, r"b must have shape \(8,\), got \(7,\)"),
        ({"algorithm": "im2col"}, ValueError, "algorithm must be auto or direct for bfloat16, got 'im2col'"),
        (
            {"activation": "gelu"},
            ValueError,
            "activation must be None, linear, relu or leaky_relu for bfloat16, got 'gelu'",
        ),
        ({"residual": np.zeros((1, 4, 4, 8), BF16)}, ValueError, "residual must be None for bfloat16, got ndarray"),
        ({"out": np.zeros((1, 4, 4, 8))}, TypeError, "out must be bfloat16 or float32, got float64"),
        ({"out": np.zeros((1, 4, 4, 9), BF16)}, ValueError, r"out must have shape \(1, 4, 4, 8\), got \(1, 4, 4, 9\)"),
        ({"x": np.zeros((1, 6, 12, 4), BF16)[:, :, ::2]}, ValueError, "x must be C-contiguous"),
    ],
)
def test_bf16_rejects(change, error, message, engine):
    arguments = {"x": np.zeros((1, 6, 6, 4), BF16), "w": np.zeros((3, 3, 4, 8), BF16), **change}
    with pytest.raises(error, match=message):
        tapwise.conv(**arguments)


def test_bf16_output_may_not_overlap(engine):
    x, w = np.zeros((1, 6, 6, 4), BF16), np.zeros((1, 1, 4, 4), BF16)
    with pytest.raises(ValueError, match="out must not overlap x"):
        tapwise.conv(x, w, out=x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((1, 6, 6, 4), np.float32)}, TypeError, "x must be uint8 or int8, got float32"),
        ({"w": np.zeros((3, 3, 4, 8), np.uint8)}, TypeError, "w must be int8, got uint8"),
        ({"b": np.zeros(8, np.float32)}, TypeError, "b must be int32, got float32"),
        ({"x_scale": 0}, ValueError, "x_scale must be > 0 and finite in float32, got 0.0"),
        ({"w_scale": np.ones(7)}, ValueError, r"w_scale must be a number or have shape \(8,\), got shape \(7,\)"),
        ({"w_scale": np.nan}, ValueError, "w_scale must be > 0 and finite in float32, got nan"),
        (
            {"y_scale": 1e-30, "x_scale": 1e30},
            ValueError,
            "x_scale . w_scale / y_scale must be finite in float32, got inf",
        ),
        ({"x_zero_point": -1}, ValueError, "x_zero_point must be >= 0, got -1"),
        ({"y_zero_point": 256}, ValueError, "y_zero_point must be <= 255, got 256"),
        ({"y_zero_point": 0.5}, TypeError, "y_zero_point must be an integer, got 0.5"),
        ({"activation": "tanh"}, ValueError, "activation must be None, linear or relu for int8, got 'tanh'"),
        ({"out": np.zeros((1, 4, 4, 8), np.int32)}, TypeError, "out must be uint8 or int8, got int32"),
    ],
)
def test_int8_rejects(change, error, message, engine):
    scales = {"x_scale": 1.0, "x_zero_point": 0, "w_scale": 1.0, "y_scale": 1.0, "y_zero_point": 0}
    arguments = {"x": np.zeros((1, 6, 6, 4), np.uint8), "w": np.zeros((3, 3, 4, 8), np.int8), **scales, **change}
    with pytest.raises(error, match=message):
        tapwise.conv_int8(**arguments)


@pytest.mark.skipif("numba" not in tapwise.backend.available(), reason="pip install numba")
def test_numba_refuses():
    scales = {"x_scale": 1.0, "x_zero_point": 0, "w_scale": 1.0, "y_scale": 1.0, "y_zero_point": 0}
    x, w = np.zeros((1, 6, 4), BF16), np.zeros((3, 4, 8), BF16)
    with tapwise.backend.use("numba"):
        with pytest.raises(TypeError, match="x must be float32 or float64 on the numba backend, got bfloat16"):
            tapwise.conv(x, w)
        for operation in (tapwise.relu, tapwise.conv_grad_bias):
            with pytest.raises(TypeError, match="must be float32 or float64, got bfloat16"):
                operation(x)
        with pytest.raises(TypeError, match="on the numba backend, got bfloat16"):
            tapwise.cast(x, "float32")
        with pytest.raises(TypeError, match="on the numba backend, got int8"):
            tapwise.conv_int8(x.view(np.uint16).astype(np.uint8), w.view(np.uint16).astype(np.int8), **scales)
        with pytest.raises(TypeError, match="on the numba backend, got bfloat16"):
            tapwise.pack(w, x_shape=x.shape)


@pytest.mark.skipif(len(LOW_PRECISION) == len(NATIVE), reason="needs a CPU with avx512-bf16: run it on Zen 4 or later")
@pytest.mark.parametrize("case", [LARGE, *SOME], ids=str)
def test_float32_has_the_bits_of_avx512(case, rng):
    x, w, b, _ = case.arrays(rng)
    results = []
    for level in ("avx512", "avx512-bf16"):
        with Engine("native", level).use():
            results.append(tapwise.conv(x, w, b, **case.geometry).view(np.uint32))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_peak(dtype, engine):
    peak = tapwise.isa.fma_peak(1 << 10, dtype)
    assert peak > 0 if engine.backend == "native" else np.isnan(peak)
