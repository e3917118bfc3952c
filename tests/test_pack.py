"""pack: the bits of the unpacked call, no copies, any batch, any thread; what doesn't fit is refused."""

import os
import sys
import threading

import numpy as np
import pytest

import tapwise
from cases import CASES, named

X_SHAPE, W_SHAPE = (2, 7, 8, 4), (3, 3, 4, 6)
GEOMETRY = {"strides": 2, "padding": "same"}


def ones(shape):
    return np.ones(shape, np.float32)


def filled(shape, rng):
    return rng.standard_normal(shape, np.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits_as_unpacked(case, engine, rng):
    """For the batch that it was packed for, a larger one and an empty one."""
    x, w, b, dy = case.arrays(rng)
    for algorithm in case.algorithms("forward"):
        packed = tapwise.pack(w, x_shape=case.x_shape, algorithm=algorithm, **case.geometry)
        assert packed.algorithm == algorithm
        for batch in (x, np.concatenate([x, x, x]), x[:0]):
            want = tapwise.conv(batch, w, b, activation="relu", algorithm=algorithm, **case.geometry)
            got = tapwise.conv(batch, packed, b, activation="relu", **case.geometry)
            np.testing.assert_array_equal(got, want, err_msg=algorithm)
    for algorithm in case.algorithms("grad_input"):
        packed = tapwise.pack(w, x_shape=case.x_shape, direction="grad_input", algorithm=algorithm, **case.geometry)
        want = tapwise.conv_grad_input(dy, w, case.x_shape, algorithm=algorithm, **case.geometry)
        got = tapwise.conv_grad_input(dy, packed, case.x_shape, **case.geometry)
        np.testing.assert_array_equal(got, want, err_msg=algorithm)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_transposed(data_format, engine, rng):
    x_shape, w_shape = ((2, 4, 5, 6), (3, 3, 2, 6)) if data_format == "channels_last" else ((2, 6, 4, 5), (6, 2, 3, 3))
    options = {"strides": 2, "padding": "same", "output_padding": 1, "groups": 2, "data_format": data_format}
    x, w, b = (filled(shape, rng) for shape in (x_shape, w_shape, (4,)))
    packed = tapwise.pack(w, x_shape=x_shape, direction="transpose", **options)
    assert packed.x_shape == x_shape
    got = tapwise.conv_transpose(x, packed, b, **options)
    np.testing.assert_array_equal(got, tapwise.conv_transpose(x, w, b, **options))


def test_it_owns_its_memory(engine, rng):
    x, w = filled(X_SHAPE, rng), filled(W_SHAPE, rng)
    want = tapwise.conv(x, w, **GEOMETRY)
    packed = tapwise.pack(w, x_shape=X_SHAPE, **GEOMETRY)
    w[...] = np.nan
    del w
    np.testing.assert_array_equal(tapwise.conv(x, packed, **GEOMETRY), want)


def test_what_it_tells(engine):
    packed = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
    assert (packed.shape, packed.x_shape, packed.dtype) == (W_SHAPE, X_SHAPE, np.float32)
    assert packed.nbytes >= 4 * np.prod(W_SHAPE)
    assert (packed.backend, packed.isa, packed.direction) == (engine.backend, tapwise.isa.name(), "forward")
    assert packed.algorithm == tapwise.plan(X_SHAPE, W_SHAPE, **GEOMETRY).algorithm
    for word in ("3x3x4x6", "2x7x8x4", packed.algorithm, packed.backend, packed.isa, f"{packed.nbytes:,} bytes"):
        assert word in repr(packed)


def test_trace_shows_no_copy(engine):
    x, y = ones(X_SHAPE), ones((2, 4, 4, 6))
    with tapwise.trace() as t:
        packed = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
        tapwise.conv(x, packed, out=y, **GEOMETRY)
    pack, conv = t.records
    assert (pack.name, pack.algorithm, pack.copied_bytes) == ("pack", packed.algorithm, packed.nbytes)
    assert (conv.name, conv.algorithm, conv.shapes["w"]) == ("conv", packed.algorithm, W_SHAPE)
    assert conv.bytes == x.nbytes + packed.nbytes + y.nbytes
    assert conv.copied_bytes == 0


@pytest.mark.parametrize("case", named("several tasks a thread", "depthwise 5x5"), ids=str)
def test_threads_share_it(case, engine, rng):
    x, w, b, _ = case.arrays(rng)
    packed = tapwise.pack(w, x_shape=case.x_shape, **case.geometry)
    want = tapwise.conv(x, w, b, **case.geometry)
    seen = []

    def work():
        for _ in range(20):
            seen.append(np.array_equal(tapwise.conv(x, packed, b, **case.geometry), want))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: run it on Linux or macOS")
@pytest.mark.skipif(sys.platform == "darwin", reason="threads of the system's own forbid fork: run it on Linux")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_use_it(engine, rng):
    x, w = filled((2, 33, 35, 20), rng), filled((3, 3, 20, 40), rng)
    packed = tapwise.pack(w, x_shape=x.shape)
    want = tapwise.conv(x, packed)
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            os._exit(0 if np.array_equal(tapwise.conv(x, packed), want) else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


REFUSED = {
    "strides": ({"strides": 1}, r"w must be packed for strides \(1, 1\), got weights packed for \(2, 2\)"),
    "padding": ({"padding": "valid"}, "w must be packed for padding .*, got weights packed for"),
    "dilation": ({"dilation": 2}, r"w must be packed for .*dilation \(2, 2\)|w must be packed for padding"),
    "a larger image": ({"x": ones((2, 9, 8, 4))}, r"w must be packed for .*\(9, 8, 4\), got .* \(7, 8, 4\)"),
    "channels": ({"x": ones((2, 7, 8, 8))}, r"w must be packed for an image of shape \(7, 8, 8\), got .*\(7, 8, 4\)"),
    "algorithm": ({"algorithm": "winograd"}, "algorithm must be auto or that of the packed w, .*, got 'winograd'"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_another_geometry_is_refused(change, message, engine):
    packed = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
    out = np.full((2, 4, 4, 6), 7, np.float32)
    arguments = {"x": ones(X_SHAPE), **GEOMETRY, **change}
    with pytest.raises(ValueError, match=message):
        tapwise.conv(arguments.pop("x"), packed, out=out, **arguments)
    np.testing.assert_array_equal(out, 7)


def test_another_dtype_is_refused(engine):
    packed = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
    with pytest.raises(TypeError, match=r"(w|x) must be float.*, got float"):
        tapwise.conv(np.ones(X_SHAPE), packed, **GEOMETRY)


def test_another_operation_is_refused(engine):
    x, dy = ones(X_SHAPE), ones((2, 4, 4, 6))
    forward = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
    backward = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, direction="grad_input", **GEOMETRY)
    with pytest.raises(ValueError, match=r"w must be packed for conv_grad_input, got weights packed for conv$"):
        tapwise.conv_grad_input(dy, forward, X_SHAPE, **GEOMETRY)
    with pytest.raises(ValueError, match=r"w must be packed for conv, got weights packed for conv_grad_input"):
        tapwise.conv(x, backward, **GEOMETRY)
    with pytest.raises(
        ValueError, match=r"w must be packed for conv_transpose, got weights packed for conv_grad_input"
    ):
        tapwise.conv_transpose(dy, backward, **GEOMETRY)


def test_another_engine_is_refused(engine):
    packed = tapwise.pack(ones(W_SHAPE), x_shape=X_SHAPE, **GEOMETRY)
    other = "reference" if engine.backend != "reference" else tapwise.backend.available()[0]
    with (
        tapwise.backend.use(other),
        pytest.raises(ValueError, match=f"w must be packed for {other} .* {engine.backend}"),
    ):
        tapwise.conv(ones(X_SHAPE), packed, **GEOMETRY)
    levels = [level for level in tapwise.isa.available() if level != tapwise.isa.name()]
    for level in levels:
        with tapwise.isa.use(level), pytest.raises(ValueError, match=f"w must be packed for native .{level}"):
            tapwise.conv(ones(X_SHAPE), packed, **GEOMETRY)


def test_pack_refuses(engine):
    w = ones(W_SHAPE)
    with pytest.raises(ValueError, match=r"w must have ci // groups input channels, got 4 for ci=5"):
        tapwise.pack(w, x_shape=(2, 7, 8, 5))
    with pytest.raises(ValueError, match=r"direction must be one of .*, got 'grad_weight'"):
        tapwise.pack(w, x_shape=X_SHAPE, direction="grad_weight")
    with pytest.raises(ValueError, match=r"output_padding must be given with direction transpose only"):
        tapwise.pack(w, x_shape=X_SHAPE, output_padding=1)
    with pytest.raises(TypeError, match=r"w must be .*float32.*, got int16"):
        tapwise.pack(np.ones(W_SHAPE, np.int16), x_shape=X_SHAPE)
    with pytest.raises(ValueError, match=r"algorithm must be one of .*, got 'fft'"):
        tapwise.pack(w, x_shape=X_SHAPE, algorithm="fft")
