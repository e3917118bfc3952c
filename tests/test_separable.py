"""separable_conv: a depthwise convolution and a pointwise one of its result, in one pass or in two."""

import numpy as np
import pytest

import tapwise
from close import Fenced, assert_within, fenced_copy
from engines import NATIVE
from exact import wide

# name -> x, kernel sizes, multiplier, co, options of the depthwise convolution
CASES = {
    "one pixel": ((1, 1, 1, 2), (1, 1), 1, 5, {}),
    "empty batch": ((0, 5, 5, 4), (3, 3), 1, 6, {"padding": "same"}),
    "several blocks, tails": ((2, 15, 31, 21), (3, 3), 1, 37, {"padding": "same"}),
    "stride 2": ((1, 12, 17, 33), (3, 3), 1, 24, {"padding": "same", "strides": 2}),
    "dilated": ((1, 11, 9, 8), (3, 3), 1, 17, {"padding": 2, "dilation": 2}),
    "blocks of columns": ((1, 3, 150, 512), (3, 3), 1, 5, {"padding": "same"}),
    "multiplier 2": ((1, 6, 7, 5), (3, 3), 2, 9, {"padding": "same"}),
    "few outputs": ((1, 6, 7, 24), (3, 3), 1, 2, {"padding": "same"}),
    "channels first": ((2, 6, 5, 9), (3, 3), 1, 7, {"padding": "same", "data_format": "channels_first"}),
    "1-D, causal": ((2, 300, 6), (5,), 1, 8, {"padding": "causal"}),
    "3-D": ((1, 3, 4, 5, 6), (3, 3, 3), 1, 8, {"padding": 1}),
}
TWO_PASSES = {"multiplier 2", "few outputs", "channels first"}
every_case = pytest.mark.parametrize("name", CASES)


def arrays(name, rng):
    """x, both weights, both biases, a residual, and the options."""
    x_shape, k, multiplier, co, options = CASES[name]
    last = options.get("data_format") is None
    c = x_shape[-1] if last else x_shape[1]
    shapes = [(*k, 1, c * multiplier), (*[1] * len(k), c * multiplier, co)]
    if not last:
        shapes = [(shape[-1], shape[-2], *shape[:-2]) for shape in shapes]
    made = [rng.standard_normal(shape, np.float32) for shape in (x_shape, *shapes, (c * multiplier,), (co,))]
    y_shape = tapwise.separable_conv(*made[:3], **options).shape
    return *made, rng.standard_normal(y_shape, np.float32), options


def expected(x, depthwise_w, pointwise_w, depthwise_b, b, residual, options):
    """The result in float64, and the sizes of its terms: errors of the middle pass a ReLU with slope 1 at most."""
    last = options.get("data_format", "channels_last")
    with tapwise.backend.use("reference"):
        middle = tapwise.conv(x, depthwise_w, depthwise_b, activation="relu", **options)
        want = tapwise.conv(middle, pointwise_w, b, data_format=last, residual=residual)
        sizes = tapwise.conv(*map(np.abs, (x, depthwise_w, depthwise_b)), **options)
        return want, tapwise.conv(sizes, *map(np.abs, (pointwise_w, b)), data_format=last, residual=np.abs(residual))


@every_case
def test_within_the_bound(name, engine, rng):
    *given, options = arrays(name, rng)
    want, mass = expected(*wide(*given), options)
    x, depthwise_w, pointwise_w, depthwise_b, b, residual = (fenced_copy(a, i) for i, a in enumerate(given, 1))
    out = Fenced(want.shape, offset=3)
    y = tapwise.separable_conv(
        x, depthwise_w, pointwise_w, b, depthwise_b=depthwise_b, depthwise_activation="relu", residual=residual,
        out=out.array, **options,
    )  # fmt: skip
    assert y is out.array
    out.assert_intact(name)
    terms = given[1].size // max(1, given[3].size) + given[3].size + 3
    assert_within(y, want, mass, terms, label=name)


@pytest.mark.skipif(not NATIVE, reason="needs the extension: pip install .")
@every_case
def test_the_bits_are_those_of_two_passes(name, rng):
    x, depthwise_w, pointwise_w, depthwise_b, b, residual, options = arrays(name, rng)
    last = options.get("data_format", "channels_last")
    with tapwise.backend.use("native"):
        middle = tapwise.conv(x, depthwise_w, depthwise_b, activation="relu6", **options)
        want = tapwise.conv(middle, pointwise_w, b, activation="elu", residual=residual, data_format=last)
        packed = tapwise.pack(depthwise_w, x_shape=x.shape, **options)
        packed_mix = tapwise.pack(pointwise_w, x_shape=middle.shape, data_format=last)
        rest = {"depthwise_b": depthwise_b, "depthwise_activation": "relu6", "activation": "elu", "residual": residual}
        for weights in ((depthwise_w, pointwise_w), (packed, packed_mix)):
            got = tapwise.separable_conv(x, *weights, b, **rest, **options)
            np.testing.assert_array_equal(got, want)


@every_case
def test_plan_and_trace_say_how(name, engine, rng):
    x, depthwise_w, pointwise_w, *_, options = arrays(name, rng)
    plan = tapwise.plan_separable(x.shape, depthwise_w.shape, pointwise_w.shape, **options)
    assert plan.fused == (plan.backend == "native" and name not in TWO_PASSES)
    assert ("fused" if plan.fused else "two passes") in str(plan)
    assert plan.reason in str(plan)
    with tapwise.trace() as seen:
        tapwise.separable_conv(x, depthwise_w, pointwise_w, **options)
    assert [(r.name, r.algorithm) for r in seen.records] == [
        ("separable_conv", "fused" if plan.fused else "two passes")
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depthwise_w": np.ones((3, 3, 2, 4), np.float32)}, "depthwise_w must have one input channel a filter"),
        ({"pointwise_w": np.ones((3, 3, 4, 4), np.float32)}, "pointwise_w must have one tap and 4 axes"),
        ({"pointwise_w": np.ones((1, 4, 4), np.float32)}, "pointwise_w must have one tap and 4 axes"),
        ({"depthwise_b": np.ones(3, np.float32)}, r"b must have shape \(4,\), got \(3,\)"),
        ({"b": np.ones(3, np.float32)}, r"b must have shape \(6,\), got \(3,\)"),
        ({"residual": np.ones((1, 5, 5, 4), np.float32)}, r"residual must have shape \(1, 3, 3, 6\)"),
        ({"out": np.ones((1, 5, 5, 6), np.float32)}, r"out must have shape \(1, 3, 3, 6\)"),
        ({"depthwise_activation": "swoosh"}, "activation must be"),
        ({"strides": 0}, "strides must be >= 1, got 0"),
    ],
)
def test_rejects(change, message, engine):
    given = {
        "x": np.ones((1, 5, 5, 4), np.float32),
        "depthwise_w": np.ones((3, 3, 1, 4), np.float32),
        "pointwise_w": np.ones((1, 1, 4, 6), np.float32),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        tapwise.separable_conv(**given)


def test_an_output_that_overlaps_the_weights_is_refused(engine):
    x, pointwise_w = np.ones((1, 1, 1, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="out must"):
        tapwise.separable_conv(x, np.ones((1, 1, 1, 4), np.float32), pointwise_w, out=pointwise_w[:, :, :1])


@pytest.mark.skipif(not NATIVE, reason="needs the extension: pip install .")
def test_the_layer_is_one_operation_for_prediction(rng):
    """With the bits of two; a gradient that is asked for behind it finds the middle again."""
    x = rng.standard_normal((2, 12, 12, 16), np.float32)
    layer = tapwise.layers.SeparableConv2D(24, 3, padding="same", strides=2, activation="relu")
    model = tapwise.Sequential([tapwise.Input(x.shape[1:]), layer, tapwise.layers.BatchNormalization()])
    with tapwise.backend.use("native"):
        with tapwise.trace() as seen:
            model.predict(x, verbose=0)
            y = layer(x)
        assert [(r.name, r.algorithm) for r in seen.records if "conv" in r.name] == [("separable_conv", "fused")] * 2
        dx, gradients = layer.backward(y), [weight.gradient.copy() for weight in layer.weights]
        np.testing.assert_array_equal(layer(x, training=True), y)
        np.testing.assert_array_equal(layer.backward(y), dx)
        for weight, gradient in zip(layer.weights, gradients, strict=True):
            np.testing.assert_array_equal(weight.gradient, gradient)
