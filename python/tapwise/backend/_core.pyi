"""The extension module: what csrc/bind offers to backend/native.py."""

from collections.abc import Sequence
from typing import Any, TypedDict

from .interface import Array

class ConvPlan(TypedDict):
    possible: tuple[str, ...]
    dot: bool
    algorithm: str
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
    activation: str | None,
    alpha: float,
    residual: Array | None,
) -> None: ...
def conv_grad_weight(geometry: Geometry, x: Array, dy: Array, dw: Array, algorithm: str) -> None: ...
def conv_grad_bias(dy: Array, db: Array, channels_last: bool) -> None: ...
def plan_conv(geometry: Geometry, direction: str, algorithm: str) -> ConvPlan: ...
def isa_available() -> list[str]: ...
def isa_name() -> str: ...
def isa_use(name: str) -> None: ...
def isa_kernels() -> list[str]: ...
def isa_lanes() -> int: ...
def thread_count() -> int: ...
def set_thread_count(n: int) -> None: ...
def machine_threads() -> int: ...
def scratch_bytes() -> int: ...
def fma_peak(steps: int) -> float:
    """GFLOP/s of register-only multiply-adds, all threads together."""

def build_info() -> dict[str, Any]: ...
