"""What holds for any convolution, on shapes that Hypothesis chooses and shrinks."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tapwise
from cases import DIRECTIONS, Case
from close import assert_within, dot
from exact import exact

# The engine fixture stays the same for all examples of a test.
examples = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def cases(draw):
    """Any geometry of 1 to 3 dimensions that has an output."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 4))
    ci, co = (groups * draw(st.integers(1, 9)) for _ in range(2))
    size, k, strides, dilation, pads = [], [], [], [], []
    for _ in range(rank):
        k.append(draw(st.integers(1, 5)))
        dilation.append(draw(st.integers(1, 3)))
        strides.append(draw(st.integers(1, 4)))
        extent = dilation[-1] * (k[-1] - 1) + 1
        size.append(draw(st.integers(1, 12 if rank < 3 else 6)))
        before = draw(st.integers(0, extent + 1))
        after = draw(st.integers(max(extent - size[-1] - before, -3), extent + 1))
        pads.append((before, after))
    layout = draw(st.sampled_from(["channels_last", "channels_first"]))
    x = (draw(st.integers(0, 3)), *size, ci)
    return Case("drawn", x, tuple(k), co, tuple(strides), tuple(pads), tuple(dilation), groups, layout)


@examples
@given(case=cases(), seed=seeds)
def test_every_pass_is_within_its_bound(case, seed, engine):
    arrays = case.arrays(np.random.default_rng(seed))
    for direction, (terms, operation, *arguments) in case.passes(*arrays).items():
        want, mass = exact(operation, *arguments, **case.geometry)
        for algorithm in case.algorithms(direction):
            got = operation(*arguments, algorithm=algorithm, **case.geometry)
            assert_within(got, want, mass, terms, label=f"{direction}, {algorithm}")


@examples
@given(case=cases(), seed=seeds, p=st.integers(-3, 3), q=st.integers(-3, 3))
def test_every_pass_is_linear(case, seed, p, q, engine):
    """f(p a + q b) == p f(a) + q f(b), exactly, on whole numbers."""
    rng = np.random.default_rng(seed)
    for direction in DIRECTIONS:
        x, w, _, dy = case.integers(rng)
        _, operation, first, *rest = case.passes(x, w, None, dy)[direction]
        other = rng.integers(-4, 5, first.shape).astype(np.float32)
        strict = {**case.geometry, "accuracy": "strict"}
        together = operation(p * first + q * other, *rest, **strict)
        apart = p * operation(first, *rest, **strict) + q * operation(other, *rest, **strict)
        np.testing.assert_array_equal(together, apart, err_msg=direction)


@examples
@given(case=cases(), seed=seeds)
def test_gradients_are_adjoint(case, seed, engine):
    """<dy, conv(x, w)> == <dx, x> == <dw, w>, exactly, on whole numbers."""
    x, w, _, dy = case.integers(np.random.default_rng(seed))
    strict = {**case.geometry, "accuracy": "strict"}
    forward = dot(dy, tapwise.conv(x, w, **strict))
    assert dot(tapwise.conv_grad_input(dy, w, case.x_shape, **strict), x) == forward
    assert dot(tapwise.conv_grad_weight(x, dy, case.w_shape, **strict), w) == forward


@examples
@given(seed=seeds, k=st.integers(1, 5), size=st.integers(5, 20), stride=st.integers(1, 3), shift=st.integers(1, 6))
def test_translation(seed, k, size, stride, shift, engine):
    """Moving x by shift strides moves y by shift, exactly, on whole numbers: no place is special, whatever its tile."""
    x, w, _, _ = Case("square", (1, size, size, 3), (k, k), 5).integers(np.random.default_rng(seed))
    y = tapwise.conv(x, w, strides=stride, accuracy="strict")
    x = np.pad(x, ((0, 0), (shift * stride, 0), (shift * stride, 0), (0, 0)))
    moved = tapwise.conv(x, w, strides=stride, accuracy="strict")
    np.testing.assert_array_equal(moved[:, shift:, shift:], y)
