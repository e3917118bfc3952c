"""TAPWISE_CUDA where nvcc is missing or can't compile: AUTO leaves the kernels for devices out, ON says what it needs.

Budget: 1 minute.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def configured(choice, folder):
    """What CMake says, where nvcc always fails."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is missing: pip install cmake")
    tools = folder / "tools"
    tools.mkdir()
    (tools / "nvcc").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tools / "nvcc").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "CUDACXX": str(tools / "nvcc")}
    where = subprocess.run([sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True)
    options = [f"-Dpybind11_DIR={where.stdout.strip()}", f"-DPython_EXECUTABLE={sys.executable}"]
    command = ["cmake", "-S", ROOT, "-B", folder / "build", *options, f"-DTAPWISE_CUDA={choice}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_auto_builds_without(tmp_path):
    result = configured("AUTO", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "built without the module for NVIDIA devices" in result.stdout


def test_on_needs_nvcc(tmp_path):
    result = configured("ON", tmp_path)
    assert result.returncode != 0
    assert "TAPWISE_CUDA=ON needs an nvcc of CUDA 12.8 or later" in " ".join(result.stderr.split())
