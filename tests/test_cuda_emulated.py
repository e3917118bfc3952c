"""The CUDA kernels on the host: the operations' tests on the backend cuda-emulated.

Budget, on two cores: 4 minutes, of which the build takes one.
"""

import os
import sys
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
# What fills a processor's caches is one round of a device's tiles.
SMALL = "not rms and not taps and not rounds and not once"
# An output pixel in each of 100 images takes tiles that are nearly empty, 10 s a pass on the host.
SHORT = "not images and not larger_than_the_caches"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The folder of the module with the kernels."""
    need("cmake", "cmake")
    need("c++", "g++")
    return made_once(shared_folder(tmp_path_factory) / "emulated", build)


def build(folder):
    options = [f"-DTAPWISE_{name}=ON" for name in ("CUDA_EMULATED", "WERROR")]
    where = output(sys.executable, "-m", "pybind11", "--cmakedir").strip()
    output(
        "cmake", "-S", ROOT, "-B", folder, f"-Dpybind11_DIR={where}", f"-DPython_EXECUTABLE={sys.executable}", *options
    )
    output("cmake", "--build", folder, "--target", "_tapwise_cuda_emulated", "--parallel", os.cpu_count())


def run_tests(emulated, *arguments, seed=0, tile=0):
    path = os.pathsep.join([str(emulated), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TAPWISE_TEST_BACKEND": "cuda-emulated"}
    environment["TAPWISE_TEST_GPU"] = "emulated"
    environment |= {"TAPWISE_CUDA_SEED": str(seed), "TAPWISE_CUDA_TILE": str(tile)}
    output(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, cwd=ROOT, env=environment)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_convolutions(emulated, seed):
    tests = "within_the_bound or whole_numbers" if seed == 0 else "whole_numbers"
    run_tests(emulated, "tests/test_conv.py", "-k", f"({tests}) and {SHORT}", seed=seed)


@pytest.mark.parametrize(("seed", "tile"), [(0, 0), (1, 16), (2, 128)])
def test_winograd(emulated, seed, tile):
    tests = "forward or grad_input or grad_weight or spreads or whole_numbers or epilogue"
    run_tests(emulated, "tests/test_winograd.py", "-k", f"({tests}) and {SMALL}", seed=seed, tile=tile)


def test_other_operations(emulated):
    files = [f"tests/test_{name}.py" for name in ("pool", "nn", "norm", "optimizers", "conv_epilogue")]
    slow = "grad_weight_bias and several"  # convolutions of 4 s, one for each activation
    run_tests(emulated, *files, "-k", f"not every_small_shape and not ({slow})", seed=1)


def test_arrays_on_a_device(emulated):
    run_tests(emulated, "tests/test_cuda_arrays.py", "tests/test_device_plan.py", "tests/test_placement.py")


def test_what_waits_for_a_device(emulated):
    run_tests(emulated, "tests/test_gpu.py", "-m", "gpu", "-k", "not convolutions or prime")


def test_padding_contributes_nothing(emulated):
    run_tests(emulated, "tests/test_conv_nonfinite.py", seed=2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tensor_cores(emulated, seed):
    run_tests(emulated, "tests/children/tensor_cores.py", seed=seed)


def test_bfloat16(emulated):
    """But for what is of the host: bits of sums, threads."""
    run_tests(emulated, "tests/test_bf16.py", "-k", "(emulated or within) and not every_level and not threads", seed=1)
    run_tests(emulated, "tests/test_mixed_precision.py", seed=2)


def test_training_takes_the_native_steps(emulated):
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    environment = {**os.environ, "PYTHONPATH": str(emulated)}
    printed = output(sys.executable, ROOT / "tests/children/digits_steps.py", env=environment)
    assert "apart" in printed
