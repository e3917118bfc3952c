"""What only the Numba backend has: kernels kept on disk, threads of its own, blocks for BLAS."""

import json
import os
import signal
import subprocess
import sys
import threading
from math import prod
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise.backend import Update
from tapwise.geometry import adaptive_geometry, conv_geometry, pool_geometry

pytest.importorskip("numba", reason="pip install numba")
from tapwise.backend import numba as backend
from tapwise.backend.numba import im2col, threads
from tapwise.backend.numba.blas import multiply
from tapwise.backend.numba.shape import conv_shape

CHILDREN = Path(__file__).parent / "children"


@pytest.fixture(autouse=True)
def on_numba():
    with tapwise.backend.use("numba"):
        yield


def test_kernels_are_compiled_once_for_all_processes(tmp_path):
    """Gate 10: importing compiles nothing, the first call compiles, another process finds it all on disk."""

    def run():
        command = (sys.executable, "-W", "error", CHILDREN / "numba_cache.py")
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    first, second = run(), run()
    assert first["imported"] == second["imported"] == 0
    assert first["compiled"] > 10
    assert second["compiled"] == 0
    assert second["from disk"] > 5  # those that Python calls; the ones they call are inside


def signatures():
    modules = [module for name, module in sys.modules.items() if name.startswith(f"{backend.__name__}.")]
    kernels = [value for module in modules for value in vars(module).values() if hasattr(value, "signatures")]
    return sum(len(kernel.signatures) for kernel in kernels)


def test_read_only_arrays_compile_nothing_more(rng):
    """To Numba a read-only array is of another type; one for each input would be another compilation each."""
    x, w, b = (rng.standard_normal(s, np.float32) for s in ((2, 6, 6, 8), (3, 3, 8, 16), (16,)))

    def passes():
        y = tapwise.conv(x, w, b, padding=1)
        residual = y.copy()
        residual.flags.writeable = x.flags.writeable
        for algorithm in ("direct", "im2col"):
            y = tapwise.conv(x, w, b, padding=1, residual=residual, algorithm=algorithm)
            tapwise.conv_grad_input(residual, w, x.shape, padding=1, algorithm=algorithm)
            tapwise.conv_grad_weight(x, residual, w.shape, padding=1, algorithm=algorithm)
        tapwise.max_pool(x, 2)
        return y

    want, before = passes(), signatures()
    for array in (x, w, b):
        array.flags.writeable = False
    np.testing.assert_array_equal(passes(), want)
    assert signatures() == before


X = (3, 40, 41, 24)
POOL = pool_geometry(X, 3, 2, 1, 1, True, True, "channels_last")
POOL_FIRST = pool_geometry(X, 3, 2, 1, 1, True, True, "channels_first")
ADAPTIVE = adaptive_geometry(X, (7, 5), "channels_last")


def empty(*shapes):
    return [np.empty(shape, np.float32) for shape in shapes]


def pooling(p, x):
    y, y2, dx, dx2 = empty(p.y_shape, p.y_shape, X, X)
    indices = np.empty(p.y_shape, np.int32)
    backend.max_pool(x, y, indices, p)
    backend.max_pool_grad(y, indices, dx, p)
    backend.average_pool(x, y2, p)
    backend.average_pool_grad(y2, dx2, p)
    return y, indices, dx, y2, dx2


def normalization(x, channels_last):
    channels = X[-1] if channels_last else X[1]
    mean, variance, dgamma, dbeta, db, gamma = empty(*[channels] * 6)
    y, dx = empty(X, X)
    gamma[:] = 1.5
    backend.batch_norm_statistics(x, mean, variance, channels_last)
    backend.batch_norm(x, gamma, mean, mean, variance, x, y, 1e-3, "relu", 0.0, channels_last)
    backend.batch_norm_grad(y, x, gamma, mean, variance, y, None, dx, None, dgamma, dbeta, 1e-3, True, channels_last)
    backend.conv_grad_bias(x, db, channels_last)
    return mean, variance, y, dx, dgamma, dbeta, db


def losses(x):
    rows = x.reshape(-1, X[-1])
    y, dx, dlogits = empty(*[rows.shape] * 3)
    loss, one = empty(len(rows), len(rows))
    one[:] = 1
    labels = np.arange(len(rows), dtype=np.int32) % X[-1]
    backend.softmax(rows, y)
    backend.softmax_grad(rows, y, dx)
    backend.softmax_cross_entropy(rows, labels, loss)
    backend.softmax_cross_entropy_grad(rows, y, one, dlogits)
    return y, dx, loss, dlogits


def updates(x):
    w, m, v, dropped = x.copy(), x * 0, x * 0, x.copy()
    adam = Update("adam", 0.1, rate_1=0.1, rate_2=0.001, epsilon=1e-7, average_rate=0.5)
    backend.optimizer_update(adam, [w], [x], [m], [v], [x * 0], [1.0])
    backend.optimizer_update(Update("sgd", 0.1, momentum=0.9, nesterov=True), [w], [x], [m], [], [], [1.0])
    backend.optimizer_update(Update("rmsprop", 0.1, rate_2=0.1), [w], [x], [], [v], [], [1.0])
    backend.square_sums([x])
    backend.moving_average(m, x, 0.9)
    backend.dropout(x, dropped, 0.5, 7)
    backend.activation_grad(x, dropped, x, dropped, "gelu", 0.0)
    return w, m, v, dropped


OPERATIONS = {
    "pooling": lambda x: pooling(POOL, x),
    "pooling, channels first": lambda x: pooling(POOL_FIRST, x),
    "adaptive pooling": lambda x: pooling(ADAPTIVE, x),
    "normalization": lambda x: normalization(x, True),
    "normalization, channels first": lambda x: normalization(x, False),
    "losses": losses,
    "updates": updates,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_bits_do_not_depend_on_threads(name, rng):
    """Gate 19, for what isn't a convolution: chunks depend on shapes only."""
    x = rng.standard_normal(X, np.float32)
    with tapwise.threads.set(1):
        alone = OPERATIONS[name](x)
    for count in (2, 3, 4):
        with tapwise.threads.set(count):
            for got, want in zip(OPERATIONS[name](x), alone, strict=True):
                np.testing.assert_array_equal(got, want, err_msg=f"{count} threads")


def test_parallel_for_covers_the_range_in_chunks_of_the_grain():
    with tapwise.threads.set(4):
        for total, grain in ((0, 3), (1, 3), (3, 3), (10, 3), (1000, 7)):
            taken = []
            threads.parallel_for(total, grain, lambda begin, end, taken=taken: taken.append((begin, end)))
            assert sorted(taken) == [(begin, min(begin + grain, total)) for begin in range(0, total, grain)]


def test_parallel_for_uses_threads_but_not_when_nested():
    """Two chunks meet at a barrier, so two threads run them; a nested loop stays on the thread that reached it."""
    barrier, callers = threading.Barrier(2), []

    def inner(begin, end):
        callers.append((threading.get_ident(), outer_of.value))

    outer_of = threading.local()

    def outer(begin, end):
        barrier.wait(timeout=30)
        outer_of.value = threading.get_ident()
        threads.parallel_for(4, 1, inner)

    with tapwise.threads.set(2):
        threads.parallel_for(2, 1, outer)
    assert len(callers) == 8
    assert all(thread == outer_thread for thread, outer_thread in callers)
    assert len({thread for thread, _ in callers}) == 2


def test_a_second_caller_does_not_wait_for_the_first():
    """While one caller holds the pool, another runs its chunks itself, in order."""
    inside, go_on, order = threading.Event(), threading.Event(), []

    def hold(begin, end):
        inside.set()
        assert go_on.wait(timeout=30)

    with tapwise.threads.set(2):
        first = threading.Thread(target=threads.parallel_for, args=(2, 1, hold))
        first.start()
        assert inside.wait(timeout=30)
        threads.parallel_for(3, 1, lambda begin, end: order.append((begin, threading.get_ident())))
        go_on.set()
        first.join()
    assert order == [(begin, threading.get_ident()) for begin in range(3)]


def test_an_error_in_a_chunk_reaches_the_caller():
    def fail(begin, end):
        raise MemoryError(f"chunk {begin}")

    with tapwise.threads.set(4):
        with pytest.raises(MemoryError, match="chunk"):
            threads.parallel_for(100, 1, fail)
        done = []
        threads.parallel_for(100, 1, lambda begin, end: done.append(begin))
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3),
        ({"/proc/self/cgroup": "0::/a", "/sys/fs/cgroup/a/cpu.max": "50000 100000"}, 1),
        ({"/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_threads_follow_the_quota_of_the_cgroup(files, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_words", lambda path: files.get(str(path), "").split())
    assert threads.machine_threads.__wrapped__() == cores


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: run it on Linux or macOS")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_products():
    """OpenBLAS's locks are free in a child, even if another thread multiplies without a pause."""
    a = np.ones((300, 300), np.float32)
    done = threading.Event()

    def keep_multiplying():
        product = np.empty_like(a)
        while not done.is_set():
            multiply(a, a, product)

    worker = threading.Thread(target=keep_multiplying)
    worker.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(30)
                product = np.empty_like(a)
                multiply(a, a, product)
                os._exit(int(product[0, 0] != 300))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        worker.join()


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        ((3, 5, 7, 2), (3, 3, 2, 4)),
        ((20, 7, 7, 512), (3, 3, 512, 512)),
        ((2, 224, 224, 64), (3, 3, 64, 64)),
        ((2, 100_000, 3), (5, 3, 8)),
        ((3, 2, 2, 4096), (2, 2, 4096, 600)),
    ],
)
def test_blocks_cover_the_pixels_within_their_bounds(x_shape, w_shape, join):
    c = conv_shape(conv_geometry(x_shape, w_shape, 1, "same", 1, 1, "channels_last"))
    cut = list(im2col.blocks(c, 4, join))
    covered = [pixel for block in cut for pixel in (block.first, block.last)]
    assert covered[0] == 0
    assert covered[-1] == c.n * c.pixels
    assert covered[1:-1:2] == covered[2::2]
    for block in cut:
        assert block.image * c.pixels <= block.first < block.last <= block.end * c.pixels
        assert block.end - block.image == 1 or block.last - block.first == (block.end - block.image) * c.pixels
        assert (block.last - block.first) * c.depth * 4 <= im2col.MOST_BYTES


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_share_a_product_unless_strict(data_format, rng):
    """Images of 49 pixels share one by default; with strict, each has the bits that it has alone."""
    last = data_format == "channels_last"
    x = rng.standard_normal((5, 7, 7, 256) if last else (5, 256, 7, 7), np.float32)
    w = rng.standard_normal((3, 3, 256, 192) if last else (192, 256, 3, 3), np.float32)
    options = {"padding": "same", "algorithm": "im2col", "data_format": data_format, "accuracy": "strict"}
    c = conv_shape(conv_geometry(x.shape, w.shape, 1, "same", 1, 1, data_format))
    shared = [len(list(im2col.blocks(c, 4, im2col.joins(c, accuracy)))) for accuracy in ("default", "strict")]
    assert shared == [1, 5]
    y = tapwise.conv(x, w, **options)
    np.testing.assert_array_equal(np.concatenate([tapwise.conv(image[None], w, **options) for image in x]), y)
    dx = tapwise.conv_grad_input(y, w, x.shape, **options)
    single = [tapwise.conv_grad_input(image[None], w, (1, *x.shape[1:]), **options) for image in y]
    np.testing.assert_array_equal(np.concatenate(single), dx)


def test_an_axis_of_length_one_costs_nothing():
    """(l, 1) is (1, l): the long axis is the one that kernels vectorise and split along."""
    shapes = ((2, 50, 1, 3), (5, 1, 3, 4)), ((2, 1, 50, 3), (1, 5, 3, 4)), ((2, 50, 3), (5, 3, 4))
    c = [conv_shape(conv_geometry(x, w, 1, "valid", 1, 1, "channels_last")) for x, w in shapes]
    assert c[0] == c[1] == c[2]
    assert c[0].input == (1, 1, 50)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "direction", "algorithm"),
    [
        ((16, 56, 56, 64), (3, 3, 64, 64), "forward", "im2col"),
        ((16, 56, 56, 64), (3, 3, 1, 64), "forward", "direct"),
        ((16, 8, 8, 1), (3, 3, 1, 16), "forward", "direct"),
        ((16, 8, 8, 1), (3, 3, 1, 16), "grad_input", "im2col"),
    ],
)
def test_plan(x_shape, w_shape, direction, algorithm):
    plan = tapwise.plan(x_shape, w_shape, padding="same", direction=direction)
    assert plan.algorithm == algorithm
    assert plan.possible == ("direct", "im2col")
    assert plan.workspace_bytes <= 1 << 24
    if algorithm == "im2col":
        assert plan.workspace_bytes >= 4 * prod(w_shape[:3])


def test_unknown_algorithm():
    g = conv_geometry((1, 4, 4, 1), (3, 3, 1, 1), 1, "valid", 1, 1, "channels_last")
    with pytest.raises(ValueError, match="algorithm must be auto, direct or im2col on the numba backend, got 'fft'"):
        backend.plan(g, "forward", "fft", "default")
