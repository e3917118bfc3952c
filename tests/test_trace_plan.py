"""What the engine tells of itself: the backend in use, plans, traces, instruction sets, threads, configuration."""

import dataclasses
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tapwise
from engines import NATIVE
from tapwise.backend import current

ALGORITHMS = ("direct", "im2col", "winograd-2x2", "winograd-4x4", "winograd-6x6")
X, W = np.ones((2, 6, 5, 4), np.float32), np.ones((3, 3, 2, 6), np.float32)


def python(script, **environment):
    """What a new interpreter prints, with no Tapwise variables but these."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TAPWISE_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**plain, **environment}, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_use_holds_until_the_end_of_with():
    former = tapwise.backend.name()
    with tapwise.backend.use("reference"):
        assert tapwise.backend.name() == "reference"
        with tapwise.backend.use(former):
            assert tapwise.backend.name() == former
        assert tapwise.backend.name() == "reference"
    assert tapwise.backend.name() == former


def test_the_fastest_backend_is_the_default():
    assert python("import tapwise; print(tapwise.backend.name())") == [tapwise.backend.available()[0]]
    assert python("import tapwise; print(tapwise.backend.name())", TAPWISE_BACKEND="reference") == ["reference"]


def test_the_reference_warns_once():
    """Without the extension and Numba; a choice by name is not warned of."""
    script = """
import sys, warnings
sys.modules["numba"] = sys.modules["tapwise.backend._core"] = None
import tapwise
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    with tapwise.backend.use("reference"):
        print(len(seen))
    for _ in range(2):
        print(tapwise.backend.name(), len(seen))
        with tapwise.backend.use("reference"):
            pass
print(seen[0].category.__name__, "pip install numba" in str(seen[0].message))
try:
    tapwise.backend.use("numba")
except ValueError as error:
    print(error)
"""
    seen = " ".join(python(script))
    assert seen.startswith("0 reference 1 reference 1 RuntimeWarning True")
    assert seen.endswith("backend must be one of reference here, got 'numba': install it with: pip install numba")


def test_nothing_is_loaded_before_it_is_used():
    loaded = "'numba' in sys.modules, 'tapwise.backend.reference' in sys.modules"
    script = f"import sys, tapwise; print({loaded}); tapwise.backend.use('reference'); print({loaded})"
    assert python(script) == ["False", "False", "False", "True"]


@pytest.mark.parametrize("direction", ["forward", "grad_input", "grad_weight"])
def test_plan(direction, engine):
    plan = tapwise.plan(X.shape, W.shape, strides=2, padding="same", direction=direction)
    assert plan.algorithm in plan.possible
    assert set(plan.possible) <= set(ALGORITHMS)
    assert (plan.backend, plan.isa, plan.direction) == (engine.backend, tapwise.isa.name(), direction)
    assert 0 <= plan.workspace_bytes <= 2 * 16 * 2**20
    assert plan.packed_bytes >= 0
    assert plan == tapwise.plan(X.shape, W.shape, strides=[2, 2], padding="same", groups=2, direction=direction)
    for word in (direction, plan.algorithm, plan.backend, plan.isa, plan.tile, plan.reason):
        assert word in str(plan)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.algorithm = "winograd"


LAYERS = [
    ((1, size, size, ci), (k, k, ci, co))
    for size in (4, 14, 56)
    for ci, co in ((3, 64), (64, 64), (512, 256))
    for k in (1, 3, 5)
]


@pytest.mark.parametrize("accuracy", ["strict", "default", "fast"])
def test_auto_takes_the_candidate_expected_fastest(accuracy, engine):
    """... of those that the accuracy admits, within a tenth: whatever the number of threads."""
    for x_shape, w_shape in LAYERS:
        plan = tapwise.plan(x_shape, w_shape, padding="same", accuracy=accuracy)
        with tapwise.threads.set(7):
            assert tapwise.plan(x_shape, w_shape, padding="same", accuracy=accuracy).algorithm == plan.algorithm
        assert {c.algorithm for c in plan.candidates} >= set(plan.possible)
        open_to_it = {c.algorithm: c.expected_seconds for c in plan.candidates if not c.refused}
        assert plan.algorithm in open_to_it
        assert accuracy != "strict" or not any("winograd" in name for name in open_to_it)
        expected = [seconds for seconds in open_to_it.values() if seconds is not None]
        if expected:
            margin = 1 if plan.algorithm.startswith("winograd") else 1.1
            assert open_to_it[plan.algorithm] <= margin * min(expected)


@pytest.mark.parametrize("engine", NATIVE, ids=str)
def test_a_plan_explains_itself(engine):
    """Each candidate has a line with its time or the reason against it."""
    with engine.use():
        text = str(tapwise.plan((1, 56, 56, 64), (3, 3, 64, 64), padding="same"))
        assert all(name in text for name in ALGORITHMS)
        assert "us expected on two cores, not with accuracy default" in text
        text = str(tapwise.plan((1, 56, 56, 64), (3, 3, 64, 64), padding="same", strides=2))
    assert "winograd-6x6  can't: strides of 2 have tiles of 3x3" in text


@pytest.mark.parametrize("direction", ["forward", "grad_input", "grad_weight"])
def test_plan_names_what_it_is_asked_for(direction, engine):
    """Each possible algorithm is its own plan; another one is refused, by the operation too."""
    possible = tapwise.plan(X.shape, W.shape, direction=direction).possible
    for algorithm in ALGORITHMS:
        if algorithm in possible:
            plan = tapwise.plan(X.shape, W.shape, algorithm=algorithm, direction=direction)
            assert plan.algorithm == algorithm
            continue
        refused = f"algorithm must be .* (got '{algorithm}'|{algorithm} can't: .*)"
        with pytest.raises(ValueError, match=refused):
            tapwise.plan(X.shape, W.shape, algorithm=algorithm, direction=direction)
        out = np.full((2, 4, 3, 6), 7, np.float32)
        with pytest.raises(ValueError, match=refused):
            tapwise.conv(X, W, algorithm=algorithm, out=out)
        np.testing.assert_array_equal(out, 7)


def test_trace_of_every_pass(engine):
    with tapwise.trace() as t:
        y = tapwise.conv(X, W, np.zeros(6, np.float32))
        tapwise.conv_grad_input(y, W, X.shape)
        tapwise.conv_grad_weight(X, y, W.shape)
        tapwise.max_pool(y, 2)
    assert [record.name for record in t.records] == ["conv", "conv_grad_input", "conv_grad_weight", "max_pool"]
    conv, *_, pool = t.records
    plan = tapwise.plan(X.shape, W.shape)
    assert conv.shapes == {"x": X.shape, "w": W.shape, "b": (6,), "y": y.shape}
    assert conv.bytes == X.nbytes + W.nbytes + 24 + y.nbytes
    assert (conv.algorithm, conv.copied_bytes) == (plan.algorithm, plan.packed_bytes)
    assert (pool.algorithm, pool.copied_bytes, pool.bytes) == ("", 0, y.nbytes + 4 * 2 * 2 * 6)
    assert all(record.seconds > 0 for record in t.records)
    lines = str(t).splitlines()
    assert len(lines) == 6
    assert all(name in line for name, line in zip(["conv", "conv_grad_input"], lines[1:], strict=False))
    assert "x 2x6x5x4 w 3x3x2x6" in lines[1]


def test_trace_shows_copies(engine):
    """A softmax along another axis than the last one is rearranged before and after; along the last it isn't."""
    with tapwise.trace() as t:
        tapwise.softmax(X, axis=1)
        tapwise.softmax(X)
    assert [record.name for record in t.records] == ["copy", "softmax", "copy", "softmax"]
    assert [record.copied_bytes for record in t.records] == [X.nbytes, 0, X.nbytes, 0]


def test_traces_nest_and_cost_nothing_when_off(engine):
    module = current()
    with tapwise.trace() as outer:
        tapwise.relu(X)
        with tapwise.trace() as inner:
            tapwise.relu(X)
        with tapwise.backend.use("reference"):
            tapwise.relu(X)
    tapwise.relu(X)
    assert (len(outer.records), len(inner.records)) == (3, 1)
    assert current() is module


def test_trace_sees_every_thread(engine):
    def work():
        for _ in range(20):
            tapwise.relu(X)

    threads = [threading.Thread(target=work) for _ in range(4)]
    with tapwise.trace() as t:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [record.name for record in t.records] == ["activation"] * 80


def test_trace_ends_with_an_error(engine):
    module = current()
    with pytest.raises(ValueError, match="strides"), tapwise.trace() as t:
        tapwise.conv(X, W, strides=0)
    assert t.records == []
    assert current() is module


def test_isa(engine):
    levels, former = tapwise.isa.available(), tapwise.isa.name()
    assert former in levels
    with tapwise.isa.use(levels[0]):
        assert tapwise.isa.name() == levels[0]
    assert tapwise.isa.name() == former
    assert len(set(tapwise.isa.kernels())) == len(tapwise.isa.kernels())


def test_threads_are_one_number_for_all_backends(engine):
    former = tapwise.threads.get()
    with tapwise.threads.set(3):
        assert tapwise.threads.get() == 3
        for name in tapwise.backend.available():
            with tapwise.backend.use(name):
                assert tapwise.threads.get() == 3
    assert tapwise.threads.get() == former


def test_show_config(engine, capsys):
    config = tapwise.show_config(mode="dicts")
    assert config["tapwise"]["version"] == tapwise.__version__
    assert config["backend"]["name"] == engine.backend
    assert config["backend"]["available"] == list(tapwise.backend.available())
    assert config["backend"]["threads"] == tapwise.threads.get()
    assert tapwise.show_config() is None
    printed = capsys.readouterr().out
    assert all(word in printed for word in (tapwise.__version__, np.__version__, engine.backend, tapwise.isa.name()))
