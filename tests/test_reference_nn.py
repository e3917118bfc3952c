"""The reference of all but convolution against definitions: plain Python loops, finite differences, integers."""

import itertools
import math

import numpy as np
import pytest

import tapwise


@pytest.fixture(autouse=True)
def on_the_reference():
    with tapwise.backend.use("reference"):
        yield


# shape, size, then what is passed on
POOLS = {
    "1-D": ((2, 9, 3), 2, {}),
    "overlapping": ((1, 7, 6, 2), 3, {"strides": (2, 1)}),
    "same": ((1, 7, 6, 2), 3, {"strides": 2, "padding": "same"}),
    "asymmetric padding": ((2, 5, 6, 2), (3, 2), {"padding": ((1, 0), (0, 1)), "strides": 1}),
    "cropping padding": ((1, 8, 8, 2), 2, {"padding": ((0, -1), (1, -2))}),
    "dilated": ((1, 9, 8, 2), 3, {"dilation": (2, 3), "strides": 1, "padding": 2}),
    "ceil": ((1, 8, 7, 2), 3, {"strides": 2, "ceil_mode": True}),
    "ceil and padding": ((1, 8, 6, 2), 3, {"strides": 3, "padding": 1, "ceil_mode": True}),
    "3-D": ((2, 3, 4, 5, 2), (1, 2, 3), {"padding": ((0, 0), (1, 0), (1, 1))}),
    "empty batch": ((0, 4, 4, 2), 2, {}),
}
pools = pytest.mark.parametrize(("shape", "size", "options"), POOLS.values(), ids=POOLS)


def pair(padding, axis, size, k, stride):
    if padding == "same":
        total = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
        return total // 2, total - total // 2
    padding = padding[axis] if isinstance(padding, tuple) else padding
    return padding if isinstance(padding, tuple) else (padding, padding)


def axis_windows(shape, size, options, outputs):
    """For each axis and output: the window's positions, and those of them in the padded input."""
    rank = len(outputs)
    per_axis = [v if isinstance(v, tuple) else (v,) * rank for v in (size, options.get("strides", size))]
    dilation = options.get("dilation", 1)
    for axis, (k, stride) in enumerate(zip(*per_axis, strict=True)):
        d = dilation[axis] if isinstance(dilation, tuple) else dilation
        before, after = pair(options.get("padding", 0), axis, shape[1 + axis], k, stride)
        found = []
        for o in range(outputs[axis]):
            window = [o * stride - before + i * d for i in range(k)]
            inside = [i for i in window if 0 <= i < shape[1 + axis]]
            found.append((inside, sum(i < shape[1 + axis] + after for i in window)))
        yield found


def looped(x, size, options, outputs):
    """(output, its inputs in order, the positions that count with padding) for each image, channel and output."""
    axes = list(axis_windows(x.shape, size, options, outputs))
    for n, c, o in itertools.product(range(x.shape[0]), range(x.shape[-1]), np.ndindex(*outputs)):
        chosen = [axis[i] for axis, i in zip(axes, o, strict=True)]
        inputs = [(n, *at, c) for at in itertools.product(*(inside for inside, _ in chosen))]
        yield (n, *o, c), inputs, math.prod(counted for _, counted in chosen)


def check_pool(x, y, indices, averages, padded_averages, windows):
    for output, inputs, counted in windows:
        values = [x[i] for i in inputs]
        best = max(range(len(values)), key=lambda i: (math.isnan(values[i]), values[i], -i))
        assert np.array_equal(y[output], values[best], equal_nan=True)
        assert indices[output] == np.ravel_multi_index(inputs[best][1:-1], x.shape[1:-1])
        if not any(map(math.isnan, values)):
            assert averages[output] * len(values) == pytest.approx(sum(values), abs=1e-12)
            assert padded_averages[output] * counted == pytest.approx(sum(values), abs=1e-12)


@pools
def test_pool(shape, size, options, rng):
    """Small whole numbers, so that many are equal, and some NaN."""
    x = rng.integers(-2, 3, shape).astype(np.float64)
    x[rng.random(shape) < 0.05] = np.nan
    y, indices = tapwise.max_pool(x, size, return_indices=True, **options)
    averages = tapwise.average_pool(x, size, **options)
    padded = tapwise.average_pool(x, size, count_include_pad=True, **options)
    assert y.shape == averages.shape
    assert indices.dtype == np.int32
    check_pool(x, y, indices, averages, padded, looped(x, size, options, y.shape[1:-1]))
    first = (0, x.ndim - 1, *range(1, x.ndim - 1))
    options = {**options, "data_format": "channels_first", "return_indices": True}
    y_first, indices_first = tapwise.max_pool(np.ascontiguousarray(x.transpose(first)), size, **options)
    np.testing.assert_array_equal(y_first, y.transpose(first))
    np.testing.assert_array_equal(indices_first, indices.transpose(first))


@pools
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_pool_grads_are_adjoint(shape, size, options, count_include_pad, rng):
    """Average pooling is linear; maximum pooling is, where the largest stay the same."""
    x = rng.integers(-50, 50, shape).astype(np.float64)
    y, indices = tapwise.max_pool(x, size, return_indices=True, **options)
    dy = rng.integers(-9, 9, y.shape).astype(np.float64)
    assert (tapwise.max_pool_grad(dy, indices, x.shape) * x).sum() == (dy * y).sum()
    options = {**options, "count_include_pad": count_include_pad}
    average = (dy * tapwise.average_pool(x, size, **options)).sum()
    assert (tapwise.average_pool_grad(dy, x.shape, size, **options) * x).sum() == pytest.approx(average, rel=1e-12)


@pytest.mark.parametrize("output_size", [1, 2, 3, 5, 7, (2, 6)])
def test_adaptive_pool(output_size, rng):
    """Window o is [floor(o * in / out), ceil((o + 1) * in / out)); more outputs than inputs repeat them."""
    x = rng.integers(-9, 9, (2, 5, 6, 3)).astype(np.float64)
    outputs = output_size if isinstance(output_size, tuple) else (output_size,) * 2
    y, indices = tapwise.adaptive_max_pool(x, output_size, return_indices=True)
    averages = tapwise.adaptive_average_pool(x, output_size)
    dy = rng.integers(-9, 9, y.shape).astype(np.float64)
    dx, dx_average = np.zeros(x.shape), np.zeros(x.shape)
    for i, j in np.ndindex(*outputs):
        edges = [(o * n // out, -((-(o + 1) * n) // out)) for o, n, out in zip((i, j), (5, 6), outputs, strict=True)]
        window = (slice(None), *(slice(*edge) for edge in edges))
        np.testing.assert_array_equal(y[:, i, j], x[window].max((1, 2)))
        np.testing.assert_allclose(averages[:, i, j], x[window].mean((1, 2)), rtol=1e-13)
        dx_average[window] += dy[:, i, j][:, None, None] / x[0][window[1:]][..., 0].size
        for n, c in np.ndindex(2, 3):
            dx[(n, *np.unravel_index(indices[n, i, j, c], (5, 6)), c)] += dy[n, i, j, c]
    chosen = np.take_along_axis(x.reshape(2, 30, 3), indices.reshape(2, -1, 3), axis=1)
    np.testing.assert_array_equal(chosen, y.reshape(2, -1, 3))
    np.testing.assert_array_equal(tapwise.max_pool_grad(dy, indices, x.shape), dx)
    np.testing.assert_allclose(tapwise.adaptive_average_pool_grad(dy, x.shape), dx_average, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_global_pool(data_format, rng):
    x = rng.integers(-9, 9, (2, 4, 5, 3)).astype(np.float64)
    axes = (1, 2) if data_format == "channels_last" else (2, 3)
    kind = {"data_format": data_format}
    y, indices = tapwise.global_max_pool(x, return_indices=True, **kind)
    np.testing.assert_array_equal(y, x.max(axes))
    np.testing.assert_array_equal(tapwise.global_max_pool(x, keepdims=True, **kind), x.max(axes, keepdims=True))
    dx = tapwise.max_pool_grad(y.reshape(indices.shape), indices, x.shape, **kind)
    np.testing.assert_array_equal(dx.sum(axes), y)
    np.testing.assert_array_equal(dx[dx != 0], x[dx != 0])
    np.testing.assert_allclose(tapwise.global_average_pool(x, **kind), x.mean(axes), rtol=1e-14)
    kept = tapwise.global_average_pool(x, keepdims=True, **kind)
    np.testing.assert_allclose(kept, x.mean(axes, keepdims=True), rtol=1e-14)
    want = np.broadcast_to(kept / math.prod(x.shape[axis] for axis in axes), x.shape)
    for dy in (kept, kept.reshape(2, -1)):
        np.testing.assert_array_equal(tapwise.global_average_pool_grad(dy, x.shape, **kind), want)


ACTIVATIONS = {
    "relu": lambda x, alpha: x if x > 0 else 0.0,
    "leaky_relu": lambda x, alpha: x if x > 0 else alpha * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * math.expm1(x),
    "sigmoid": lambda x, alpha: 1 / (1 + math.exp(-x)),
    "tanh": lambda x, alpha: math.tanh(x),
    "gelu": lambda x, alpha: x * math.erfc(-x / math.sqrt(2)) / 2,
}


@pytest.mark.parametrize(
    ("kind", "alpha"), [*((kind, None) for kind in ACTIVATIONS), ("leaky_relu", 0.3), ("leaky_relu", 0), ("elu", 0.3)]
)
def test_activation(kind, alpha):
    """Values against math's functions, gradients against central differences."""
    used = {"leaky_relu": 0.2, "elu": 1.0}.get(kind) if alpha is None else alpha
    x = np.concatenate([np.linspace(-20, 20, 401) + 1e-3, [-700.0, 700.0]])
    want = np.array([ACTIVATIONS[kind](v, used) for v in x])
    y = tapwise.activation(x, kind, alpha=alpha)
    # erfc(x / sqrt(2)) changes by x^2 times what its argument does: an eps here and one there.
    assert (np.abs(y - want) <= (2 * x * x + 8) * np.finfo(float).eps * np.abs(want)).all()
    h, dy = 1e-5, np.linspace(1, 2, x.size)
    slope = (tapwise.activation(x + h, kind, alpha=alpha) - tapwise.activation(x - h, kind, alpha=alpha)) / (2 * h)
    dx = tapwise.activation_grad(dy, None if kind == "gelu" else y, kind, x=x, alpha=alpha)
    # At 700 an ulp is 1e-13, which the difference divides by h.
    np.testing.assert_allclose(dx, dy * slope, rtol=1e-7, atol=1e-9)


LIMITS = {
    "relu": (0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "elu": (-1, np.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_of_special_values(kind):
    """NaN stays; infinities have their limits, without a warning; gelu's at -inf is 0 * inf."""
    y = tapwise.activation(np.array([np.nan, -np.inf, np.inf, 0.0]), kind)
    assert math.isnan(y[0])
    assert y[3] == (0.5 if kind == "sigmoid" else 0)
    np.testing.assert_array_equal(y[1:3], LIMITS.get(kind, (np.nan, np.inf)))


def test_in_place(rng):
    x = rng.standard_normal((3, 5))
    want, memory = tapwise.relu(x), x.copy()
    assert tapwise.relu(memory, out=memory) is memory
    np.testing.assert_array_equal(memory, want)
    dy = rng.standard_normal((3, 5))
    want_grad, memory = tapwise.activation_grad(dy, want, "relu"), dy.copy()
    np.testing.assert_array_equal(tapwise.activation_grad(memory, want, "relu", out=memory), want_grad)


def test_gelu_keeps_the_digits_of_its_tail():
    """In float32 at x = -8, where 1 + erf(x / sqrt(2)) would be 0."""
    y = tapwise.gelu(np.array([-8], np.float32))
    assert y[0] == pytest.approx(-8 * math.erfc(8 / math.sqrt(2)) / 2, rel=1e-6)


def softmax(row):
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis, rng):
    x = rng.standard_normal((3, 4, 5)) * 50
    y = tapwise.softmax(x, axis=axis)
    np.testing.assert_allclose(y, np.apply_along_axis(softmax, axis, x), rtol=1e-13)
    dy = rng.standard_normal(x.shape)
    dx = tapwise.softmax_grad(dy, y, axis=axis)
    for i in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i] = 1e-6
        change = tapwise.softmax(x + step, axis=axis) - tapwise.softmax(x - step, axis=axis)
        assert dx[i] == pytest.approx((dy * change).sum() / 2e-6, abs=1e-8)


def test_softmax_cross_entropy(rng):
    """Class numbers are rows with a single one; a distribution need not sum to one; a label of 0 adds nothing."""
    logits = rng.standard_normal((4, 5)) * 30
    numbers = np.array([0, 4, 2, 2], np.int32)
    one_hot = np.eye(5)[numbers]
    want = [-math.log(softmax(row)[i]) for row, i in zip(logits, numbers, strict=True)]
    for labels in (numbers, one_hot):
        np.testing.assert_allclose(tapwise.softmax_cross_entropy(logits, labels), want, rtol=1e-12)
    soft, scale = rng.random((4, 5)), rng.random(4)
    grad = tapwise.softmax_cross_entropy_grad(logits, soft, scale)
    for i in np.ndindex(logits.shape):
        step = np.zeros(logits.shape)
        step[i] = 1e-5
        losses = [tapwise.softmax_cross_entropy(logits + s * step, soft) for s in (1, -1)]
        assert grad[i] == pytest.approx(scale[i[0]] * (losses[0] - losses[1])[i[0]] / 2e-5, abs=1e-7)
    np.testing.assert_array_equal(
        tapwise.softmax_cross_entropy_grad(logits, numbers, 0.25),
        tapwise.softmax_cross_entropy_grad(logits, one_hot, np.full(4, 0.25)),
    )
    np.testing.assert_array_equal(
        tapwise.softmax_cross_entropy_grad(logits, one_hot), tapwise.softmax_cross_entropy_grad(logits, one_hot, 1.0)
    )
    impossible = np.array([[0.0, -np.inf]])
    assert tapwise.softmax_cross_entropy(impossible, np.array([[1.0, 0.0]])) == 0
    assert tapwise.softmax_cross_entropy(impossible, np.array([1], np.int32)) == np.inf


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_batch_norm(data_format, rng):
    x = rng.standard_normal((3, 4, 4, 4))
    gamma, beta, dy = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal(x.shape)
    kind = {"epsilon": 0.01, "data_format": data_format}
    y, mean, variance = tapwise.batch_norm(x, gamma, beta, training=True, **kind)
    channel = -1 if data_format == "channels_last" else 1
    for c in range(4):
        values = x.take(c, channel).ravel().tolist()
        centre = math.fsum(values) / len(values)
        spread = math.fsum((v - centre) ** 2 for v in values) / len(values)
        assert (mean[c], variance[c]) == pytest.approx((centre, spread))
        want = [gamma[c] * (v - centre) / math.sqrt(spread + 0.01) + beta[c] for v in values]
        np.testing.assert_allclose(y.take(c, channel).ravel(), want, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(tapwise.batch_norm(x, gamma, beta, mean, variance, **kind), y)
    plain = tapwise.batch_norm(x, None, None, mean, variance, **kind)
    np.testing.assert_array_equal(plain, tapwise.batch_norm(x, np.ones(4), np.zeros(4), mean, variance, **kind))
    dx, dgamma, dbeta = tapwise.batch_norm_grad(dy, x, gamma, mean, variance, **kind)

    def cost(x=x, gamma=gamma, beta=beta):
        return (dy * tapwise.batch_norm(x, gamma, beta, training=True, **kind)[0]).sum()

    for name, a, grad in (("x", x, dx), ("gamma", gamma, dgamma), ("beta", beta, dbeta)):
        for i in np.ndindex(a.shape):
            step = np.zeros(a.shape)
            step[i] = 1e-5
            assert grad[i] == pytest.approx((cost(**{name: a + step}) - cost(**{name: a - step})) / 2e-5, abs=1e-7)


def fmix32(h):
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 3, 2**64 - 1])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1 - 2**-53])
def test_dropout(seed, rate):
    """The mask in Python's integers; kept infinities stay, dropped ones are 0."""
    x = np.arange(1.0, 301).reshape(3, 100)
    x[1, :50] = np.inf
    kept = [fmix32((fmix32(i ^ seed % 2**32) + (seed >> 32)) % 2**32) >= int(rate * 2**32) for i in range(300)]
    want = np.array([v / (1 - rate) if keep else 0 for v, keep in zip(x.ravel(), kept, strict=True)]).reshape(x.shape)
    np.testing.assert_allclose(tapwise.dropout(x, rate, seed), want, rtol=1e-15)
    np.testing.assert_allclose(tapwise.dropout_grad(x, rate, seed), want, rtol=1e-15)


def test_dropout_drops_its_share():
    """Of 100,000 elements, within five standard deviations."""
    y = tapwise.dropout(np.ones(100_000), 0.3, 11)
    assert abs((y == 0).mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 100_000)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum, nesterov, rng):
    """Three steps of Keras' formulas on one number at a time."""
    w, velocity, gradients = rng.standard_normal(5), np.zeros(5), rng.standard_normal((3, 5))
    want = []
    for i in range(5):
        value, v = w[i], 0.0
        for g in gradients[:, i]:
            v = momentum * v - 0.1 * g
            value += momentum * v - 0.1 * g if nesterov else v
        want.append(value)
    for g in gradients:
        state = velocity if momentum else None
        tapwise.sgd_update(w, g, state, learning_rate=0.1, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(w, want, rtol=1e-13)


def test_adam(rng):
    """Three steps of Kingma & Ba's algorithm in the form of Keras: epsilon beside sqrt(v) without its correction."""
    w, gradients = rng.standard_normal(5), rng.standard_normal((3, 5))
    want = []
    for i in range(5):
        value, m, v = w[i], 0.0, 0.0
        for step, g in enumerate(gradients[:, i], 1):
            m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g * g
            value -= 0.1 * math.sqrt(1 - 0.99**step) / (1 - 0.8**step) * m / (math.sqrt(v) + 1e-3)
        want.append(value)
    m, v = np.zeros(5), np.zeros(5)
    for step, g in enumerate(gradients, 1):
        tapwise.adam_update(w, g, m, v, learning_rate=0.1, step=step, beta_1=0.8, beta_2=0.99, epsilon=1e-3)
    np.testing.assert_allclose(w, want, rtol=1e-12)


@pytest.mark.parametrize("rows", [(), (7,), (2, 3), (0,), (2, 0)])
def test_dense(rows, rng):
    """y = x w + b over the last axis, and its gradients; a transposed w goes in as a view."""
    x, w, b = (rng.integers(-4, 5, shape).astype(float) for shape in ((*rows, 4), (3, 4), (3,)))
    w = w.T
    y = tapwise.dense(x, w, b)
    np.testing.assert_array_equal(y, x @ w + b)
    np.testing.assert_array_equal(tapwise.dense(x, w, b, activation="relu", residual=y), np.maximum(2 * y, 0))
    np.testing.assert_array_equal(tapwise.dense_grad_input(y, w), y @ w.T)
    np.testing.assert_array_equal(tapwise.dense_grad_weight(x, y), x.reshape(-1, 4).T @ y.reshape(-1, 3))
    np.testing.assert_array_equal(tapwise.dense_grad_bias(y), y.reshape(-1, 3).sum(0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_every_float_type(dtype, rng):
    """Results keep the type of x."""
    x, w = rng.integers(-4, 5, (2, 5, 5, 4)).astype(dtype), rng.integers(-4, 5, (3, 3, 4, 2)).astype(dtype)
    y = tapwise.conv(x, w, activation="relu")
    np.testing.assert_array_equal(y, tapwise.conv(x.astype(float), w.astype(float), activation="relu"))
    results = [y, tapwise.gelu(x), tapwise.softmax(x), tapwise.max_pool(x, 2), tapwise.average_pool(x, 2)]
    results += tapwise.batch_norm(x, None, None, training=True)
    assert {result.dtype for result in results} == {np.dtype(dtype)}
