"""tune: what it measures, remembers and ignores. No test asserts a time."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tapwise
from tapwise.tune import tuned_file

X_SHAPE, W_SHAPE, OPTIONS = (1, 8, 9, 4), (3, 3, 4, 6), {"padding": "same"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache directory of this test's own, and no winners before and after."""
    module = sys.modules["tapwise.tune"]
    monkeypatch.setattr(module, "tuned_file", lambda: tmp_path / "tapwise" / "tuned.json")
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.0)
    tapwise.forget_tuned()
    yield tmp_path / "tapwise" / "tuned.json"
    tapwise.forget_tuned()


def make_win(path, algorithm):
    """Another winner than the measured one, as if it had been faster."""
    content = json.loads(path.read_text())
    for entry in content["winners"]:
        entry[-1] = algorithm
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("direction", ["forward", "grad_input", "grad_weight"])
def test_it_measures_what_can_win(direction, engine):
    tuned = tapwise.tune(X_SHAPE, W_SHAPE, direction=direction, **OPTIONS)
    plan = tapwise.plan(X_SHAPE, W_SHAPE, direction=direction, **OPTIONS)
    assert tuned.algorithm == min(tuned.seconds, key=tuned.seconds.get)
    assert set(tuned.seconds) <= {c.algorithm for c in plan.candidates if not c.refused}
    assert 1 <= len(tuned.seconds) <= 3
    assert tuned.algorithm in str(tuned)
    assert plan.algorithm == tuned.algorithm


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_auto_takes_the_winner_where_it_was_asked_for(algorithm, engine, own_cache):
    if algorithm not in tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS).possible:
        algorithm = "direct"
    untuned = tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS).algorithm
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS)
    make_win(own_cache, algorithm)
    tapwise.forget_tuned()
    assert tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS).algorithm == untuned, "nobody asked"
    assert tapwise.load_tuned() == 1
    plan = tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS)
    assert (plan.algorithm, plan.reason) == (algorithm, "the fastest that tune measured")
    with tapwise.trace() as t:
        tapwise.conv(np.ones(X_SHAPE, np.float32), np.ones(W_SHAPE, np.float32), **OPTIONS)
    assert t.records[0].algorithm == algorithm
    assert tapwise.pack(np.ones(W_SHAPE, np.float32), x_shape=X_SHAPE, **OPTIONS).algorithm == algorithm
    with tapwise.threads.set(tapwise.threads.get() + 1):
        assert tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS).algorithm == untuned, "tuned for other threads"
    assert tapwise.plan((2, *X_SHAPE[1:]), W_SHAPE, **OPTIONS).reason != plan.reason


def test_packed_weights_keep_their_algorithm(engine, own_cache):
    """Those packed before keep serving calls that tune would give to another algorithm."""
    x, w = np.ones(X_SHAPE, np.float32), np.ones(W_SHAPE, np.float32)
    packed = [
        tapwise.pack(w, x_shape=X_SHAPE, algorithm=algorithm, **OPTIONS)
        for algorithm in tapwise.plan(X_SHAPE, W_SHAPE, **OPTIONS).possible
    ]
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS)
    for each in packed:
        want = tapwise.conv(x, w, algorithm=each.algorithm, **OPTIONS)
        np.testing.assert_array_equal(tapwise.conv(x, each, **OPTIONS), want)


def test_winners_add_up(own_cache):
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS)
    tapwise.forget_tuned()
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS, strides=2)
    assert tapwise.load_tuned() == 2
    assert [path.name for path in own_cache.parent.iterdir()] == ["tuned.json"], "no temporary file is left"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"version": 1}', "version", "cpu", "winners"],
)
def test_another_machines_or_a_broken_file_is_ignored(content, own_cache):
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS)
    if content in ("version", "cpu", "winners"):
        content = json.dumps({**json.loads(own_cache.read_text()), content: "another"})
    own_cache.write_text(content)
    tapwise.forget_tuned()
    assert tapwise.load_tuned() == 0
    tapwise.tune(X_SHAPE, W_SHAPE, **OPTIONS)
    tapwise.forget_tuned()
    assert tapwise.load_tuned() == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG's rule: run it on Linux")
def test_the_file_lies_in_the_users_cache_directory(tmp_path):
    script = "from tapwise.tune import tuned_file; print(tuned_file())"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "tapwise" / "tuned.json")
    assert tuned_file().name == "tuned.json"
