"""The extension module: what csrc/bind offers to backend/native.py."""

from collections.abc import Sequence
from typing import Any, TypedDict

from .interface import Array

class ConvPlan(TypedDict):
    candidates: list[tuple[str, float, str | None, bool]]
    dot: bool
    algorithm: str
    packed_algorithm: str
    depthwise: bool
    tile: tuple[int, int]
    block: tuple[int, int, int]
    tasks: int
    chunks: int
    workspace_bytes: int
    packed_bytes: int
    expected_gflops: float
    reason: str

class Geometry:
    """The sizes of a convolution, checked once; before is the padding before each axis."""

    def __init__(
        self,
        x_shape: Sequence[int],
        w_shape: Sequence[int],
        y_shape: Sequence[int],
        strides: Sequence[int],
        before: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        channels_last: bool,
    ) -> None: ...

def conv_forward(
    geometry: Geometry,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    algorithm: str,
    accuracy: str,
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None: ...
def conv_grad_input(
    geometry: Geometry,
    dy: Array,
    w: Array,
    b: Array | None,
    dx: Array,
    algorithm: str,
    accuracy: str,
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None: ...
def are_plain(x: object, w: object, b: object, residual: object, out: object) -> bool: ...

class PackedWeights:
    """Weights in the layout of one algorithm, pass ("forward" or "grad_input") and instruction set."""

    def __init__(self, geometry: Geometry, w: Array, direction: str, algorithm: str, accuracy: str) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

def separable_conv(
    depthwise: Geometry,
    pointwise: Geometry,
    x: Array,
    depthwise_w: Array | PackedWeights,
    pointwise_w: Array | PackedWeights,
    depthwise_b: Array | None,
    b: Array | None,
    y: Array,
    depthwise_activation: str | None,
    depthwise_alpha: float,
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None: ...
def plan_separable(depthwise: Geometry, pointwise: Geometry) -> tuple[bool, str, int]: ...
def conv_packed(
    geometry: Geometry,
    input: Array,
    w: PackedWeights,
    b: Array | None,
    output: Array,
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None: ...
def conv_grad_weight(
    geometry: Geometry,
    x: Array,
    dy: Array,
    dw: Array,
    algorithm: str,
    accuracy: str,
    db: Array | None,
    y: Array | None,
    work: Array | None,
    activation: str | None,
    alpha: float,
) -> None: ...
def conv_bf16_grad_input(geometry: Geometry, dy: Array, w: Array, dx: Array, algorithm: str, accuracy: str) -> None: ...
def conv_bf16_grad_weight(
    geometry: Geometry, x: Array, dy: Array, dw: Array, algorithm: str, accuracy: str
) -> None: ...
def conv_grad_bias(dy: Array, db: Array, channels_last: bool) -> None: ...
def plan_conv(geometry: Geometry, direction: str, algorithm: str, accuracy: str) -> ConvPlan: ...

class PackedWords:
    """Weights of int8, or of bfloat16 as uint16, in words of channels."""

    nbytes: int

    def __init__(self, geometry: Geometry, w: Array) -> None: ...

def conv_bf16(
    geometry: Geometry,
    x: Array,
    w: PackedWords | Array,
    b: Array | None,
    y: Array,
    activation: str | None,
    alpha: float,
) -> None: ...
def widened_algorithm(geometry: Geometry) -> str | None: ...
def conv_int8(
    geometry: Geometry,
    x: Array,
    w: PackedWords,
    b: Array | None,
    y: Array,
    scale: Array,
    x_zero_point: int,
    y_zero_point: int,
    relu: bool,
) -> None: ...

class Pooling:
    """The sizes of a pooling, checked once; before and after are the padding of each axis."""

    def __init__(
        self,
        x_shape: Sequence[int],
        y_shape: Sequence[int],
        size: Sequence[int],
        strides: Sequence[int],
        before: Sequence[int],
        after: Sequence[int],
        dilation: Sequence[int],
        count_include_pad: bool,
        adaptive: bool,
        channels_last: bool,
    ) -> None: ...

def max_pool(pooling: Pooling, x: Array, y: Array, indices: Array | None) -> None: ...
def max_pool_grad(pooling: Pooling, dy: Array, indices: Array, dx: Array) -> None: ...
def average_pool(pooling: Pooling, x: Array, y: Array) -> None: ...
def average_pool_grad(pooling: Pooling, dy: Array, dx: Array) -> None: ...
def activation(x: Array, y: Array, kind: str, alpha: float) -> None: ...
def activation_grad(dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None: ...
def softmax(x: Array, y: Array) -> None: ...
def softmax_grad(dy: Array, y: Array, dx: Array) -> None: ...
def softmax_cross_entropy(logits: Array, labels: Array, loss: Array) -> None: ...
def softmax_cross_entropy_grad(logits: Array, labels: Array, scale: Array, dlogits: Array) -> None: ...
def batch_norm_statistics(x: Array, mean: Array, variance: Array, channels_last: bool) -> None: ...
def batch_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    residual: Array | None,
    y: Array,
    epsilon: float,
    activation: str | None,
    alpha: float,
    channels_last: bool,
) -> None: ...
def batch_norm_grad(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    y: Array | None,
    beta: Array | None,
    dx: Array,
    dz: Array | None,
    dgamma: Array,
    dbeta: Array,
    epsilon: float,
    masked: bool,
    channels_last: bool,
) -> None: ...
def group_norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array, epsilon: float) -> None: ...
def group_norm_grad(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
    epsilon: float,
) -> None: ...
def activation_grad_bias(
    dy: Array,
    y: Array,
    x: Array | None,
    dz: Array,
    db: Array,
    kind: str,
    alpha: float,
    channels_last: bool,
) -> None: ...
def add(a: Array, b: Array, y: Array, activation: str | None, alpha: float) -> None: ...
def concatenate(arrays: list[Array], y: Array, rows: int) -> None: ...
def cast(x: Array, y: Array) -> None: ...
def dropout(x: Array, y: Array, rate: float, seed: int) -> None: ...
def optimizer_update(
    rule: str,
    w: list[Array],
    dw: list[Array],
    m: list[Array],
    v: list[Array],
    average: list[Array],
    scales: list[float],
    rate: float,
    keep: float,
    momentum: float,
    nesterov: bool,
    rate_1: float,
    rate_2: float,
    epsilon: float,
    clip: float,
    average_rate: float,
) -> None: ...
def square_sums(arrays: list[Array]) -> list[float]: ...
def moving_average(average: Array, value: Array, momentum: float) -> None: ...
def isa_available() -> list[str]: ...
def isa_name() -> str: ...
def isa_use(name: str) -> None: ...
def isa_kernels() -> list[str]: ...
def isa_lanes() -> int: ...
def workspace_limit() -> int: ...
def set_workspace_limit(bytes: int) -> None: ...
def thread_count() -> int: ...
def set_thread_count(n: int) -> None: ...
def machine_threads() -> int: ...
def scratch_bytes() -> int: ...
def fma_peak(steps: int, dtype: str) -> float:
    """GFLOP/s of register-only multiply-adds, all threads together."""

def build_info() -> dict[str, Any]: ...
