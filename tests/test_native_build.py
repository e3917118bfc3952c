"""The stand-alone runner of csrc/test, built and run plain, under sanitizers and for Arm; and the loops inside it.

Budget, on two cores: plain 4 minutes, of which ccache spares nearly all where a wheel was built before; address and
undefined behaviour 4, threads 1, Arm 3, the loops 10 seconds; several times that on a busy machine.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from engines import LOW_PRECISION
from tools import need, output

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2700),
    pytest.mark.skipif(sys.platform != "linux", reason="builds with Debian's compilers: run it on Linux"),
]
# Under sanitizers not all of x86: avx2 has the templates of baseline and avx512 at another width, and what it alone has
# are vec.h's masked loads and stores. Reading or writing beyond an array there meets the fences of the plain runner.
LEVELS = [str(engine.isa).replace("-", "_") for engine in LOW_PRECISION]
SANITIZED = [level for level in LEVELS if not (level == "avx2" and "avx512" in LEVELS)]
PLAIN = pytest.mark.xdist_group("plain build")  # pytest -n 2 --dist loadgroup: one process builds it


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """build(CMake arguments) -> the folder where the runner was built with them, once each."""
    need("cmake", "cmake")
    need("c++", "g++")
    folders = {}

    def build(*arguments):
        if arguments not in folders:
            folder = tmp_path_factory.mktemp("runner")
            options = [f"-DTAPWISE_{name}" for name in ("PYTHON=OFF", "TESTS=ON", "WERROR=ON")]
            output("cmake", "-S", ROOT, "-B", folder, *options, *arguments)
            output("cmake", "--build", folder, "--parallel", os.cpu_count())
            folders[arguments] = folder
        return folders[arguments]

    return build


def assert_passed(text):
    last = text.splitlines()[-1]
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed", last), last


@PLAIN
def test_runner(build):
    assert_passed(output(build() / "tapwise_test"))


def test_runner_under_address_and_undefined_behaviour_sanitizers(build):
    levels = f"-DTAPWISE_ISAS={';'.join(SANITIZED)}"
    assert_passed(output(build("-DTAPWISE_SANITIZE=address,undefined", levels) / "tapwise_test"))


def test_threads_under_thread_sanitizer(build):
    """Without forks: it dies in a child that makes threads. On one level: all share tasks out by the same code."""
    runner = build("-DTAPWISE_SANITIZE=thread", "-DTAPWISE_ISAS=baseline") / "tapwise_test"
    assert_passed(output(runner, "--only", "threads", "--forks", 0))


def test_runner_for_arm(build):
    """Under emulation, which can't fork a process that has threads."""
    need("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    need("qemu-aarch64", "qemu-user")
    runner = build(f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake/aarch64.cmake'}") / "tapwise_test"
    assert_passed(output("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", runner, "--forks", 0))


def innermost_loops(code):
    """Stretches of instructions from a backward jump's target to the jump that hold no other such stretch."""
    place = {address: i for i, (address, _) in enumerate(code)}
    loops = []
    for end, (_, instruction) in enumerate(code):
        jump = re.match(r"j\w+\s+([0-9a-f]+)\b", instruction)
        start = place.get(int(jump[1], 16), end) if jump else end
        if start < end:
            loops.append(range(start, end + 1))
    inner = [a for a in loops if not any(a != b and b.start in a and b[-1] in a for b in loops)]
    return [[code[i][1] for i in loop] for loop in inner]


def functions(path, name):
    """The disassembled functions whose name matches: lists of (address, instruction)."""
    text = output("objdump", "-dC", "--no-show-raw-insn", path)
    for title, body in re.findall(r"^[0-9a-f]+ <(.*)>:\n((?:.+\n)+)", text, re.M):
        if re.search(name, title):
            lines = re.findall(r"^\s*([0-9a-f]+):\s+(.+?)\s*$", body, re.M)
            yield [(int(address, 16), instruction) for address, instruction in lines]


@PLAIN
@pytest.mark.parametrize(
    ("isa", "source", "product", "tile"),
    [
        ("avx2", "gemm", "vfmadd", 6 * 2),
        ("avx512", "gemm", "vfmadd", 14 * 2),
        ("avx512_bf16", "bf16", "vdpbf16ps", 14 * 2),
        ("avx512_bf16", "int8", "vpdpbusd", 14 * 2),
    ],
)
def test_inner_loops_do_not_spill(build, isa, source, product, tile):
    """Loops that do more multiply-adds than one channel (or word) of the largest tile has never touch the stack."""
    need("objdump", "binutils")
    path = build() / f"CMakeFiles/cpu_{isa}.dir/csrc/cpu/{source}.cpp.o"
    if not path.exists():
        pytest.skip(f"{isa} is not of this architecture: run it on x86-64")
    most = 0
    for code in functions(path, "gemm_tile|gemm_run|word_tile"):
        has_frame = any(re.match(r"mov\s+%rsp,%rbp", instruction) for _, instruction in code)
        stack = r"\(%r[sb]p" if has_frame else r"\(%rsp"
        for loop in innermost_loops(code):
            products = sum(instruction.startswith(product) for instruction in loop)
            most = max(most, products)
            if products > tile:
                assert [instruction for instruction in loop if re.search(stack, instruction)] == []
    assert most == 2 * tile, "the loop takes two channels, or words, a round"


@PLAIN
@pytest.mark.parametrize("source", ["winograd", "winograd_grad_weight"])
def test_transforms_do_not_spill(build, source):
    """Vectors stay in registers in the loops over channels: up to 4x4 tiles all but one of them, of 6x6's 64 products
    some. The register file is AVX-512's."""
    need("objdump", "binutils")
    path = build() / f"CMakeFiles/cpu_avx512.dir/csrc/cpu/{source}.cpp.o"
    if not path.exists():
        pytest.skip("avx512 is not of this architecture: run it on x86-64")
    seen = 0
    for code in functions(path, r"^(?!.*::weights_of<).*avx512"):  # weights_of scatters dw's lanes, once
        for loop in innermost_loops(code):
            products = sum(instruction.startswith(("vfmadd", "vfnmadd")) for instruction in loop)
            if products > 20:
                seen += 1
                spills = [instruction for instruction in loop if re.search(r"%zmm\d+,.*\(%r[sb]p", instruction)]
                assert len(spills) <= (1 if products <= 144 else 14), spills
    assert seen >= 10
