"""What the compiler left in the object files (gate 22): nothing of one instruction set may reach another machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OBJECTS = sorted((ROOT / "build").glob("**/*.dir/**/*.o"))
KERNELS = [path for path in OBJECTS if re.search(r"cpu_\w+\.dir", str(path))]
WIDER = {"baseline": "[yz]mm", "avx2": "zmm", "": "[yz]mm"}  # registers that a level's CPUs may lack

needs_objects = pytest.mark.skipif(not KERNELS, reason="no objects under build/: cmake -B build && cmake --build build")


def level(path):
    """The instruction set that an object is compiled for, "" outside cpu/."""
    found = re.search(r"cpu_(\w+)\.dir", str(path))
    return found[1] if found else ""


def output(tool, *arguments):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing: apt-get install binutils")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


@needs_objects
@pytest.mark.parametrize("path", KERNELS, ids=lambda path: f"{level(path)}-{path.name}")
def test_kernels_export_no_weak_symbols(path):
    """A weak one could be the copy that the linker keeps for every caller; strong ones are in the level's namespace."""
    symbols = [line.split(maxsplit=2) for line in output("nm", "-C", "--defined-only", str(path)).splitlines()]
    weak = [name for _, kind, name in symbols if kind in "WVuvw"]
    assert weak == []
    outside = [name for _, kind, name in symbols if kind.isupper() and f"tapwise::{level(path)}::" not in name]
    assert outside == []


@needs_objects
@pytest.mark.parametrize("name", WIDER)
def test_objects_keep_to_their_registers(name):
    """Disassembled: no register that a CPU of this level, or a caller of any, may lack."""
    for path in (path for path in OBJECTS if level(path) == name):
        found = re.search(rf"^.*%{WIDER[name]}\d.*$", output("objdump", "-d", "--no-show-raw-insn", str(path)), re.M)
        assert found is None, f"{path.name}: {found[0].strip()}"
