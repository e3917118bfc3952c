"""What users of other engines complain of, seen from outside in other processes: threads, forks, memory, imports.

Numbers are those of the gates in the project's contract.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tapwise
from cases import named
from engines import ENGINES, FASTEST

CHILDREN = Path(__file__).parent / "children"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc: run it on Linux")
fastest = pytest.mark.parametrize("engine", FASTEST, ids=str)


def run(*command, engine=None, limit=120, **environment):
    """Standard output of a new interpreter, in which warnings are errors; fails if it does, or hangs past the limit."""
    environment = {**os.environ, **(engine.environment if engine else {}), **environment}
    command = [sys.executable, "-W", "error", *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            kill_session(process)
            pytest.fail(f"hung for {limit} s: {' '.join(command)}")
    assert process.returncode == 0, f"exit {process.returncode}\n{output}{errors}"
    return output


def kill_session(process):
    """The process and its children, which would hold on to the pipes and the processors."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


@on_linux
@fastest
def test_threads_are_few_quiet_and_not_openmp(engine):
    """Gate 1: threads start at the first parallel call, sleep when idle, and serve callers that come at once."""
    seen = json.loads(run(CHILDREN / "threads.py", engine=engine, OPENBLAS_NUM_THREADS="1"))
    assert seen["openmp"] == []
    assert seen["started"] == 3, "four threads are the caller and three more"
    assert seen["idle_seconds"] < 0.01
    assert seen["equal"], "bits differed between callers at once"
    assert seen["oversubscribed"] <= 0, "callers at once must share one pool"


@on_linux
@fastest
@pytest.mark.parametrize("cpus", [1, 2])
def test_threads_follow_the_affinity(engine, cpus):
    """Gate 1: as many threads as CPUs that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))[:cpus]
    if len(allowed) < cpus:
        pytest.skip(f"this machine gives fewer than {cpus} CPUs: run it on a larger one")
    script = f"import os; os.sched_setaffinity(0, {allowed}); import tapwise; print(tapwise.threads.get())"
    assert int(run("-c", script, engine=engine)) == cpus


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_environment_chooses_the_engine(engine):
    """TAPWISE_BACKEND, TAPWISE_ISA (gate 22: a cap for any machine) and TAPWISE_THREADS."""
    script = "import tapwise; print(tapwise.backend.name(), tapwise.isa.name(), tapwise.threads.get())"
    backend, isa, threads = run("-c", script, engine=engine, TAPWISE_THREADS="3").split()
    assert (backend, threads) == (engine.backend, "3")
    assert engine.isa in (None, isa)


def test_threadpoolctl_limits_the_threads(engine):
    """Gate 1: what limits BLAS limits Tapwise too."""
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="pip install threadpoolctl")
    with tapwise.threads.set(4):
        with threadpoolctl.threadpool_limits(1):
            assert tapwise.threads.get() == 1
        assert tapwise.threads.get() == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: run it on Linux or macOS")
@pytest.mark.parametrize("state", ["idle", "busy"])
@fastest
def test_forked_children_convolve(engine, state):
    """Gate 2: conv in the parent and in 8 forked children, 100 times (20 in Numba, whose threads start slower)."""
    rounds = {"native": 100, "numba": 20}[engine.backend]
    run(CHILDREN / "fork.py", rounds, state, engine=engine, limit=90)


@on_linux
@fastest
def test_memory_stays_flat_over_2000_shapes(engine):
    """Gate 7: under 1 KiB a shape, so nothing is kept for each."""
    assert int(run(CHILDREN / "memory.py", engine=engine, limit=300)) < 2000


EQUAL_BITS = named(
    "prime channels",
    "several tasks a thread",
    "im2col in several blocks",
    "1-D depthwise",
    "3-D",
    "groups of 8",
    "groups of 4, several tasks",
)


@pytest.mark.parametrize("case", EQUAL_BITS, ids=str)
def test_bits_do_not_depend_on_threads(case, engine, rng):
    """Gate 19: every pass and algorithm has the same bits on 1 to 4 threads."""
    arrays = case.arrays(rng)
    for direction, (_, operation, *arguments) in case.passes(*arrays).items():
        for algorithm in case.algorithms(direction):
            with tapwise.threads.set(1):
                alone = operation(*arguments, algorithm=algorithm, **case.geometry)
            for count in (2, 3, 4):
                with tapwise.threads.set(count):
                    together = operation(*arguments, algorithm=algorithm, **case.geometry)
                np.testing.assert_array_equal(together, alone, err_msg=f"{direction}, {algorithm}, {count} threads")
    *_, dy = arrays
    with tapwise.threads.set(1):
        alone = tapwise.conv_grad_bias(dy, data_format=case.data_format)
    with tapwise.threads.set(4):
        np.testing.assert_array_equal(tapwise.conv_grad_bias(dy, data_format=case.data_format), alone)


def test_import_is_light(capsys):
    """Gate 23: optional packages wait until they are used; the time beyond NumPy's is printed.

    threadpoolctl (5 ms) doesn't wait: a limit set before the first operation must hold.
    """
    optional = ("numba", "llvmlite", "sklearn", "PIL", "rich", "scipy")
    loaded = run("-c", f"import sys, tapwise; print(*[m for m in {optional} if m in sys.modules])").split()
    assert loaded == []
    script = "import time, numpy; start = time.process_time(); import tapwise; print(time.process_time() - start)"
    seconds = min(float(run("-c", script)) for _ in range(5))
    with capsys.disabled():
        print(f" import tapwise: {seconds * 1e3:.0f} ms beyond NumPy's", end=" ")


def test_the_training_layer_is_imported_when_it_is_used():
    """Gate 23: `import tapwise` for the operations alone takes less than NumPy; nothing public is missing for it."""
    code = (
        "import sys, tapwise; assert 'tapwise.layers' not in sys.modules, 'layers';"
        "missing = [name for name in dir(tapwise) if not hasattr(tapwise, name)]; assert not missing, missing;"
        "assert callable(tapwise.quantize) and tapwise.Sequential and 'tapwise.layers' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
