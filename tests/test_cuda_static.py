"""The CUDA kernels as nvcc compiles them: no warnings, no spills, within registers and shared memory; products fill the
loops that they are made for.

Budget, on two cores: 3 minutes, in which each source is compiled once.
"""

import re
import sys
from pathlib import Path

import pytest

from cuda_occupancy import MOST_REGISTERS_A_THREAD, REGISTERS, STATIC_SHARED_BYTES, WORK, blocks_resident
from cuda_static import ARCHITECTURES, CUDA, compiled, main_loop, nvdisasm, sources, stack_accesses
from made_once import shared_folder
from tools import need

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2700),
    pytest.mark.skipif(sys.platform != "linux", reason="Linux' locks share the builds: run it there"),
]
# Of sm_80 and sm_90.
FLOORS = {
    "im2col_product<128 x 128, 4>": 0.55,
    "im2col_grad_product<128 x 128>": 0.5,
    "winograd_product<128 x 128>": 0.75,
    "winograd_2x2<32 x 32>": 0.55,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each source compiles to."""
    need("nvcc", "nvidia-cuda-toolkit, or NVIDIA's own")
    need("c++filt", "binutils")
    folder = shared_folder(tmp_path_factory) / "static"
    return [compiled(source, folder) for source in sources()]


@pytest.fixture(scope="module")
def kernels(results):
    return [kernel for result in results for kernel in result.kernels]


@pytest.fixture(scope="module")
def machine_code(results):
    """[(kernel, its lines)] of sm_80 and sm_90."""
    if nvdisasm() is None:
        pytest.skip("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    code = {(r.source, a): r.machine_code(a) for r in results for a in (80, 90)}
    return [
        (k, code[k.source, k.architecture][k.symbol]) for r in results for k in r.kernels if k.architecture in (80, 90)
    ]


def test_every_kernel_is_compiled_for_every_architecture(kernels):
    texts = [path.read_text(encoding="utf-8") for path in CUDA.iterdir() if path.suffix in (".cu", ".h")]
    written = sum(text.count("__global__") for text in texts)
    of_each = [{k.name for k in kernels if k.architecture == a} for a in ARCHITECTURES]
    assert len({name.partition("<")[0] for name in of_each[0]}) == written
    assert all(names == of_each[0] for names in of_each)


def test_nothing_spills(kernels):
    assert [k for k in kernels if k.spilled_bytes or k.stack_bytes] == []


def test_machine_code_does_not_touch_the_stack(machine_code):
    assert {k.name: found for k, code in machine_code if (found := stack_accesses(code))} == {}


def test_a_block_fits_a_multiprocessor(kernels):
    for k in kernels:
        assert k.registers <= min(MOST_REGISTERS_A_THREAD, REGISTERS // 2 // k.threads), k
        assert k.shared_bytes <= STATIC_SHARED_BYTES, k
        blocks = blocks_resident(k.threads, k.registers, k.shared_bytes, k.architecture)
        assert blocks >= (1 if k.architecture == 75 else 2), k  # sm_75 has 64 KiB of shared memory


def test_products_fill_their_main_loops(machine_code):
    loops = {(k.name, k.architecture): main_loop(code) for k, code in machine_code if k.name in FLOORS}
    assert len(loops) == 2 * len(FLOORS)
    assert {at: loop for at, loop in loops.items() if loop.share < FLOORS[at[0]]} == {}


def test_docs_name_every_kernel(kernels):
    text = (ROOT / "docs/cuda.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)[`<]", text, re.M))
    assert {k.family for k in kernels} <= listed
    assert {k.family for k in kernels} <= set(WORK)
