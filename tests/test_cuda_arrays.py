"""Arrays on a device: who computes with them, where each must lie, on which stream, and what is said if that fails.

The operations need the emulated kernels, which test_cuda_emulated.py builds; it runs this file with them.
"""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import tapwise
from device_arrays import STREAM, DeviceArray, emulated_device, on_device

EMULATED = "_tapwise_cuda_emulated"


@pytest.fixture
def memory():
    pytest.importorskip(
        EMULATED, reason="the emulated kernels are built by tests/test_cuda_emulated.py, which runs this"
    )
    with emulated_device() as memory:
        yield memory


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


X, W, Y = (2, 7, 8, 6), (3, 3, 6, 10), (2, 7, 8, 10)
POOLED = (2, 3, 4, 6)
CHANNELS = (6,)


def classes(rng):
    return rng.integers(0, 6, 5).astype(np.int32)


def indices(x):
    return tapwise.max_pool(x, 2, return_indices=True)[1]


# name: (the shapes of its arrays, the call)
OPERATIONS = {
    "conv": ((X, W, (10,), Y), lambda x, w, b, r: tapwise.conv(x, w, b, padding="same", residual=r, activation="relu")),
    "conv of a view": ((X, (10, 3, 3, 6)), lambda x, w: tapwise.conv(x, np.moveaxis(w, 0, -1))),
    "conv, channels first": (((2, 6, 7), (4, 6, 3)), lambda x, w: tapwise.conv(x, w, data_format="channels_first")),
    "conv_grad_input": ((Y, W), lambda dy, w: tapwise.conv_grad_input(dy, w, X, padding="same")),
    "conv_grad_weight": ((X, Y), lambda x, dy: tapwise.conv_grad_weight(x, dy, W, padding="same")),
    "conv_grad_weight_bias": (
        (X, Y, Y), lambda x, dy, y: tapwise.conv_grad_weight_bias(x, dy, W, y=y, activation="relu", padding="same"),
    ),
    "conv_grad_bias": ((Y,), tapwise.conv_grad_bias),
    "conv_transpose": (((2, 4, 4, 6), (2, 2, 3, 6)), lambda x, w: tapwise.conv_transpose(x, w, strides=2)),
    "separable_conv": ((X, (3, 3, 1, 6), (1, 1, 6, 4)), tapwise.separable_conv),
    "packed": ((X, W), lambda x, w: tapwise.conv(x, tapwise.pack(w, x_shape=X))),
    "dense": (((5, 6), (6, 4), (4,)), tapwise.dense),
    "dense_grad_input": (((5, 4), (6, 4)), tapwise.dense_grad_input),
    "dense_grad_weight": (((5, 6), (5, 4)), tapwise.dense_grad_weight),
    "dense_grad_bias": (((5, 4),), tapwise.dense_grad_bias),
    "max_pool": ((X,), lambda x: tapwise.max_pool(x, 2, return_indices=True)),
    "max_pool_grad": ((X, POOLED), lambda x, dy: tapwise.max_pool_grad(dy, indices(x), X)),
    "average_pool": ((X,), lambda x: tapwise.average_pool(x, 3, strides=2)),
    "average_pool_grad": ((POOLED,), lambda dy: tapwise.average_pool_grad(dy, X, 2)),
    "global_average_pool": ((X,), tapwise.global_average_pool),
    "global_max_pool": ((X,), tapwise.global_max_pool),
    "adaptive_max_pool": ((X,), lambda x: tapwise.adaptive_max_pool(x, (3, 2))),
    "activation": ((X,), lambda x: tapwise.activation(x, "gelu")),
    "activation_grad": ((X, X), lambda dy, y: tapwise.activation_grad(dy, y, "elu")),
    "activation_grad_bias": ((X, X), lambda dy, y: tapwise.activation_grad_bias(dy, y, "tanh")),
    "add": ((X, X), lambda a, b: tapwise.add(a, b, activation="relu6")),
    "softmax": (((5, 6),), tapwise.softmax),
    "softmax along another axis": ((X,), lambda x: tapwise.softmax(x, axis=1)),
    "softmax_grad": (((5, 6), (5, 6)), tapwise.softmax_grad),
    "softmax_cross_entropy": (((5, 6), classes), tapwise.softmax_cross_entropy),
    "softmax_cross_entropy_grad": (((5, 6), classes), tapwise.softmax_cross_entropy_grad),
    "batch_norm": ((X, CHANNELS, CHANNELS), lambda x, g, b: tapwise.batch_norm(x, g, b, training=True)),
    "batch_norm_grad": (
        (X, X, CHANNELS, CHANNELS), lambda dy, x, g, m: tapwise.batch_norm_grad(dy, x, g, m, np.abs(m) + 1),
    ),
    "dropout": ((X,), lambda x: tapwise.dropout(x, 0.3, 7)),
}  # fmt: skip


def listed(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_run_where_their_arrays_lie(name, rng, memory):
    """Whatever backend is in use, on the caller's stream, with the values of this machine's."""
    shapes, operation = OPERATIONS[name]
    given = [shape(rng) if callable(shape) else floats(rng, *shape) for shape in shapes]
    found, want = listed(operation(*map(on_device, given))), listed(operation(*given))
    assert memory.streams
    assert memory.puts == memory.gets == 0
    for one, other in zip(found, want, strict=True):
        assert type(one) is DeviceArray
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.memory, other, rtol=0, atol=2e-5 * max(1, np.abs(other).max()))


def test_updates_are_in_place(rng, memory):
    w, dw, v = (floats(rng, 5, 3) for _ in range(3))
    there = [on_device(a) for a in (w, dw, v)]
    for arrays in ((w, dw, v), there):
        tapwise.sgd_update(*arrays, learning_rate=0.1, momentum=0.9)
        tapwise.moving_average(arrays[2], arrays[0], 0.7)
    for one, other in zip(there, (w, dw, v), strict=True):
        np.testing.assert_allclose(one.memory, other, atol=1e-6)


def test_the_stream_is_the_callers(rng, memory, monkeypatch):
    given = []
    monkeypatch.setattr(tapwise.backend.for_device().extension, "add", lambda *arguments: given.append(arguments[-1]))
    tapwise.add(on_device(floats(rng, 3)), on_device(floats(rng, 3)))
    assert given == [STREAM]


def test_another_librarys_arrays_are_taken_without_a_copy(rng, memory):
    x = floats(rng, 4)

    class Lent:
        """As PyTorch's: DLPack, which the backend leaves to CuPy."""

        def __init__(self, x):
            self.lent = on_device(x)

        def __dlpack_device__(self):
            return 2, 0

    out = on_device(np.empty(4, np.float32))
    assert tapwise.relu(Lent(x), out=out) is out
    np.testing.assert_array_equal(out.memory, np.maximum(x, 0))


class Refused:
    """As PyTorch's array that wants gradients."""

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **options):
        raise BufferError("wants gradients")


def test_one_that_cant_be_taken_is_named(memory):
    with pytest.raises(TypeError, match=r"^x must be an array that CuPy can take, got Refused"):
        tapwise.relu(Refused())


REFUSED = {
    "w must be float32": lambda x, w: tapwise.conv(x, w.astype(np.float64)),
    "x must be float32": lambda x, w: tapwise.conv(x.astype(np.float16), w),
    "x must be C-contiguous": lambda x, w: tapwise.conv(np.moveaxis(x, 1, 2), w),
    "out must not overlap x": lambda x, w: tapwise.conv(x, w[:1, :1, :, :6], out=x),
    "out must have shape": lambda x, w: tapwise.conv(x, w, out=on_device(np.empty((1, 1), np.float32))),
    "out must be x or apart": lambda x, w: tapwise.relu(x.reshape(-1)[1:], out=x.reshape(-1)[:-1]),
    "algorithm winograd-4x4 can't|must be": lambda x, w: tapwise.conv(x, w, algorithm="nothing"),
    "labels must be >= 0": lambda x, w: tapwise.softmax_cross_entropy(
        on_device(np.zeros((2, 3), np.float32)), on_device(np.array([0, 3], np.int32))
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_arrays_are_refused_as_elsewhere(message, rng, memory):
    with pytest.raises((TypeError, ValueError), match=message):
        REFUSED[message](on_device(floats(rng, *X)), on_device(floats(rng, *W)))


def test_traces_show_them(rng, memory):
    with tapwise.trace() as trace:
        tapwise.relu(on_device(floats(rng, 3)))
    assert [record.name for record in trace.records] == ["activation"]


MIXED = {
    "got w on the device, x in": lambda x, w: tapwise.conv(x, on_device(w)),
    "got x on the device, w in": lambda x, w: tapwise.conv(on_device(x), w),
    "got x and w on the device, b in": lambda x, w: tapwise.conv(on_device(x), on_device(w), x[0, 0, 0]),
    "got x and w on the device, out in": lambda x, w: tapwise.conv(on_device(x), on_device(w), out=x),
    "got dy on the device, indices in": lambda x, w: tapwise.max_pool_grad(on_device(x), x, x.shape),
    "got gamma on the device, x and beta in": lambda x, w: tapwise.batch_norm(x, on_device(x), x),
    "got out on the device, x in": lambda x, w: tapwise.relu(x, out=on_device(x)),
}


@pytest.mark.parametrize("message", MIXED)
def test_arrays_must_lie_together(message, rng):
    """Told by name before anything is loaded or computed, with a device or without."""
    with pytest.raises(TypeError, match=message):
        MIXED[message](floats(rng, *X), floats(rng, *W))


def test_host_arrays_are_refused_by_the_devices_backend(rng, memory):
    with tapwise.backend.use("cuda"):
        assert tapwise.backend.name() == "cuda"
        with pytest.raises(TypeError, match=r"^x must be on the device, where the backend cuda works, got ndarray"):
            tapwise.relu(floats(rng, 3))
        assert type(tapwise.relu(on_device(floats(rng, 3)))) is DeviceArray


def test_without_the_kernels_the_reason_is_told(rng):
    if importlib.util.find_spec("tapwise.backend._cuda"):
        pytest.skip("the kernels for NVIDIA devices are built here")
    with pytest.raises(ValueError, match=r"no kernels for NVIDIA devices: pip install . -C cmake.define.TAPWISE_CUDA"):
        tapwise.backend.use("cuda")
    with pytest.raises(ValueError, match="no kernels for NVIDIA devices"):
        tapwise.relu(on_device(floats(rng, 3)))


# What importing backend.cuda meets: the extension, with its function device_count, and whether CuPy is there.
MISSING = {
    "no driver for NVIDIA devices, or no device: cudaGetDeviceCount: CUDA driver version is insufficient": (
        "def device_count(): raise RuntimeError('cudaGetDeviceCount: CUDA driver version is insufficient')", True,
    ),
    "this machine has no NVIDIA device": ("def device_count(): return 0", True),
    'CuPy holds the arrays on the device: pip install "tapwise[cuda]"': ("def device_count(): return 1", False),
    "libcudart.so.13 not found: pip install nvidia-cuda-runtime": (
        "raise ImportError('libcudart.so.13: cannot open shared object file: No such file or directory')", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", MISSING)
def test_what_is_missing_is_told(reason, tmp_path):
    extension, has_cupy = MISSING[reason]
    (tmp_path / "_cuda.py").write_text(extension, encoding="utf-8")
    (tmp_path / "cupy.py").write_text("" if has_cupy else "raise ImportError('No module named cupy')", encoding="utf-8")
    program = f"import tapwise.backend as b; b.__path__.append({str(tmp_path)!r}); b.use('cuda')"
    environment = {"PYTHONPATH": f"{tmp_path}:{':'.join(filter(None, sys.path))}", "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert f"ValueError: backend must be one of native, numba, reference here, got 'cuda': {reason}" in result.stderr
