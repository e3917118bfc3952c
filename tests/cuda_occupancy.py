"""How many blocks of a kernel a multiprocessor holds, and what bounds a kernel by the roofline: computed, not measured.

Limits of the architectures: CUDA C++ Programming Guide, "Compute Capabilities"; how registers are given out: the
toolkit's cuda_occupancy.h. Peaks: NVIDIA's data sheets of A100 SXM 80 GB, H100 SXM and GeForce RTX 4090, without
sparsity.
"""

from dataclasses import dataclass

REGISTERS = 65536  # of a multiprocessor, of every architecture here
QUARTERS = 4  # its parts, each with a quarter of the registers
MOST_REGISTERS_A_THREAD = 255
STATIC_SHARED_BYTES = 48 << 10


@dataclass(frozen=True)
class Multiprocessor:
    threads: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int  # of shared memory, for each block


LIMITS = {
    75: Multiprocessor(1024, 16, 64 << 10, 0),
    80: Multiprocessor(2048, 32, 164 << 10, 1 << 10),
    86: Multiprocessor(1536, 16, 100 << 10, 1 << 10),
    89: Multiprocessor(1536, 24, 100 << 10, 1 << 10),
    90: Multiprocessor(2048, 32, 228 << 10, 1 << 10),
    100: Multiprocessor(2048, 32, 228 << 10, 1 << 10),
    110: Multiprocessor(1536, 24, 228 << 10, 1 << 10),
    120: Multiprocessor(1536, 24, 100 << 10, 1 << 10),
}


def up(value, unit):
    return -(-value // unit) * unit


def blocks_resident(threads, registers, shared_bytes, architecture):
    """Blocks that one multiprocessor holds at a time; 0: the kernel can't be launched."""
    limits = LIMITS[architecture]
    warps = up(threads, 32) // 32
    warps_by_registers = QUARTERS * (REGISTERS // QUARTERS // up(registers * 32, 256))
    taken = up(shared_bytes + limits.reserved_bytes, 128 if architecture >= 80 else 256)
    return min(
        limits.blocks,
        limits.threads // (32 * warps),
        warps_by_registers // warps,
        limits.shared_bytes // taken if taken else limits.blocks,
    )


def occupancy(threads, registers, shared_bytes, architecture):
    """Warps resident over warps that could be."""
    blocks = blocks_resident(threads, registers, shared_bytes, architecture)
    return blocks * up(threads, 32) / LIMITS[architecture].threads


@dataclass(frozen=True)
class Device:
    """Peaks: operations a second of each kind, and bytes a second of its memory."""

    name: str
    architecture: int
    code: int  # the architecture whose machine code it runs
    flops: dict
    bytes: float

    def bound(self, work):
        return "compute" if work.flops / work.bytes >= self.flops[work.kind] / self.bytes else "memory"

    def seconds(self, work):
        """At the roof."""
        return max(work.flops / self.flops[work.kind], work.bytes / self.bytes)


DEVICES = (
    Device("A100", 80, 80, {"fp32": 19.5e12, "tf32": 156e12, "bf16": 312e12, "fp64": 9.7e12}, 2.039e12),
    Device("H100", 90, 90, {"fp32": 66.9e12, "tf32": 494.7e12, "bf16": 989.4e12, "fp64": 33.5e12}, 3.35e12),
    Device("RTX 4090", 89, 80, {"fp32": 82.6e12, "tf32": 82.6e12, "bf16": 165.2e12, "fp64": 1.29e12}, 1.008e12),
)


@dataclass(frozen=True)
class Work:
    """What a launch does for what is named: floating-point operations, and bytes that must come or go, each once."""

    what: str
    flops: float
    bytes: float
    kind: str = "fp32"

    @property
    def intensity(self):
        return self.flops / self.bytes


def convolution(what, n, size, ci, co, k, stride=1, kind="fp32"):
    """A square convolution with x, w and y of float32; padded to `size / stride` outputs."""
    out = size // stride
    flops = 2 * n * out * out * k * k * ci * co
    return Work(what, flops, 4 * (n * size * size * ci + k * k * ci * co + n * out * out * co), kind)


def elementwise(what, flops, reads, writes, kind="fp32"):
    """Of one element: float32 values read and written."""
    return Work(what, flops, 4 * (reads + writes), kind)


LAYER = "3x3, 128 to 128 channels, 32 images of 28 x 28"
STEM = "7x7 / 2, 3 to 64 channels, 32 images of 224 x 224"
LAYER_WORK = convolution(LAYER, 32, 28, 128, 128, 3)
WINOGRAD_TILES = 32 * 7 * 7
WINOGRAD_FLOPS = 36 * 2 * WINOGRAD_TILES * 128 * 128
WINOGRAD_MATRICES = 2 * WINOGRAD_TILES * 128 + 128 * 128  # v, m and u of one frequency
# By kernel, whatever its template arguments. An exponential counts as 8 operations, a division or a root as 4.
WORK = {
    "im2col_product": LAYER_WORK,
    "im2col_grad_product": LAYER_WORK,
    "im2col_tensor": convolution(LAYER, 32, 28, 128, 128, 3, kind="tf32"),
    "im2col_grad_tensor": convolution(LAYER, 32, 28, 128, 128, 3, kind="tf32"),
    "direct_conv": convolution(STEM, 32, 224, 3, 64, 7, 2),
    "direct_grad": convolution(STEM, 32, 224, 3, 64, 7, 2),
    "pack_weights": elementwise("a weight", 0, 1, 1),
    "pack_tensor": elementwise("a weight", 0, 1, 1),
    "add_in_order": elementwise("a weight, 4 stretches", 3, 4, 1),
    "winograd_product": Work(f"{LAYER}, 36 frequencies", WINOGRAD_FLOPS, 4 * 36 * WINOGRAD_MATRICES),
    "winograd_2x2": Work(LAYER, 16 / 4 / 9 * LAYER_WORK.flops, LAYER_WORK.bytes),
    "winograd_patches": elementwise("a channel of a 6x6 patch", 144, 16, 36),
    "winograd_outputs": elementwise("a channel of a 4x4 tile", 100, 36, 16),
    "depthwise_run": elementwise("an output of 3x3", 18, 1, 1),
    "depthwise_grad": elementwise("a pixel of 3x3", 18, 2, 0),
    "transpose_channels": elementwise("an element", 0, 1, 1),
    "copy_channels": elementwise("an element", 0, 1, 1),
    "find_nonfinite": elementwise("a weight", 1, 1, 0),
    "max_pool_forward": elementwise("an output of 3x3 / 2, with its index", 9, 4, 2),
    "max_pool_scatter": elementwise("an input of 3x3 / 2", 0.25, 0.5, 1),
    "check_indices": elementwise("an index", 2, 1, 0),
    "average_pool_forward": elementwise("an output of 2x2 / 2", 7, 4, 1),
    "average_pool_gather": elementwise("an input of 2x2 / 2", 4, 0.25, 1),
    "activate_all": elementwise("an element, ReLU", 1, 1, 1),
    "activate_grad_all": elementwise("an element, ReLU", 1, 2, 1),
    "add_all": elementwise("an element, with ReLU", 2, 2, 1),
    "drop_all": elementwise("an element", 1, 1, 1),
    "cast_all": elementwise("an element", 0, 1, 0.5),
    "channel_sums": elementwise("an element, moments in float64", 4, 1, 0, "fp64"),
    "finish_moments": elementwise("a channel, 4 stretches", 16, 16, 2, "fp64"),
    "finish_sums": elementwise("a channel, 4 stretches", 4, 16, 1, "fp64"),
    "finish_gradients": elementwise("a channel, 4 stretches", 24, 16, 4, "fp64"),
    "norm_scales": elementwise("a channel", 9, 2, 1, "fp64"),
    "normalize": elementwise("an element, with beta and ReLU", 4, 1, 1),
    "normalize_grad": elementwise("an element", 6, 2, 1),
    "softmax_rows": elementwise("a class", 22, 1, 1),
    "softmax_grad_rows": elementwise("a class", 4, 2, 1),
    "cross_entropy_rows": elementwise("a class", 12, 1, 0),
    "cross_entropy_grad_rows": elementwise("a class", 24, 1, 1),
    "update_all": elementwise("a weight, Adam", 18, 4, 3),
    "square_sums": elementwise("an element, in float64", 2, 1, 0, "fp64"),
    "average_all": elementwise("an element, in float64", 3, 2, 1, "fp64"),
}
