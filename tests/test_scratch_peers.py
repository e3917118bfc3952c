"""interop.functional against torch.nn.functional, and arrays of PyTorch and JAX through DLPack, in and out."""

import itertools

import numpy as np
import pytest

import tapwise
import tapwise.interop.functional as F

torch = pytest.importorskip("torch", reason="pip install torch==2.13.0")

# ten seconds
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")]
SIZES = (9, 8, 7)


def close(got, want, terms):
    want = want.numpy()
    assert got.shape == want.shape
    bound = terms * np.finfo(np.float32).eps * max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def theirs(name, *arguments, **options):
    given = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    return getattr(torch.nn.functional, name)(*given, **options)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(rank, rng):
    x = rng.standard_normal((2, 4, *SIZES[:rank]), np.float32)
    for k, stride, padding, dilation, groups in itertools.product((1, 2, 3, 4), (1, 2), (0, 1, "same"), (1, 2), (1, 2)):
        if padding == "same" and stride == 2:
            continue
        w, b = rng.standard_normal((6, 4 // groups, *[k] * rank), np.float32), rng.standard_normal(6, np.float32)
        if padding != "same" and min(SIZES[:rank]) + 2 * padding < dilation * (k - 1) + 1:
            continue
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        want = theirs(f"conv{rank}d", x, w, b, **options)
        close(getattr(F, f"conv{rank}d")(x, w, b, **options), want, 8 * 4 * k**rank)
        if padding == "same":
            continue
        dy = rng.standard_normal(tuple(want.shape), np.float32)
        dx = getattr(torch.nn.grad, f"conv{rank}d_input")(x.shape, torch.from_numpy(w), torch.from_numpy(dy), **options)
        close(getattr(F, f"conv{rank}d_input")(x.shape, w, dy, **options), dx, 8 * 6 * k**rank)
        dw = getattr(torch.nn.grad, f"conv{rank}d_weight")(
            torch.from_numpy(x), w.shape, torch.from_numpy(dy), **options
        )
        close(getattr(F, f"conv{rank}d_weight")(x, w.shape, dy, **options), dw, 8 * dy.size)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank, rng):
    x = rng.standard_normal((2, 4, *SIZES[:rank]), np.float32)
    for k, stride, padding, more, dilation, groups in itertools.product((2, 3), (1, 3), (0, 1), (0, 1), (1, 2), (1, 2)):
        if more >= max(stride, dilation):
            continue
        w, b = rng.standard_normal((4, 6 // groups, *[k] * rank), np.float32), rng.standard_normal(6, np.float32)
        options = {
            "stride": stride, "padding": padding, "output_padding": more, "dilation": dilation, "groups": groups,
        }  # fmt: skip
        want = theirs(f"conv_transpose{rank}d", x, w, b, **options)
        close(getattr(F, f"conv_transpose{rank}d")(x, w, b, **options), want, 8 * 4 * k**rank)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling(rank, rng):
    x = rng.standard_normal((2, 3, *SIZES[:rank]), np.float32)
    for k, stride, padding, ceil in itertools.product((2, 3, 4), (None, 1, 3), (0, 1), (False, True)):
        options = {"stride": stride, "padding": padding, "ceil_mode": ceil}
        want, places = theirs(f"max_pool{rank}d", x, k, return_indices=True, **options)
        got, indices = getattr(F, f"max_pool{rank}d")(x, k, return_indices=True, **options)
        np.testing.assert_array_equal(got, want.numpy())
        np.testing.assert_array_equal(indices, places.numpy())
        for include in (False, True):
            own = {**options, "count_include_pad": include}
            close(getattr(F, f"avg_pool{rank}d")(x, k, **own), theirs(f"avg_pool{rank}d", x, k, **own), k**rank)
        if rank > 1:
            own = {**options, "divisor_override": 5}
            close(getattr(F, f"avg_pool{rank}d")(x, k, **own), theirs(f"avg_pool{rank}d", x, k, **own), 4 * k**rank)
    for size in (1, 3, *[(None, 2, 5)[:rank]] * (rank > 1), SIZES[:rank]):
        want = theirs(f"adaptive_avg_pool{rank}d", x, size)
        close(getattr(F, f"adaptive_avg_pool{rank}d")(x, size), want, 8)
        if None not in np.atleast_1d(size):
            want, places = theirs(f"adaptive_max_pool{rank}d", x, size, return_indices=True)
            got, indices = getattr(F, f"adaptive_max_pool{rank}d")(x, size, return_indices=True)
            np.testing.assert_array_equal(got, want.numpy())
            np.testing.assert_array_equal(indices, places.numpy())


def test_the_rest(rng):
    x = rng.standard_normal((5, 4, 6, 3), np.float32) * 3
    for name in ("relu", "relu6", "leaky_relu", "elu", "gelu"):
        close(getattr(F, name)(x), theirs(name, x), 8)
    for name in ("sigmoid", "tanh"):
        close(getattr(F, name)(x), getattr(torch, name)(torch.from_numpy(x)), 8)
    for name, dim in itertools.product(("softmax", "log_softmax"), (0, 1, -1)):
        close(getattr(F, name)(x, dim), theirs(name, x, dim=dim), 16)
    w, b = rng.standard_normal((7, 3), np.float32), rng.standard_normal(7, np.float32)
    close(F.linear(x, w, b), theirs("linear", x, w, b), 16)
    scale, shift = rng.random(4, np.float32), rng.standard_normal(4, np.float32)
    running = [np.zeros(4, np.float32), np.ones(4, np.float32)]
    own = [a.copy() for a in running]
    for training in (True, False):
        want = theirs("batch_norm", x, *running, scale, shift, training=training)
        close(F.batch_norm(x, *own, scale, shift, training=training), want, 64)
        for mine, other in zip(own, running, strict=True):
            close(mine, torch.from_numpy(other), 64)
    logits, labels = rng.standard_normal((6, 5), np.float32), np.array([0, 4, 2, 2, 1, 3])
    for reduction in ("mean", "sum", "none"):
        close(
            F.cross_entropy(logits, labels, reduction), theirs("cross_entropy", logits, labels, reduction=reduction), 32
        )


def test_arrays_of_others_go_in_and_out():
    """PyTorch's memory is read and written in place; JAX's is read; both take our results without a copy."""
    x, w = torch.randn(2, 8, 8, 3), torch.randn(3, 3, 3, 5)
    out = torch.zeros(2, 6, 6, 5)
    want = tapwise.conv(x.numpy(), w.numpy())
    got = tapwise.conv(x, w, out=out)
    np.testing.assert_array_equal(out.numpy(), want)
    back = torch.from_dlpack(got)
    assert back.data_ptr() == got.ctypes.data == out.data_ptr()
    with pytest.raises(TypeError, match="x must be an array in this machine's memory"):
        tapwise.conv(x.requires_grad_(), w)
    model = tapwise.Sequential([tapwise.Input((8, 8, 3)), tapwise.layers.Flatten(), tapwise.layers.Dense(2)])
    np.testing.assert_array_equal(model.predict(x.detach(), verbose=0), model.predict(x.detach().numpy(), verbose=0))
    jax = pytest.importorskip("jax", reason="pip install jax")
    theirs = jax.numpy.asarray(x.detach().numpy())
    np.testing.assert_array_equal(tapwise.conv(theirs, w.numpy()), want)
    np.testing.assert_array_equal(jax.dlpack.from_dlpack(got), want)
