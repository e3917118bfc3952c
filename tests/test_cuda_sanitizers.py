"""The CUDA kernels on the host under sanitizers, and bugs put into them that each checker must find.

A removed barrier or atomic, an index one too far, a missing wait and an unset read are edits of the shipped sources.
The memory sanitizer is clang's; the others are gcc's. Budget, on two cores: 3 minutes.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from made_once import made_once, shared_folder
from tools import need, output

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(sys.platform != "linux", reason="the emulator switches stacks as Linux has them: run it there"),
]
CHECKERS = {
    "fibers": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "thread": ["-fsanitize=thread"],
    "memory": ["-fsanitize=memory", "-fno-sanitize-recover=all", "-Wno-unused-function", "-Wno-pass-failed"],
}
# Orders of threads and blocks. One is enough where the checker sees none but what barriers make.
SEEDS = {"fibers": "012", "address": "012", "thread": "0", "memory": "2"}
FLAGS = ["-std=c++20", "-O1", "-g1", "-Wall", "-Wextra", "-Wshadow", "-Wno-unknown-pragmas", "-x", "c++", "-c"]


def compiler(checker):
    name, package = ("clang++-16", "clang-16 libclang-rt-16-dev") if checker == "memory" else ("c++", "g++")
    need(name, package)
    return name


def compile_source(source, checker, target):
    """The emulator's own files are built without the thread sanitizer, and told of it."""
    flags = ["-DTAPWISE_TSAN"] if checker == "thread" and source.parent.name == "emulate" else CHECKERS[checker]
    output(compiler(checker), *FLAGS, *flags, source, "-o", target)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """objects(checker) -> {name of a source: its object file}."""
    shared = shared_folder(tmp_path_factory) / "sanitized"
    cuda = ROOT / "csrc/cuda"
    sources = [*cuda.glob("*.cu"), *cuda.glob("emulate/*.cpp"), *cuda.glob("test/*.cpp")]

    def objects(checker):
        def made(source):
            target = shared / checker / f"{source.name}.o"
            return made_once(target, lambda new: compile_source(source, checker, new))

        with ThreadPoolExecutor(2) as pool:
            return dict(zip((source.name for source in sources), pool.map(made, sources), strict=True))

    return objects


def run(files, checker, folder, *arguments):
    runner = folder / "runner"
    output(compiler(checker), *CHECKERS[checker], *files, "-o", runner)
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}  # it would go on for a minute
    return subprocess.run([runner, *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("checker", "seed"),
    [(checker, seed) for checker in CHECKERS for seed in SEEDS[checker]],
)
def test_kernels_are_clean(objects, checker, seed, tmp_path):
    result = run(objects(checker).values(), checker, tmp_path, seed)
    assert result.returncode == 0, result.stdout + result.stderr[-4000:]
    assert result.stdout.strip().endswith("passed, 0 failed")


USERS = {"gemm.h": "im2col.cu", "tensor.h": "im2col_tensor_grad.cu"}  # what is compiled again
# (checker, source, old, new, what it says)
BUGS = {
    "a removed barrier": ("fibers", "gemm.h", "    __syncthreads();\n", "", "element .* is -?nan"),
    "a removed barrier, as a race": ("thread", "direct.cu", "    __syncthreads();\n", "", "data race[^=]*direct.cu"),
    "a removed barrier of a warp": (
        "fibers", "tensor.h", "wmma::mem_col_major);\n        __syncwarp();", "wmma::mem_col_major);",
        "grad_weight: element",
    ),
    "a barrier that some don't reach": (
        "fibers", "direct.cu", "__syncthreads();", "if (t < half) __syncthreads();", "not all threads reach",
    ),
    "a removed atomic": ("thread", "walk.cu", "atomicOr(found, 1)", "*found |= 1", "data race[^=]*walk.cu"),
    "a global index one too far": ("address", "direct.cu", "i < size;", "i <= size;", "buffer-overflow[^=]*direct"),
    "a shared index one too far": ("address", "direct.cu", "sums[t + half]", "sums[t + half + 1]", "direct.cu.*index"),
    "a missing wait": (
        "fibers", "gemm.h", "__pipeline_wait_prior(T::kStages - 2)", "__pipeline_wait_prior(T::kStages)", "is -?nan",
    ),
    "a flag that isn't cleared": (
        "memory", "walk.cu", 'floats());\n  check(cudaMemsetAsync(found, 0, sizeof(int), stream), "cudaMemsetAsync");',
        "floats());", "use-of-uninitialized-value",
    ),
    "an unset read": ("fibers", "direct.cu", "  sums[t] = sum;", "  if (t) sums[t] = sum;", "element .* is -?nan"),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_checkers_find(objects, bug, tmp_path):
    checker, name, old, new, message = BUGS[bug]
    folder = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", folder, ignore=shutil.ignore_patterns("cpu", "bind"))
    changed = folder / "cuda" / name
    text = changed.read_text(encoding="utf-8")
    assert text.count(old) == 1
    changed.write_text(text.replace(old, new), encoding="utf-8")
    source = changed.with_name(USERS.get(name, name))
    compile_source(source, checker, tmp_path / "changed.o")
    files = {**objects(checker), source.name: tmp_path / "changed.o"}
    result = run(files.values(), checker, tmp_path, "1")
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert re.search(message, said), said[-4000:]
