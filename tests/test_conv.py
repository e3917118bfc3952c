"""Every pass of convolution against the float64 reference: each case, algorithm, backend and instruction set.

Inputs lie between NaN fences at odd offsets, outputs start as NaN between canaries.
"""

import numpy as np
import pytest

import tapwise
from cases import CASES, DIRECTIONS, named
from close import Fenced, assert_adjoint, assert_within, bound, dot, fenced_copy
from exact import exact

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def fenced_call(operation, shape, *arguments, label, **options):
    """operation(*arguments, out=...) between fences; the output must be the array given and nothing else be written."""
    fenced = [fenced_copy(a, offset) if isinstance(a, np.ndarray) else a for offset, a in enumerate(arguments, 1)]
    out = Fenced(shape, offset=3)
    result = operation(*fenced, out=out.array, **options)
    assert result is out.array
    out.assert_intact(label)
    return result


@every_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_within_the_bound(case, direction, engine, rng):
    terms, operation, *arguments = case.passes(*case.arrays(rng))[direction]
    want, mass = exact(operation, *arguments, **case.geometry)
    for algorithm in case.algorithms(direction):
        got = fenced_call(operation, want.shape, *arguments, label=algorithm, algorithm=algorithm, **case.geometry)
        assert_within(got, want, mass, terms, label=algorithm)


@every_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_whole_numbers_are_exact(case, direction, engine, rng):
    """Sums of small whole numbers have no rounding, so a missing, doubled or misplaced term shows."""
    _, operation, *arguments = case.passes(*case.integers(rng))[direction]
    want, _ = exact(operation, *arguments, **case.geometry)
    for algorithm in case.algorithms(direction):
        got = operation(*arguments, algorithm=algorithm, **case.geometry)
        np.testing.assert_array_equal(got, want, err_msg=algorithm)


@every_case
def test_gradients_are_adjoint(case, engine, rng):
    """conv is linear in x and in w, so <dy, conv(x, w)> == <dx, x> == <dw, w>."""
    x, w, _, dy = case.arrays(rng)
    strict = {**case.geometry, "accuracy": "strict"}
    y, (_, sizes) = tapwise.conv(x, w, **strict), exact(tapwise.conv, x, w, **case.geometry)
    dx = tapwise.conv_grad_input(dy, w, case.x_shape, **strict)
    dw = tapwise.conv_grad_weight(x, dy, case.w_shape, **strict)
    # All three have one mass, the sum of |dy| |w| |x|; each side adds the error of its own number of terms.
    mass = dot(np.abs(dy), sizes)
    assert_adjoint(dy, y, dx, x, bound(mass, case.terms + case.grad_input_terms), "grad_input")
    assert_adjoint(dy, y, dw, w, bound(mass, case.terms + case.grad_weight_terms), "grad_weight")


@every_case
def test_grad_bias(case, engine, rng):
    *_, dy = case.arrays(rng)
    want, mass = exact(tapwise.conv_grad_bias, dy, data_format=case.data_format)
    out = Fenced((case.co,), offset=1)
    tapwise.conv_grad_bias(fenced_copy(dy, 1), data_format=case.data_format, out=out.array)
    out.assert_intact()
    assert_within(out.array, want, mass, case.grad_weight_terms)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.longdouble], ids=lambda t: t.__name__)
@pytest.mark.parametrize(
    "case", named("prime channels", "groups of 8", "depthwise, multiplier 2", "1-D", "3-D"), ids=str
)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_other_float_types(case, direction, dtype, engine, rng):
    """Float64 on Numba, every float type on the reference; a backend without the type refuses it."""
    terms, operation, *arguments = case.passes(*case.arrays(rng))[direction]
    arguments = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in arguments]
    supported = {"native": (), "numba": (np.float64,), "reference": (np.float64, np.float16, np.longdouble)}
    if dtype not in supported.get(engine.backend, ()):
        with pytest.raises(TypeError, match=f"got {np.dtype(dtype)}"):
            operation(*arguments, **case.geometry)
        return
    got = operation(*arguments, **case.geometry)
    want, mass = exact(operation, *arguments, dtype=np.longdouble, **case.geometry)
    assert got.dtype == dtype
    assert_within(got, want, mass, terms)


@pytest.mark.parametrize("offset", [0, 1, 4], ids=lambda floats: f"y {floats} floats past 64 bytes")
@pytest.mark.parametrize(("channels", "groups"), [(64, 64), (36, 36), (60, 20)], ids=str)
def test_larger_than_the_caches(channels, groups, offset, rng):
    """Depthwise and grouped outputs that go past the caches, at any alignment, are those of a small batch."""
    x = rng.standard_normal((21, 64, 56, channels), np.float32)
    w = rng.standard_normal((3, 3, channels // groups, channels), np.float32)
    memory = np.full(x.size + 32, np.nan, np.float32)
    start = -memory.ctypes.data // 4 % 16 + offset
    y = memory[start : start + x.size].reshape(x.shape)
    tapwise.conv(x, w, padding=1, groups=groups, activation="relu", out=y)
    for image in range(21):
        alone = tapwise.conv(x[image : image + 1], w, padding=1, groups=groups, activation="relu")
        np.testing.assert_array_equal(y[image : image + 1], alone)
    assert np.isnan(memory[:start]).all()
    assert np.isnan(memory[start + x.size :]).all()


@pytest.mark.parametrize(
    ("size", "ci", "co"),
    [(14, 64, 100), (20, 300, 600), (7, 1024, 96), (13, 2048, 40)],
    ids=["tasks of pixels", "blocks outermost", "pixels 4 KiB apart", "the same, more tiles"],
)
def test_pointwise_shared_out(size, ci, co, engine, rng):
    """Every way to share out pixels and outputs covers all of them, with the bits of one thread."""
    x, w = rng.standard_normal((1, size, size, ci), np.float32), rng.standard_normal((1, 1, ci, co), np.float32)
    want, mass = (a.reshape(-1, ci).astype(np.float64) @ b[0, 0] for a, b in ((x, w), (np.abs(x), np.abs(w))))
    found = []
    for threads in (1, 2, 3):
        out = Fenced((1, size, size, co))
        with tapwise.threads.set(threads):
            found.append(tapwise.conv(x, w, out=out.array))
        out.assert_intact(f"{threads} threads")
    assert_within(found[0].reshape(want.shape), want, mass, ci)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
