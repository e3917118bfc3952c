"""What a convolution does besides summing: bias, residual and activation, of conv and of conv_transpose."""

import math
from dataclasses import replace

import numpy as np
import pytest

import tapwise
from cases import named
from close import Fenced, bound
from exact import exact

EPS = float(np.finfo(np.float32).eps)
ROUNDINGS = 4  # of an activation, in eps of the larger of 1 and its value: exp, tanh and erf are within 4 units

some_cases = pytest.mark.parametrize(
    "case",
    named(
        "prime channels",
        "empty batch",
        "strided 1x1",
        "groups of 8",
        "groups that widen, 2 to 5",
        "depthwise, 19 channels",
        "depthwise, multiplier 2",
        "several tasks a thread",
        "1-D",
        "3-D",
    ),
    ids=str,
)

# kind -> its definition in float64 and its largest slope, by which an error of the sum may grow
ACTIVATIONS = {
    "linear": (lambda s: s, 1.0),
    "relu": (lambda s: np.maximum(s, 0), 1.0),
    "relu6": (lambda s: np.clip(s, 0, 6), 1.0),
    "leaky_relu": (lambda s: np.where(s > 0, s, 0.2 * s), 1.0),
    "elu": (lambda s: np.where(s > 0, s, np.expm1(np.minimum(s, 0))), 1.0),
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), 0.25),
    "tanh": (np.tanh, 1.0),
    "gelu": (lambda s: s * (1 + np.vectorize(math.erf, otypes=[float])(s / math.sqrt(2))) / 2, 1.13),
}


def activated(kind, want, mass, terms):
    """The activation of want in float64 and the error it may have, from that of its argument and its own rounding."""
    function, slope = ACTIVATIONS[kind]
    value = function(want)
    own = 0.0 if kind in ("linear", "relu", "relu6") else ROUNDINGS * EPS * np.maximum(1, np.abs(value))
    return value, slope * bound(mass, terms) + own


def assert_near(got, want, allowed, label=""):
    error = np.abs(got - want)
    assert (error <= allowed).all(), f"{label}: off by {(error / allowed).max():.3g} times what is allowed"


@some_cases
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_conv(case, kind, engine, rng):
    """activation(conv(x, w) + b + residual)"""
    x, w, b, residual = case.arrays(rng)
    want, mass = exact(tapwise.conv, x, w, b, **case.geometry)
    value, allowed = activated(kind, want + residual, mass + np.abs(residual), case.terms + 2)
    for algorithm in case.algorithms("forward"):
        out = Fenced(case.y_shape)
        options = {"activation": kind, "residual": residual, "algorithm": algorithm, **case.geometry}
        assert_near(tapwise.conv(x, w, b, out=out.array, **options), value, allowed, algorithm)
        out.assert_intact(algorithm)


@some_cases
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_conv_transpose(case, kind, engine, rng):
    """activation(conv_grad_input(x, w) + b + residual): x is as large as the convolution's output, y as its input."""
    residual, w, _, x = case.arrays(rng)
    b = rng.standard_normal(case.ci, np.float32)
    channels = b if case.data_format == "channels_last" else b.reshape(-1, *[1] * len(case.k))
    sums, mass = exact(tapwise.conv_grad_input, x, w, case.x_shape, **case.geometry)
    mass = mass + np.abs(channels) + np.abs(residual)
    value, allowed = activated(kind, sums + channels + residual, mass, case.grad_input_terms + 2)
    options = {**case.geometry, **transposed(case), "activation": kind, "residual": residual}
    for algorithm in case.algorithms("grad_input"):
        out = Fenced(case.x_shape)
        assert_near(
            tapwise.conv_transpose(x, w, b, out=out.array, algorithm=algorithm, **options), value, allowed, algorithm
        )
        out.assert_intact(algorithm)


def transposed(case):
    """Explicit padding, and at the end what the convolution's strides left over."""
    sizes = zip(case.x[1:-1], case.extents, case.pads, case.per_axis(case.strides), strict=True)
    rest = tuple((size + sum(pads) - extent) % stride for size, extent, pads, stride in sizes)
    return {"padding": case.pads, "output_padding": rest}


@some_cases
def test_an_input_gradient_adds_what_another_reader_found(case, engine, rng):
    """Whole numbers, whose sums are exact."""
    x, w, _, dy = case.integers(rng)
    other = rng.integers(-9, 10, x.shape).astype(np.float32)
    how = {"algorithm": "direct", **case.geometry}
    want = tapwise.conv_grad_input(dy, w, x.shape, **how) + other
    got = Fenced(x.shape, offset=1)
    tapwise.conv_grad_input(dy, w, x.shape, residual=other, out=got.array, **how)
    got.assert_intact()
    np.testing.assert_array_equal(got.array, want)
    with pytest.raises(ValueError, match=r"residual must have shape"):
        tapwise.conv_grad_input(dy, w, x.shape, residual=other[:, :0], **how)


@pytest.mark.parametrize(
    "case",
    [
        *named("prime channels", "empty batch", "groups of 8", "several tasks a thread", "1-D", "3-D"),
        *named("input channels shared out to tasks", "stem 7x7 stride 2"),
        *(replace(case, data_format="channels_first") for case in named("prime channels")),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "relu6", None])
def test_grad_weight_bias(case, kind, engine, rng):
    """dw to the bit of that of a dy behind the activation, and its sum; dy stays unless it is the work space."""
    x, _, _, dy = case.arrays(rng)
    y = tapwise.activation(rng.standard_normal(case.y_shape, np.float32) * 3, kind) if kind else None
    options = {"y": y, "activation": kind, **case.geometry}
    dz = tapwise.activation_grad(dy, y, kind) if kind else dy
    for algorithm in case.algorithms("grad_weight"):
        dw, db, work = Fenced(case.w_shape, offset=1), Fenced((case.co,), offset=2), dy.copy()
        given = {"out": dw.array, "out_bias": db.array, "algorithm": algorithm}
        tapwise.conv_grad_weight_bias(x, work, case.w_shape, work=work, **given, **options)
        want = tapwise.conv_grad_weight(x, dz, case.w_shape, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(dw.array, want)
        wide = np.moveaxis(dz.astype(np.float64), 1, -1) if case.data_format == "channels_first" else dz.astype(float)
        columns = wide.reshape(-1, case.co)
        assert_near(db.array, columns.sum(0), bound(np.abs(columns).sum(0), len(columns)) + EPS * EPS)
        dw.assert_intact(), db.assert_intact()
        kept = tapwise.conv_grad_weight_bias(x, dy, case.w_shape, algorithm=algorithm, **options)
        np.testing.assert_array_equal(kept[0], want)
        np.testing.assert_array_equal(kept[1], db.array)


def test_grad_weight_bias_rejects():
    x, dy = np.ones((1, 4, 4, 2), np.float32), np.ones((1, 4, 4, 3), np.float32)
    for change, message in (
        ({"activation": "gelu"}, "activation must be one whose gradient is found from y, got 'gelu'"),
        ({"y": x}, r"y must have shape \(1, 4, 4, 3\), got \(1, 4, 4, 2\)"),
        ({"work": np.ones(3, np.float32)}, r"work must have shape \(1, 4, 4, 3\), got \(3,\)"),
        ({"work": dy, "y": dy}, "work must not overlap y, got memory of both"),
        ({"out_bias": np.ones(2, np.float32)}, r"out_bias must have shape \(3,\), got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            tapwise.conv_grad_weight_bias(x, dy, (1, 1, 2, 3), **{"activation": "relu", "y": dy.copy(), **change})
