"""Gate 8: scratch of a thread is bounded, the bound can be set, and plans report what they ask."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tapwise
from engines import NATIVE

LIMITS = (None, 1 << 20, 4 << 20)  # None: 16 MiB, as at the start
LARGE = [
    ((1, 14, 14, 512), (3, 3, 512, 512)),
    ((16, 28, 28, 512), (3, 3, 512, 512)),
    ((1, 512, 512, 64), (3, 3, 64, 64)),
    ((4, 7, 7, 4096), (3, 3, 4096, 64)),
    ((2, 30, 4096, 16), (5, 5, 16, 16)),
    ((1, 33, 33, 700), (1, 3, 700, 40)),
    ((64, 56, 56, 128), (3, 3, 128, 128)),
    ((1, 9000, 300), (5, 300, 100)),
    ((1, 40, 40, 512), (31, 31, 512, 8)),
    ((1, 40, 40, 40, 32), (5, 5, 5, 32, 32)),
    ((8, 224, 224, 3), (7, 7, 3, 64)),
]


def limited(limit):
    return tapwise.workspace.set(limit or tapwise.workspace.get())


@pytest.mark.parametrize("direction", ["forward", "grad_input"])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("native", NATIVE, ids=str)
def test_plans_stay_within_it(native, limit, direction):
    with native.use(), limited(limit):
        most = tapwise.workspace.get()
        assert most == limit or most == 16 << 20
        for x, w in LARGE:
            for data_format in ("channels_last", "channels_first"):
                shapes = (x, w) if data_format == "channels_last" else (
                    (x[0], x[-1], *x[1:-1]), (w[-1], w[-2], *w[:-2]))  # fmt: skip
                options = {"padding": "same", "data_format": data_format, "direction": direction}
                for algorithm in ("auto", *tapwise.plan(*shapes, **options).possible):
                    plan = tapwise.plan(*shapes, algorithm=algorithm, **options)
                    if plan.algorithm != "direct" or w[0] < 31 or limit != 1 << 20:  # one window alone is 2 MiB
                        assert plan.workspace_bytes <= most, plan


@pytest.mark.parametrize("native", NATIVE, ids=str)
def test_bits_are_the_same_with_less(native, rng):
    x = rng.standard_normal((2, 22, 23, 160), np.float32)
    w = rng.standard_normal((3, 3, 160, 40), np.float32)
    for algorithm in ("im2col", "winograd-2x2", "winograd-4x4", "winograd-6x6"):
        with native.use():
            want = tapwise.conv(x, w, padding="same", algorithm=algorithm)
            packed = tapwise.pack(w, x_shape=x.shape, padding="same", algorithm=algorithm)
            with tapwise.workspace.set(1 << 20):
                np.testing.assert_array_equal(tapwise.conv(x, w, padding="same", algorithm=algorithm), want)
                np.testing.assert_array_equal(tapwise.conv(x, packed, padding="same"), want)


@pytest.mark.parametrize("native", NATIVE[:1], ids=str)
def test_what_cannot_fit_is_refused(native):
    shapes = (1, 40, 40, 512), (31, 31, 512, 8)
    with native.use():
        assert "im2col" in tapwise.plan(*shapes).possible
        with tapwise.workspace.set(1 << 20):
            assert "im2col" not in tapwise.plan(*shapes).possible
            with pytest.raises(ValueError, match=r"im2col can't: one patch, taps .* channels of a group, exceeds the"):
                tapwise.plan(*shapes, algorithm="im2col")
            with pytest.raises(ValueError, match="winograd-6x6 can't: a transformed tile exceeds the workspace"):
                tapwise.plan((1, 9, 9, 8192), (3, 3, 8192, 4), algorithm="winograd-6x6")


def test_what_can_be_set(engine):
    if engine.backend != "native":
        with pytest.raises(ValueError, match="workspace can be set on the native backend alone"):
            tapwise.workspace.set(1 << 22)
        return
    with tapwise.workspace.set(3 << 20):
        assert tapwise.workspace.get() == 3 << 20
        for wrong in (0, 1 << 19, -1):
            with pytest.raises(ValueError, match=f"workspace must be >= 1048576, got {wrong}"):
                tapwise.workspace.set(wrong)
    assert tapwise.workspace.get() == 16 << 20


GROWTH = """
import numpy as np, tapwise
def resident():
    return int(open("/proc/self/statm").read().split()[1]) << 12
tapwise.threads.set(2)
tapwise.workspace.set({limit})
x, w = np.ones((4, 48, 48, 512), np.float32), np.ones((3, 3, 512, 512), np.float32)
out = np.ones_like(x)
packed = tapwise.pack(w, x_shape=x.shape, padding="same", algorithm="{algorithm}")
tapwise.conv(x[..., :8].copy(), w[..., :8, :8])  # threads start, libraries load
before = resident()
for _ in range(3):
    tapwise.conv(x, packed, padding="same", out=out)
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm: run it on Linux")
@pytest.mark.skipif(not NATIVE, reason="the extension isn't built: pip install -e .")
@pytest.mark.parametrize("algorithm", ["winograd-4x4", "im2col"])
@pytest.mark.parametrize("limit", [1 << 20, 16 << 20])
def test_resident_memory_grows_by_no_more(algorithm, limit):
    command = [sys.executable, "-c", GROWTH.format(limit=limit, algorithm=algorithm)]
    environment = {**os.environ, "TAPWISE_BACKEND": "native"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) <= 2 * (limit >> 20) + 8  # pages of 2 MiB, and the allocator's own
