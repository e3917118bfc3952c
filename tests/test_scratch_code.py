"""interop.cs231n, functional and scipy: against the reference's loops and the originals, even kernels and all."""

import itertools

import numpy as np
import pytest

import tapwise
import tapwise.interop.functional as F
from differences import EPS, differences
from tapwise.interop import cs231n
from tapwise.interop import scipy as ours

CONV, POOL = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}


def tensor(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def test_course_layers_compute_what_the_course_says(rng):
    x, w, b = tensor(rng, 2, 3, 8, 6), tensor(rng, 4, 3, 3, 4), tensor(rng, 4)
    out, _ = cs231n.conv_forward_fast(x, w, b, {"stride": 2, "pad": 1})
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = np.empty((2, 4, 4, 3))
    for n, f, i, j in np.ndindex(want.shape):
        want[n, f, i, j] = (padded[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 4].astype(float) * w[f]).sum() + b[f]
    np.testing.assert_allclose(out, want, rtol=0, atol=37 * np.finfo(np.float32).eps * np.abs(want).max())
    pooled, _ = cs231n.max_pool_forward_fast(out, POOL)
    np.testing.assert_array_equal(pooled[1, 2, 1, 0], out[1, 2, 2:4, :2].max())


@pytest.mark.parametrize("layer", ["conv", "conv_relu", "conv_relu_pool", "conv_bn_relu"])
def test_course_gradients_are_numerical_ones(layer, rng):
    """In float64, as the course checks them; dout is a transposed view, as its batch normalization gives it."""
    arrays = [rng.standard_normal(shape) for shape in [(2, 2, 5, 6), (3, 2, 3, 3), (3,)]]
    rest = [CONV]
    if layer == "conv_relu_pool":
        rest.append({**POOL, "stride": 1})
    if layer == "conv_bn_relu":
        arrays += [1 + rng.random(3), rng.standard_normal(3)]
        rest.append({"mode": "train"})
    name = "_fast" if layer == "conv" else ""
    forward, backward = (getattr(cs231n, f"{layer}_{way}{name}") for way in ("forward", "backward"))
    with tapwise.backend.use("reference"):
        out, cache = forward(*arrays, *rest)
        dout = rng.standard_normal((*out.shape[:1], *out.shape[2:], out.shape[1])).transpose(0, 3, 1, 2)
        got = backward(dout, cache)

        def loss():
            return float((forward(*arrays, *rest)[0] * dout).sum())

        for gradient, array in zip(got, arrays, strict=True):
            want = differences(loss, array)
            np.testing.assert_allclose(gradient, want, rtol=0, atol=2000 * EPS ** (2 / 3))


def test_course_batch_normalization_keeps_its_running_statistics(rng):
    x, w, b = tensor(rng, 4, 2, 5, 6), tensor(rng, 3, 2, 3, 3), tensor(rng, 3)
    gamma, beta, bn = np.ones(3, np.float32), np.zeros(3, np.float32), {"mode": "train", "momentum": 0.0}
    cs231n.conv_bn_relu_forward(x, w, b, gamma, beta, CONV, bn)
    a, _ = cs231n.conv_forward_fast(x, w, b, CONV)
    np.testing.assert_allclose(bn["running_mean"], a.mean((0, 2, 3)), rtol=0, atol=1e-6)
    bn["mode"] = "test"
    got, cache = cs231n.conv_bn_relu_forward(x, w, b, gamma, beta, CONV, bn)
    want = (a - a.mean((0, 2, 3), keepdims=True)) / np.sqrt(a.var((0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, np.maximum(want, 0), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match='mode "train"'):
        cs231n.conv_bn_relu_backward(got, cache)


def test_functional_has_pytorchs_meaning(rng):
    """Padding, an image alone, None in an output size, a divisor of one's own, a ceiling."""
    x, w = tensor(rng, 2, 4, 7, 6), tensor(rng, 6, 2, 3, 2)
    y = F.conv2d(x, w, None, 1, "same", 1, 2)
    assert y.shape == (2, 6, 7, 6)
    np.testing.assert_array_equal(F.conv2d(x[1], w, padding="same", groups=2), y[1])
    np.testing.assert_array_equal(F.conv2d(x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), w, groups=2),
                                  F.conv2d(x, w, groups=2))  # fmt: skip
    assert F.adaptive_avg_pool2d(x, (None, 3)).shape == (2, 4, 7, 3)
    sums = F.avg_pool2d(x, 3, 2, 1, True, divisor_override=1)
    assert sums.shape == (2, 4, 4, 4)
    np.testing.assert_allclose(sums[0, 0, 3, 3], x[0, 0, 5:, 5:].sum(), rtol=1e-5)
    np.testing.assert_allclose(F.avg_pool2d(x, 3, 2, 1)[0, 0, 0, 0], x[0, 0, :2, :2].sum() / 9, rtol=1e-5)
    np.testing.assert_allclose(F.linear(x, tensor(rng, 5, 6)).shape, (2, 4, 7, 5))
    z = x.copy()
    assert F.relu(z, inplace=True) is not None
    np.testing.assert_array_equal(z, np.maximum(x, 0))


def test_gradients_by_torchs_names_are_adjoint(rng):
    for rank, name in enumerate(("conv1d", "conv2d", "conv3d"), 1):
        x, w = rng.standard_normal((2, 4, *(7, 6, 5)[:rank])), rng.standard_normal((6, 2, *(3, 2, 3)[:rank]))
        with tapwise.backend.use("reference"):
            y = getattr(F, name)(x, w, stride=2, padding=1, groups=2)
            dy = rng.standard_normal(y.shape)
            dx = getattr(F, f"{name}_input")(x.shape, w, dy, stride=2, padding=1, groups=2)
            dw = getattr(F, f"{name}_weight")(x, w.shape, dy, stride=2, padding=1, groups=2)
        np.testing.assert_allclose([(dx * x).sum(), (dw * w).sum()], (y * dy).sum(), rtol=1e-10)


def correlated(a, b):
    """The full cross-correlation by NumPy's shifts."""
    out = np.zeros([i + k - 1 for i, k in zip(a.shape, b.shape, strict=True)])
    for at in np.ndindex(b.shape):
        where = tuple(slice(k - 1 - j, k - 1 - j + i) for i, k, j in zip(a.shape, b.shape, at, strict=True))
        out[where] += a * b[at]
    return out


@pytest.mark.parametrize("shapes", [((9,), (4,)), ((5, 7), (2, 3)), ((3, 4), (4, 6)), ((4, 5, 3), (2, 2, 3))], ids=str)
def test_signals_are_centred_as_scipy_says(shapes, rng):
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    full = correlated(a.astype(float), b.astype(float))
    flipped = b[(slice(None, None, -1),) * b.ndim]
    atol = 4 * b.size * np.finfo(np.float32).eps * max(1, np.abs(full).max())
    np.testing.assert_allclose(ours.correlate(a, b), full, rtol=0, atol=atol)
    np.testing.assert_allclose(ours.convolve(a, flipped), full, rtol=0, atol=atol)
    middle = tuple(slice((k - 1) // 2, (k - 1) // 2 + i) for i, k in zip(*shapes, strict=True))
    np.testing.assert_allclose(ours.correlate(a, b, "same"), full[middle], rtol=0, atol=atol)
    np.testing.assert_allclose(ours.convolve(a, flipped, "same"), full[middle], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ours.correlate(x, x.astype(complex)), TypeError, "in2 must be float32 or float64, got complex128"),
        (lambda x: ours.correlate(x, x, "middle"), ValueError, "mode must be .*, got 'middle'"),
        (lambda x: ours.correlate(x, x, method="fft"), ValueError, 'method must be "auto" or "direct".*fft'),
        (lambda x: ours.convolve(x, x[:3, 0]), ValueError, r"in1 and in2 must both have .* axes, got shapes \(4, 5\)"),
        (lambda x: ours.convolve2d(x, x[:, :1].repeat(6, 1)[:2], "valid"), ValueError, 'mode "valid" must get'),
        (lambda x: ours.correlate2d(x, x, boundary="edge"), ValueError, "boundary must be .*, got 'edge'"),
        (lambda x: F.conv2d(x[None], x[None, None], stride=2, padding="same"), ValueError, '"same" must go with'),
        (lambda x: F.conv2d(x, x[None, None]), ValueError, r"input must have 4 dimensions, or 3 .*got \(4, 5\)"),
        (lambda x: F.max_pool2d(x[None], 2, padding=2), ValueError, "padding must be at most half of kernel_size"),
        (lambda x: F.cross_entropy(x, np.array([0, 1, 2, 5])), ValueError, "target must be >= 0 and < 5, got 0 to 5"),
        (lambda x: cs231n.conv_forward_fast(x[None, None], x[None, None], x[:1, 0], {"stride": 1}), ValueError,
         "conv_param must hold stride, pad, got no pad"),
        (lambda x: cs231n.conv_forward_fast(x[None, None], x[None, None], x[:1, 0], {"stride": 0, "pad": 1}),
         ValueError, "stride must be an integer >= 1, got 0"),
    ],
)  # fmt: skip
def test_rejects(call, error, message, rng):
    with pytest.raises(error, match=message):
        call(tensor(rng, 4, 5))


def test_float64_is_refused_where_no_kernel_has_it(rng):
    if "native" not in tapwise.backend.available():
        pytest.skip("the extension isn't built: pip install . (needs a C++20 compiler)")
    x = rng.standard_normal((1, 1, 4, 4))
    with tapwise.backend.use("native"), pytest.raises(TypeError, match=r"input must be float32 on the native.*float64"):
        F.relu(x)


class OnlyDLPack:
    """What another library's array shows of itself."""

    def __init__(self, a):
        self._array = a

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("foreign", [OnlyDLPack, memoryview], ids=["DLPack", "buffer protocol"])
def test_models_take_foreign_arrays(foreign, rng):
    x, y = tensor(rng, 8, 6, 6, 2), tensor(rng, 8, 1)
    model = tapwise.Sequential([tapwise.Input((6, 6, 2)), tapwise.layers.Flatten(), tapwise.layers.Dense(1)])
    np.testing.assert_array_equal(model.predict(foreign(x), verbose=0), model.predict(x, verbose=0))
    model.compile("sgd", "mse")
    assert model.evaluate(foreign(x), foreign(y), verbose=0) == model.evaluate(x, y, verbose=0)
    model.fit(foreign(x), foreign(y), verbose=0)


def test_scipys_own_results(rng):
    """Every mode, boundary and centring; sizes 1 to 7, even and odd, either of the two the larger one."""
    signal = pytest.importorskip("scipy.signal", reason="pip install scipy")
    planes = itertools.product(itertools.product((1, 4, 7), repeat=2), itertools.product((1, 2, 3, 6), repeat=2))
    lines = itertools.product([(1,), (5,), (6,)], [(1,), (2,), (3,), (6,), (9,)])
    for a_shape, b_shape in [*lines, *planes, ((4, 5, 6), (2, 3, 4)), ((3, 3, 3), (5, 4, 4))]:
        a, b = tensor(rng, *a_shape), tensor(rng, *b_shape)
        calls = [(name, {}) for name in ("correlate", "convolve")]
        if a.ndim == 2:
            bounds = [{"fillvalue": 0.5}, {"boundary": "wrap"}, {"boundary": "symm"}]
            calls += [(f"{name}2d", bound) for name, _ in calls for bound in bounds]
        for (name, options), mode in itertools.product(calls, ("full", "same", "valid")):
            try:
                want = getattr(signal, name)(a, b, mode, **options)
            except ValueError:
                with pytest.raises(ValueError, match='mode "valid"'):
                    getattr(ours, name)(a, b, mode, **options)
                continue
            got = getattr(ours, name)(a, b, mode, **options)
            case = f"{name} {a_shape} {b_shape} {mode} {options}"
            assert got.dtype == np.float32, case
            np.testing.assert_allclose(got, want, rtol=0, atol=b.size * 2e-6, err_msg=case)
