"""The forms that arguments may take, and what is refused before anything is written: argument, rule and value."""

import array

import numpy as np
import pytest

import tapwise
from cases import DIRECTIONS, named

GEOMETRY = {"padding": 1, "strides": 2}
X_SHAPE, W_SHAPE, Y_SHAPE = (2, 7, 8, 4), (3, 3, 4, 6), (2, 4, 4, 6)


@pytest.fixture
def arrays(rng):
    return {
        "x": rng.standard_normal(X_SHAPE, np.float32),
        "w": rng.standard_normal(W_SHAPE, np.float32),
        "b": rng.standard_normal(6, np.float32),
        "dy": rng.standard_normal(Y_SHAPE, np.float32),
    }


def views(w):
    """Strided views and what they equal; w (*k, ci, co) or (co, ci, *k)."""
    axes = tuple(reversed(range(w.ndim)))
    wide = np.repeat(w, 2, axis=-1)
    yield "transposed", np.ascontiguousarray(w.transpose(axes)).transpose(axes), w
    yield "every other element", wide[..., ::2], w
    yield "backwards", np.ascontiguousarray(w[::-1, ::-1, ..., ::-1])[::-1, ::-1, ..., ::-1], w
    yield "inside a larger array", np.pad(w, [(1, 2)] * w.ndim)[(slice(1, -2),) * w.ndim], w
    yield "one kernel for all", np.broadcast_to(w[:1], w.shape), np.repeat(w[:1], w.shape[0], axis=0)


@pytest.mark.parametrize(
    "case", named("prime channels", "groups of 8", "depthwise, 19 channels", "1x1", "1-D", "3-D"), ids=str
)
def test_weights_may_be_any_view(case, engine, rng):
    """As from a contiguous copy, in the passes that read w; whole numbers, so that equality is exact."""
    x, w, b, dy = case.integers(rng)
    for name, view, copy in views(w):
        np.testing.assert_array_equal(view, copy)
        for algorithm in case.algorithms("forward"):
            options = {"algorithm": algorithm, **case.geometry}
            got, want = tapwise.conv(x, view, b, **options), tapwise.conv(x, copy, b, **options)
            np.testing.assert_array_equal(got, want, err_msg=f"{name}, {algorithm}")
        for algorithm in case.algorithms("grad_input"):
            options = {"algorithm": algorithm, **case.geometry}
            got, want = (tapwise.conv_grad_input(dy, v, case.x_shape, **options) for v in (view, copy))
            np.testing.assert_array_equal(got, want, err_msg=f"{name}, {algorithm}")


@pytest.mark.parametrize(
    "case",
    named("batch of 5", "several tasks a thread", "depthwise, multiplier 3, strided", "groups of 8", "3-D"),
    ids=str,
)
@pytest.mark.parametrize("direction", ["forward", "grad_input"])
def test_strict_bits_do_not_depend_on_the_batch(case, direction, engine, rng):
    """With accuracy="strict" an image has the same bits alone, in a part of the batch and in the whole (gate 19)."""
    _, operation, images, w, *rest = case.passes(*case.arrays(rng))[direction]

    def run(algorithm, *parts):
        shapes = [[(len(part), *rest[0][1:])] if direction == "grad_input" else rest for part in parts]
        options = {"algorithm": algorithm, "accuracy": "strict", **case.geometry}
        return np.concatenate([operation(p, w, *shape, **options) for p, shape in zip(parts, shapes, strict=True)])

    for algorithm in ("auto", *case.algorithms(direction)):
        whole = run(algorithm, images)
        np.testing.assert_array_equal(run(algorithm, *(image[None] for image in images)), whole, err_msg=algorithm)
        np.testing.assert_array_equal(run(algorithm, images[:1], images[1:]), whole, err_msg=algorithm)


class OnlyDLPack:
    """What another library's array shows of itself."""

    def __init__(self, a):
        self._array = a

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("foreign", [OnlyDLPack, memoryview], ids=["DLPack", "buffer protocol"])
def test_arrays_of_other_libraries(foreign, arrays, engine):
    """Inputs and out, without a copy: out is written in place."""
    x, w, b, dy = arrays.values()
    want = tapwise.conv(x, w, b, **GEOMETRY)
    np.testing.assert_array_equal(tapwise.conv(foreign(x), foreign(w), foreign(b), **GEOMETRY), want)
    memory = np.full(Y_SHAPE, np.nan, np.float32)
    tapwise.conv(x, w, b, out=foreign(memory), **GEOMETRY)
    np.testing.assert_array_equal(memory, want)
    dx, dw = tapwise.conv_grad_input(dy, w, X_SHAPE, **GEOMETRY), tapwise.conv_grad_weight(x, dy, W_SHAPE, **GEOMETRY)
    np.testing.assert_array_equal(tapwise.conv_grad_input(foreign(dy), foreign(w), X_SHAPE, **GEOMETRY), dx)
    np.testing.assert_array_equal(tapwise.conv_grad_weight(foreign(x), foreign(dy), W_SHAPE, **GEOMETRY), dw)


def test_groups_are_read_off_the_shapes(engine, rng):
    x, w = rng.standard_normal((1, 5, 6, 8), np.float32), rng.standard_normal((3, 3, 2, 12), np.float32)
    np.testing.assert_array_equal(tapwise.conv(x, w), tapwise.conv(x, w, groups=4))


def not_written(**changes):
    """An out of Y_SHAPE's size that keeps what it held."""
    out = np.full(Y_SHAPE, 7, np.float32)
    for name, value in changes.items():
        setattr(out.flags, name, value)
    return out


REFUSED = {
    "x of another dtype": ({"x": np.zeros(X_SHAPE, np.int32)}, TypeError, "x must be .*float32.*, got int32"),
    "w of another dtype": ({"w": np.zeros(W_SHAPE, np.int64)}, TypeError, "w must be float32, got int64"),
    "a list": ({"x": [[1.0]]}, TypeError, "x must be an array .*, got list"),
    "rank": ({"x": np.zeros((7, 8), np.float32)}, ValueError, r"x must have 1, 2 or 3 spatial dimensions.*\(7, 8\)"),
    "rank of w": ({"w": np.zeros((3, 4, 6), np.float32)}, ValueError, r"w must have 4 dimensions.*\(3, 4, 6\)"),
    "channels": (
        {"w": np.zeros((3, 3, 3, 6), np.float32)},
        ValueError,
        "w must have ci // groups input channels, got 3 .*4",
    ),
    "channels of a group": ({"groups": 2}, ValueError, "w must have ci // groups = 2 input channels, got 4"),
    "groups that don't divide": ({"groups": 3}, ValueError, "groups must divide ci and co, got groups=3, ci=4, co=6"),
    "no groups": ({"groups": 0}, ValueError, "groups must be >= 1, got 0"),
    "zero stride": ({"strides": 0}, ValueError, "strides must be >= 1, got 0"),
    "negative dilation": ({"dilation": (1, -2)}, ValueError, "dilation must be >= 1, got -2"),
    "strides of another rank": (
        {"strides": (1, 1, 1)},
        ValueError,
        r"strides must be .* 2 spatial axes, got \(1, 1, 1\)",
    ),
    "a fraction": ({"strides": 1.5}, TypeError, "strides must be an integer, got 1.5"),
    "size 0": (
        {"x": np.zeros((2, 0, 8, 4), np.float32)},
        ValueError,
        r"x_shape must have sizes >= 1.*, got \(2, 0, 8, 4\)",
    ),
    "no padding of that name": ({"padding": "full"}, ValueError, "padding must be .*, got 'full'"),
    "padding of another rank": (
        {"padding": (1, 1, 1)},
        ValueError,
        r"padding must be .* 2 spatial axes.*got \(1, 1, 1\)",
    ),
    "causal in 2-D": ({"padding": "causal"}, ValueError, 'padding "causal" must have 1 spatial dimension, got 2'),
    "negative padding before": ({"padding": ((-1, 0), (0, 0))}, ValueError, "padding before must be >= 0, got -1"),
    "kernel beyond the input": (
        {"dilation": 5},
        ValueError,
        "kernel must not be larger than the padded input, .*3.*5.*7",
    ),
    "data format": ({"data_format": "NHWC"}, ValueError, "data_format must be .*, got 'NHWC'"),
    "algorithm": ({"algorithm": "fft"}, ValueError, "algorithm must be one of auto, direct, im2col.*, got 'fft'"),
    "accuracy": ({"accuracy": "low"}, ValueError, "accuracy must be one of .*, got 'low'"),
    "activation": ({"activation": "swish"}, ValueError, "activation must be .*, got 'swish'"),
    "b": ({"b": np.zeros(5, np.float32)}, ValueError, r"b must have shape \(6,\), got \(5,\)"),
    "residual": (
        {"residual": np.zeros((2, 4, 4, 5), np.float32)},
        ValueError,
        r"residual must have shape .*, got \(2, 4, 4, 5\)",
    ),
    "strided x": (
        {"x": np.zeros((2, 7, 8, 8), np.float32)[..., ::2]},
        ValueError,
        "x must be C-contiguous, got strides",
    ),
    "Fortran order": ({"x": np.zeros(X_SHAPE, np.float32, order="F")}, ValueError, "x must be C-contiguous"),
    "out of another shape": (
        {"out": np.zeros((2, 4, 4, 5), np.float32)},
        ValueError,
        r"out must have shape \(2, 4, 4, 6\), got",
    ),
    "out of another dtype": ({"out": np.zeros(Y_SHAPE)}, TypeError, "out must be float32, got float64"),
    "read-only out": (
        {"out": not_written(writeable=False)},
        ValueError,
        "out must be writeable, got a read-only array",
    ),
    "strided out": ({"out": np.zeros((2, 4, 4, 12), np.float32)[..., ::2]}, ValueError, "out must be C-contiguous"),
}


@pytest.mark.parametrize(("change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_conv_refuses(change, error, message, arrays, engine):
    """... and leaves out as it was."""
    out = not_written()
    arguments = {**{name: arrays[name] for name in "xwb"}, **GEOMETRY, "out": out, **change}
    with pytest.raises(error, match=message):
        tapwise.conv(arguments.pop("x"), arguments.pop("w"), arguments.pop("b"), **arguments)
    np.testing.assert_array_equal(out, 7)


@pytest.mark.parametrize("name", ["x", "w", "b", "residual"])
def test_out_may_not_overlap_an_input(name, arrays, engine):
    memory = np.zeros(1000, np.float32)
    shapes = {"x": X_SHAPE, "w": W_SHAPE, "b": (6,), "residual": Y_SHAPE}
    overlapped = memory[100 : 100 + int(np.prod(shapes[name]))].reshape(shapes[name])
    arguments = {**{n: arrays[n] for n in "xwb"}, name: overlapped}
    out = memory[105 : 105 + int(np.prod(Y_SHAPE))].reshape(Y_SHAPE)
    with pytest.raises(ValueError, match=f"out must not overlap {name}"):
        tapwise.conv(arguments.pop("x"), arguments.pop("w"), arguments.pop("b"), **arguments, **GEOMETRY, out=out)
    np.testing.assert_array_equal(memory, 0)


def test_gradients_refuse(arrays, engine):
    x, w, _, dy = arrays.values()
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 4, 6\), got \(2, 7, 8, 6\)"):
        tapwise.conv_grad_input(np.zeros((2, 7, 8, 6), np.float32), w, X_SHAPE, **GEOMETRY)
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 4, 6\), got \(2, 4, 4, 4\)"):
        tapwise.conv_grad_weight(x, np.zeros((2, 4, 4, 4), np.float32), W_SHAPE, **GEOMETRY)
    with pytest.raises(TypeError, match="dy must be float32, got float64"):
        tapwise.conv_grad_weight(x, dy.astype(np.float64), W_SHAPE, **GEOMETRY)
    with pytest.raises(ValueError, match="out must not overlap dy"):
        tapwise.conv_grad_bias(dy, out=dy.reshape(-1)[:6])
    with pytest.raises(ValueError, match="dy must be C-contiguous"):
        tapwise.conv_grad_input(dy.transpose(0, 2, 1, 3), w, X_SHAPE, **GEOMETRY)


@pytest.mark.parametrize("x_shape", [(2**40, 2**30, 8, 4), (2, 2**62, 8, 4), (2**31, 2**31, 2**31, 2**31)])
def test_sizes_whose_product_overflows(x_shape, arrays, engine):
    with pytest.raises(ValueError, match=r"x_shape must hold fewer than 2\*\*60 elements"):
        tapwise.conv_grad_input(arrays["dy"], arrays["w"], x_shape, **GEOMETRY)
    with pytest.raises(ValueError, match=r"x_shape must hold fewer than 2\*\*60 elements"):
        tapwise.plan(x_shape, W_SHAPE, **GEOMETRY)


@pytest.mark.parametrize("name", ["winograd", "winograd-2x2", "winograd-4x4", "winograd-6x6"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_algorithm_that_cannot_do_the_shape(name, direction, arrays, engine):
    """Winograd has no strides: every backend says that it can't, with the reason or the ones it has."""
    passes = {
        "forward": (tapwise.conv, arrays["x"], arrays["w"]),
        "grad_input": (tapwise.conv_grad_input, arrays["dy"], arrays["w"], X_SHAPE),
        "grad_weight": (tapwise.conv_grad_weight, arrays["x"], arrays["dy"], W_SHAPE),
    }
    operation, *arguments = passes[direction]
    with pytest.raises(ValueError, match=rf"algorithm must be .*{name}\b"):
        operation(*arguments, algorithm=name, **GEOMETRY)


def test_backends_that_are_not_there():
    with pytest.raises(ValueError, match=r"backend must be one of .*, got 'mkl'"):
        tapwise.backend.use("mkl")
    with pytest.raises(ValueError, match=r"backend must be one of .*, got 'cuda': not built in this version"):
        tapwise.backend.use("cuda")


def test_arrays_of_the_standard_library(engine):
    """array.array is flat, so it serves as a bias."""
    x, w, b = np.ones((1, 2, 2, 1), np.float32), np.ones((1, 1, 1, 3), np.float32), array.array("f", [1, 2, 3])
    np.testing.assert_array_equal(tapwise.conv(x, w, b), np.broadcast_to([2, 3, 4], (1, 2, 2, 3)))


@pytest.mark.parametrize("n", [1, 16])
def test_results_of_our_own(n, rng):
    """Large ones begin with a cache line, whatever memory NumPy gives; all are new, whole and writeable."""
    x, w = rng.standard_normal((n, 16, 17, 8), np.float32), rng.standard_normal((3, 3, 8, 16), np.float32)
    y = tapwise.conv(x, w)
    dx, pooled = tapwise.conv_grad_input(y, w, x.shape), tapwise.max_pool(x, 2, strides=1)
    for result in (y, dx, pooled):
        assert result.nbytes < 2**16 or result.ctypes.data % 64 == 0
        assert result.flags.carray
    former = y.copy()
    again = tapwise.conv(-x, w)
    assert not np.may_share_memory(again, y)
    np.testing.assert_array_equal(y, former)
    np.testing.assert_array_equal(again, -former)
