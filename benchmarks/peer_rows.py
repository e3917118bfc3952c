"""The rows that engines are compared on: operations, shapes and operation counts, without any engine.

A name says kernel, channels in-out, the input's size, the batch; s2 is stride 2.
"""

import csv
from dataclasses import asdict, dataclass, replace
from math import prod

CONV = ("forward", "grad_input", "grad_weight")
POOL = ("max_pool", "average_pool", "max_pool_grad", "average_pool_grad")
L3_BYTES = 32 << 20  # what a chain of cold layers must exceed


@dataclass(frozen=True)
class Row:
    """One operation: x (n, *spatial, ci), w (*k, ci // groups, co), or of pooling the window (*k,); channels last.

    padding is (before, after) an axis. data_format is the layout that pooling is timed in; an engine picks its own
    for a convolution. A chain longer than 1 feeds y back as x, with as many weights, and counts one of them.
    """

    name: str
    operation: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    data_format: str = "channels_last"
    chain: int = 1

    @property
    def rank(self):
        return len(self.x_shape) - 2

    @property
    def kernel(self):
        return self.w_shape[: self.rank]

    @property
    def channels(self):
        return self.x_shape[-1]

    @property
    def groups(self):
        return self.channels // self.w_shape[-2]

    @property
    def y_shape(self):
        axes = zip(self.x_shape[1:-1], self.kernel, self.strides, self.padding, self.dilation, strict=True)
        outputs = [(size + sum(pad) - dil * (k - 1) - 1) // stride + 1 for size, k, stride, pad, dil in axes]
        return (self.x_shape[0], *outputs, self.channels if self.operation in POOL else self.w_shape[-1])

    @property
    def terms(self):
        """Products in one sum."""
        if self.operation == "grad_weight":
            return prod(self.y_shape[:-1])
        if self.operation == "grad_input":
            return prod(self.kernel) * self.w_shape[-1] // self.groups
        return prod(self.w_shape[:-1]) if self.operation == "forward" else prod(self.kernel)

    @property
    def flops(self):
        """A multiplication and an addition for each term of each output of the direct method; none of pooling."""
        return 0 if self.operation in POOL else 2 * prod(self.y_shape) * prod(self.w_shape[:-1])

    @property
    def bytes(self):
        """Of each array once: float32, and int32 indices where a gradient reads them."""
        arrays = prod(self.x_shape) + prod(self.y_shape)
        if self.operation not in POOL:
            arrays += prod(self.w_shape)
        elif self.operation == "max_pool_grad":
            arrays += prod(self.y_shape)
        return 4 * arrays

    def as_json(self):
        return asdict(self)


def row_from_json(fields):
    def frozen(value):
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return Row(**{key: frozen(value) for key, value in fields.items()})


def conv(name, n, size, kernel, ci, co, stride=1, padding=None, groups=1, rank=2):
    """Square images and kernels; padding keeps the size of stride 1 unless it is given."""
    pad = kernel // 2 if padding is None else padding
    return Row(
        name, "forward", (n, *(size,) * rank, ci), (*(kernel,) * rank, ci // groups, co),
        (stride,) * rank, ((pad, pad),) * rank, (1,) * rank,
    )  # fmt: skip


STEM = conv("ResNet-50 stem 7x7 s2, 224, n1", 1, 224, 7, 3, 64, 2)
VGG_112 = conv("VGG 3x3 128 @112 n1", 1, 112, 3, 128, 128)
VGG_14 = conv("VGG 3x3 512 @14 n1", 1, 14, 3, 512, 512)
LENET_1 = conv("LeNet 5x5 1-32 @28 n64", 64, 28, 5, 1, 32)
LENET_2 = conv("LeNet 5x5 32-64 @14 n64", 64, 14, 5, 32, 64)
CIFAR = conv("CIFAR 3x3 32-64 @32 n64", 64, 32, 3, 32, 64)
N16_64 = conv("3x3 64 @56 n16", 16, 56, 3, 64, 64)
N16_256 = conv("3x3 256 @14 n16", 16, 14, 3, 256, 256)
N16_1X1 = conv("1x1 256-64 @56 n16", 16, 56, 1, 256, 64)
N16_DEPTHWISE = conv("depthwise 144 @56 n16", 16, 56, 3, 144, 144, groups=144)
SIGNAL = conv("conv1d k9 64 @16000 n1", 1, 16000, 9, 64, 64, rank=1)

FORWARD = (
    STEM,
    conv("3x3 64 @56 n1", 1, 56, 3, 64, 64),
    conv("1x1 64-256 @56 n1", 1, 56, 1, 64, 256),
    conv("3x3 128 @28 n1", 1, 28, 3, 128, 128),
    conv("3x3 s2 128 @56 n1", 1, 56, 3, 128, 128, 2),
    conv("1x1 s2 256-512 @56 n1", 1, 56, 1, 256, 512, 2),
    conv("3x3 256 @14 n1", 1, 14, 3, 256, 256),
    conv("1x1 1024-256 @14 n1", 1, 14, 1, 1024, 256),
    conv("3x3 512 @7 n1", 1, 7, 3, 512, 512),
    conv("VGG 3x3 64 @224 n1", 1, 224, 3, 64, 64),
    VGG_112,
    conv("VGG 3x3 256 @56 n1", 1, 56, 3, 256, 256),
    conv("VGG 3x3 512 @28 n1", 1, 28, 3, 512, 512),
    VGG_14,
    conv("MobileNetV2 depthwise 144 @56 n1", 1, 56, 3, 144, 144, groups=144),
    conv("MobileNetV2 depthwise s2 96 @112 n1", 1, 112, 3, 96, 96, 2, groups=96),
    conv("MobileNetV2 depthwise 384 @14 n1", 1, 14, 3, 384, 384, groups=384),
    conv("MobileNetV2 1x1 64-384 @14 n1", 1, 14, 1, 64, 384),
    LENET_1,
    LENET_2,
    CIFAR,
    N16_64,
    N16_256,
    N16_1X1,
    N16_DEPTHWISE,
    SIGNAL,
)
GRADIENT = (
    replace(STEM, name="stem 7x7 s2 n1"),
    VGG_112,
    VGG_14,
    LENET_1,
    LENET_2,
    CIFAR,
    N16_64,
    N16_256,
    N16_1X1,
    N16_DEPTHWISE,
    conv("3x3 s2 128 @56 n16", 16, 56, 3, 128, 128, 2),
    conv("1x1 1024-256 @14 n16", 16, 14, 1, 1024, 256),
    conv("stem 7x7 s2 n16", 16, 224, 7, 3, 64, 2),
    SIGNAL,
)
# A whole call on these takes microseconds: what counts is its fixed cost.
TINY = (
    conv("3x3 3-8 @8", 1, 8, 3, 3, 8),
    conv("5x5 1-6 @28", 1, 28, 5, 1, 6),
    conv("1x1 16-16 @8", 1, 8, 1, 16, 16),
    conv("3x3 32-32 @4", 1, 4, 3, 32, 32),
)


def gradients(operation):
    return tuple(replace(row, operation=operation) for row in GRADIENT)


def cold():
    """Square layers in chains whose weights take twice the L3: each layer's come from memory, as in a network."""
    rows = [row for row in FORWARD if row.x_shape == row.y_shape and row.x_shape[0] == 1 and row.groups == 1]
    chains = [(row, -(-2 * L3_BYTES // (4 * prod(row.w_shape)))) for row in rows if row.rank == 2]
    return tuple(replace(row, name=f"{row.name}, chain of {n}", chain=n) for row, n in chains if n <= 128)


def pooling():
    return tuple(
        Row(
            f"{operation.replace('_', ' ')} {window}x{window} s{stride} {c} @{size} n{n} {layout}",
            operation, (n, size, size, c), (window,) * 2, (stride,) * 2, ((0, 0),) * 2, (1,) * 2, data_format,
        )
        for operation in POOL
        for window, stride, c, size, n in ((3, 2, 64, 112, 16), (2, 2, 64, 56, 16), (3, 2, 64, 112, 1))
        for layout, data_format in (("nhwc", "channels_last"), ("nchw", "channels_first"))
    )  # fmt: skip


def from_csv(path, operation="forward"):
    """Layers of a table with the columns set, name, n, groups, ci, co, id ih iw, od oh ow, k*, s*, dil_*, p*.

    A 2-D layer has depth 1, a signal height 1 too. Padding after may be negative: rows that aren't used; 0 is the same.
    """
    with open(path, newline="") as file:
        return tuple(csv_row(line, operation) for line in csv.DictReader(file))


def csv_row(line, operation):
    number = {key: int(value) for key, value in line.items() if key not in ("set", "name")}
    axes = [axis for axis in "dhw" if axis == "w" or number[f"i{axis}"] > 1 or number[f"k{axis}"] > 1]
    if "d" in axes and "h" not in axes:
        axes.insert(1, "h")
    before, after = {"d": "pf", "h": "pt", "w": "pl"}, {"d": "pk", "h": "pb", "w": "pr"}

    def each(prefix):
        return tuple(number[f"{prefix}{axis}"] for axis in axes)

    row = Row(
        f"{line['set']} {line['name']}", operation, (number["n"], *each("i"), number["ci"]),
        (*each("k"), number["ci"] // number["groups"], number["co"]), each("s"),
        tuple((number[before[axis]], max(0, number[after[axis]])) for axis in axes), each("dil_"),
    )  # fmt: skip
    if row.y_shape[1:-1] != each("o"):
        raise ValueError(f"{row.name!r} must have output {each('o')}, got {row.y_shape[1:-1]}")
    return row
