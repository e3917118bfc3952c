"""The wheel that needs no compiler: one for every platform, Numba by default, the reference and a warning without it.

Budget: three minutes, most of it Numba's first compilation of the kernels.
"""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("scikit_build_core", reason="pip install scikit-build-core")
pytest.importorskip("numba", reason="pip install numba")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pure wheel")]

ROOT = Path(__file__).parents[1]
COMPILED = {".so", ".pyd", ".dylib", ".dll", ".a", ".lib", ".o", ".c", ".cpp", ".pyx"}

DEFAULT = """
import tapwise
print(tapwise.backend.name(), *tapwise.backend.available())
"""
WITHOUT_NUMBA = """
import sys, warnings
sys.modules["numba"] = None  # as if it weren't installed
import numpy as np, tapwise
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    y = tapwise.conv(np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32))
    tapwise.conv_grad_bias(y)
print(tapwise.backend.name(), *y.ravel(), *(f"{warning.category.__name__}: {warning.message}" for warning in caught))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source tree without a network: wheel.cmake=false needs scikit-build-core and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    setting = "--config-settings=wheel.cmake=false"
    command = [sys.executable, "-m", "pip", "wheel", *offline, setting, "-w", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Runs Python with the wheel's files before this environment's packages, and without its .pth files.

    An editable install of tapwise would come first otherwise.
    """
    unpacked = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    packages = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAPWISE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(unpacked), *packages])

    def run(*arguments):
        command = [sys.executable, "-S", "-W", "error", *map(str, arguments)]
        ran = subprocess.run(
            command, env=environment, cwd=unpacked, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def test_one_wheel_for_every_platform(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (facts,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/WHEEL"))
    assert "Root-Is-Purelib: true" in facts
    assert [name for name in names if Path(name).suffix in COMPILED] == []
    assert "tapwise/py.typed" in names


def test_numba_is_the_default(python):
    assert python("-c", DEFAULT).split() == ["numba", "numba", "reference"]


def test_values_are_the_reference_s(python):
    """The ten-second tier, which holds each backend to the reference."""
    tail = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT, ROOT / "tests" / "test_tiny.py")
    assert "native: the extension is not built" in tail, "ran against another tapwise than the wheel's"


def test_without_numba_the_reference_warns_once(python):
    name, *rest = python("-c", WITHOUT_NUMBA).split(" ", 5)
    assert name == "reference"
    assert rest[:4] == ["9.0"] * 4
    assert rest[4].startswith("RuntimeWarning: tapwise runs its NumPy reference")
    assert rest[4].count("Warning:") == 1
