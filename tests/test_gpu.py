"""On an NVIDIA device: convolutions against float64, other operations against this machine's, steps of training,
results that repeat, arrays of other libraries.

pytest -m gpu. Without a device each is skipped with what is missing. TAPWISE_TEST_GPU=emulated, which
test_cuda_emulated.py sets, runs them with the emulated kernels instead. Budget on a device: 2 minutes.
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest

import tapwise
from cases import CASES, DIRECTIONS
from close import assert_within
from device_arrays import emulated_device, on_device
from exact import exact
from test_cuda_arrays import OPERATIONS, floats, listed

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
EMULATED = os.environ.get("TAPWISE_TEST_GPU") == "emulated"


@pytest.fixture(scope="module")
def device():
    """put(array) -> on the device, get(array) -> in this machine's memory."""
    if EMULATED:
        with emulated_device():
            yield SimpleNamespace(put=on_device, get=lambda x: np.array(x.memory))
        return
    try:
        with tapwise.backend.use("cuda"):
            memory = tapwise.backend.current().memory
    except ValueError as error:
        pytest.skip(str(error))
    yield memory


@pytest.fixture(scope="module")
def torch(device):
    torch = pytest.importorskip("torch", reason="pip install torch, with CUDA")
    if not torch.cuda.is_available():
        pytest.skip("this build of PyTorch has no CUDA: pip install torch")
    return torch


def moved(device, arguments):
    return [device.put(a) if isinstance(a, np.ndarray) else a for a in arguments]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_convolutions_are_within_the_bound(case, direction, device, rng):
    terms, operation, *arguments = case.passes(*case.arrays(rng))[direction]
    want, mass = exact(operation, *arguments, **case.geometry)
    with tapwise.backend.use("cuda"):
        algorithms = case.algorithms(direction)
    for algorithm in algorithms:
        got = operation(*moved(device, arguments), algorithm=algorithm, **case.geometry)
        assert_within(device.get(got), want, mass, terms, label=algorithm)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_give_what_they_do_here(name, device, rng):
    """Twice on the device, with the same bits: sums that blocks share are added in order."""
    shapes, operation = OPERATIONS[name]
    given = [shape(rng) if callable(shape) else floats(rng, *shape) for shape in shapes]
    there = moved(device, given)
    want, found, again = (listed(result) for result in (operation(*given), operation(*there), operation(*there)))
    for here, one, other in zip(want, found, again, strict=True):
        one, other = device.get(one), device.get(other)
        np.testing.assert_allclose(one, here, rtol=0, atol=2e-5 * max(1, np.abs(here).max()))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_large_convolutions_repeat(direction, device, rng):
    """Grids of more blocks than a device holds at a time, for races that small ones don't show."""
    n, size = (1, 9) if EMULATED else (32, 57)
    x, w, dy = floats(rng, n, size, size, 40), floats(rng, 3, 3, 40, 72), floats(rng, n, size, size, 72)
    operation, arguments = {
        "forward": (tapwise.conv, (x, w)),
        "grad_input": (tapwise.conv_grad_input, (dy, w, x.shape)),
        "grad_weight": (tapwise.conv_grad_weight, (x, dy, w.shape)),
    }[direction]
    want = operation(*arguments, padding="same", accuracy="strict")
    for algorithm in ("direct", "im2col"):
        there = moved(device, arguments)
        runs = [device.get(operation(*there, padding="same", algorithm=algorithm)) for _ in range(1 if EMULATED else 5)]
        np.testing.assert_allclose(runs[0], want, rtol=0, atol=1e-4 * np.abs(want).max(), err_msg=algorithm)
        for run in runs[1:]:
            np.testing.assert_array_equal(run, runs[0], err_msg=algorithm)


def steps_of_training(x, labels, scale, w, dense, count):
    """Losses of a small CNN, all of whose arrays lie where x does; w and dense are updated."""
    losses = []
    for _ in range(count):
        y = tapwise.conv(x, w, padding="same", activation="relu")
        pooled = tapwise.global_average_pool(y)
        logits = tapwise.dense(pooled, dense)
        losses.append(tapwise.softmax_cross_entropy(logits, labels))
        dlogits = tapwise.softmax_cross_entropy_grad(logits, labels, scale)
        dy = tapwise.global_average_pool_grad(tapwise.dense_grad_input(dlogits, dense), y.shape)
        dy = tapwise.activation_grad(dy, y, "relu")
        tapwise.sgd_update(dense, tapwise.dense_grad_weight(pooled, dlogits), learning_rate=0.5)
        tapwise.sgd_update(w, tapwise.conv_grad_weight(x, dy, w.shape, padding="same"), learning_rate=0.5)
    return losses


def test_steps_of_training_are_the_hosts(device, rng):
    x, w, dense = floats(rng, 16, 8, 8, 3), floats(rng, 3, 3, 3, 8), floats(rng, 8, 4)
    labels, scale = rng.integers(0, 4, 16).astype(np.int32), np.full(16, 1 / 16, np.float32)
    arrays = x, labels, scale, w, dense
    there = [device.get(loss) for loss in steps_of_training(*moved(device, arrays), 8)]
    here = steps_of_training(*arrays, 8)
    assert here[-1].mean() < 0.9 * here[0].mean()
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


@pytest.mark.skipif(EMULATED, reason="streams and other libraries' arrays need a device: pytest -m gpu there")
def test_tensors_are_taken_without_a_copy(torch, device, rng):
    """What is written into a PyTorch tensor given as out= is there."""
    x = floats(rng, 2, 5, 6, 3)
    given, out = torch.from_numpy(x).cuda(), torch.empty(x.shape, device="cuda")
    result = tapwise.relu(given, out=out)
    torch.cuda.synchronize()
    np.testing.assert_array_equal(out.cpu().numpy(), np.maximum(x, 0))
    assert torch.from_dlpack(result).data_ptr() == out.data_ptr()


@pytest.mark.skipif(EMULATED, reason="streams and other libraries' arrays need a device: pytest -m gpu there")
def test_work_is_in_the_order_of_the_callers_stream(device, rng):
    cupy = pytest.importorskip("cupy", reason='pip install "tapwise[cuda]"')
    x, w = floats(rng, 8, 57, 57, 16), floats(rng, 3, 3, 16, 16)
    want = tapwise.conv(x, w)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        there = cupy.asarray(x)
        for _ in range(20):  # each waits for the one before, or takes its input while it is being written
            there += 1
            there -= 1
        got = tapwise.conv(there, cupy.asarray(w))
        stream.synchronize()
    np.testing.assert_allclose(cupy.asnumpy(got), want, rtol=0, atol=1e-4 * np.abs(want).max())
