"""What the tables of docs/cuda.md are computed from: occupancy as the toolkit has it, main loops, roofs."""

import itertools
import subprocess

import pytest

from cuda_occupancy import DEVICES, LIMITS, Work, blocks_resident
from cuda_static import Loop, main_loop, short, stack_accesses
from cuda_table import put_into
from tools import need

# What cuda_occupancy.h says, for lines of: major, minor, threads, shared bytes, reserved; threads, registers, bytes.
TOOLKIT = r"""
#include <cuda_runtime_api.h>
#include <cuda_occupancy.h>
#include <cstdio>
int main() {
  cudaOccDeviceProp p;
  cudaOccFuncAttributes a;
  cudaOccDeviceState whole;
  cudaOccResult found;
  int threads, registers, bytes;
  long shared, reserved;
  whole.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  p.maxThreadsPerBlock = a.maxThreadsPerBlock = 1024;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.numSms = 1;
  a.partitionedGCConfig = PARTITIONED_GC_OFF;
  a.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
  a.numBlockBarriers = 1;
  p.sharedMemPerBlock = a.maxDynamicSharedSizeBytes = 49152;
  while (std::scanf("%d %d %d %ld %ld %d %d %d", &p.computeMajor, &p.computeMinor, &p.maxThreadsPerMultiprocessor,
                    &shared, &reserved, &threads, &registers, &bytes) == 8) {
    p.sharedMemPerMultiprocessor = shared;
    p.sharedMemPerBlockOptin = shared - reserved;
    p.reservedSharedMemPerBlock = reserved;
    a.numRegs = registers;
    a.sharedSizeBytes = bytes;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&found, &p, &a, &whole, threads, 0)) return 1;
    std::printf("%d\n", found.activeBlocksPerMultiprocessor);
  }
}
"""
SIZES = [(16, 32, 96, 256, 512), (16, 32, 41, 64, 94, 128, 255), (0, 128, 1000, 7680, 30720, 49152)]


@pytest.mark.slow
def test_occupancy_is_what_the_toolkit_says(tmp_path):
    need("nvcc", "nvidia-cuda-toolkit, or NVIDIA's own")
    source, program = tmp_path / "occupancy.cpp", tmp_path / "occupancy"
    source.write_text(TOOLKIT, encoding="utf-8")
    subprocess.run(["nvcc", "-w", "-cudart", "none", source, "-o", program], check=True)
    cases = [(a, *sizes) for a in LIMITS for sizes in itertools.product(*SIZES)]
    lines = [
        f"{a // 10} {a % 10} {LIMITS[a].threads} {LIMITS[a].shared_bytes} {LIMITS[a].reserved_bytes} {t} {r} {b}\n"
        for a, t, r, b in cases
    ]
    said = subprocess.run([program], input="".join(lines), capture_output=True, text=True, check=True).stdout.split()
    assert [blocks_resident(t, r, b, a) for a, t, r, b in cases] == list(map(int, said))


def test_the_main_loop_has_the_most_products():
    words = ["MOV R1, R2", "FFMA R3, R4, R5, R3", "HFMA2.MMA R3, -RZ, RZ, 0, 0", "@!P0 FFMA R1, R1, R1, R1"]
    outer = [(".L_x_0", ""), *(("", word) for word in words)]
    inner = [(".L_x_1", ""), ("", "IADD3 R1, R1, 1, RZ"), ("", "@P0 BRA `(.L_x_1)")]
    code = [*outer, *inner, ("", "@P1 BRA `(.L_x_0)"), ("", "EXIT")]
    assert main_loop(code) == Loop(products=2, instructions=7)
    assert main_loop([("", "EXIT")]).products == 0
    assert stack_accesses([("", "LDL.64 R2, [R1]"), ("", "LDS R2, [R1]"), ("", "@P0 STL [R1], R2")]) == [
        "LDL.64 R2, [R1]",
        "@P0 STL [R1], R2",
    ]


def test_kernels_are_named_by_their_tiles():
    place = "tapwise::cuda::(anonymous namespace)::"
    name = f"void {place}im2col_product<tapwise::cuda::Tile<128, 64, 8, 8>, 4>(tapwise::cuda::Walk, float const*)"
    assert short(name) == "im2col_product<128 x 64, 4>"
    name = f"void {place}im2col_grad_tensor<tapwise::cuda::TensorTile<__nv_bfloat16, 128, 64, 32> >(int)"
    assert short(name) == "im2col_grad_tensor<128 x 64 bfloat16>"
    assert short(f"void {place}channel_sums<{place}Moments, (int)32>({place}Moments)") == "channel_sums<Moments, 32>"


def test_bounds_follow_from_the_peaks():
    """An A100 does 9.6 operations in the time of a byte, an RTX 4090 82."""
    assert [device.bound(Work("", 40, 1)) for device in DEVICES] == ["compute", "compute", "memory"]
    assert DEVICES[0].seconds(Work("", 19.5e12, 1)) == 1


def test_tables_are_put_between_their_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- one -->\n<!-- end -->\nb\n<!-- two -->\nold\n<!-- end -->\n", encoding="utf-8")
    for _ in range(2):
        put_into(path, {"one": "| 1 |", "two": "| \\2 |"})
        want = "a\n<!-- one -->\n| 1 |\n<!-- end -->\nb\n<!-- two -->\n| \\2 |\n<!-- end -->\n"
        assert path.read_text(encoding="utf-8") == want
