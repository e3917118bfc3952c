"""What every backend offers: the same functions with the same arguments, which ops has checked.

x, dy and outputs are C-contiguous, w may be any view or what pack made of one, and all arrays of a call share one float
type; beside bfloat16, w and what belongs to channels (b, db, gamma, mean, ...) is float32. Outputs are written
completely and overlap inputs only where it says so. g and p hold all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from ..geometry import ConvGeometry, PoolGeometry

Array: TypeAlias = npt.NDArray[Any]
Weights: TypeAlias = Any  # an Array, or what the backend's pack returned


class PlanFields(TypedDict):
    """What a backend would do for a convolution; possible are the algorithms that can do the shape.

    packed_algorithm: what it would take for weights that are packed once, since a call then doesn't pay for that.
    """

    algorithm: str
    packed_algorithm: str
    possible: tuple[str, ...]
    candidates: tuple[tuple[str, float | None, str], ...]  # as plan.Candidate
    tile: str
    workspace_bytes: int
    packed_bytes: int
    expected_gflops: float | None
    reason: str


def listed(
    found: list[tuple[str, float, str | None, bool]], accuracy: str
) -> tuple[tuple[str, ...], tuple[tuple[str, float | None, str], ...]]:
    """possible and candidates of PlanFields, from (name, seconds, why it can't or nothing, if accuracy admits it)."""
    possible = tuple(name for name, _, refused, _ in found if not refused)
    candidates = tuple(
        (name, None if refused else seconds, refused or ("" if admitted else f"not with accuracy {accuracy}"))
        for name, seconds, refused, admitted in found
    )
    return possible, candidates


class Update(NamedTuple):
    """One step of an optimizer. g = clamp(dw * scale, -clip, clip); w *= keep; then

    sgd      m = momentum * m - rate * g;  w += m, or with nesterov w += momentum * m - rate * g;  no m: momentum 0
    adam     m += rate_1 * (g - m);  v += rate_2 * (g**2 - v);  w -= rate * m / (sqrt(v) + epsilon)
    rmsprop  v += rate_2 * (g**2 - v);  m = momentum * m + rate * g / sqrt(v + epsilon);  w -= m

    and average += average_rate * (w - average).
    """

    rule: str
    rate: float
    keep: float = 1.0
    momentum: float = 0.0
    nesterov: bool = False
    rate_1: float = 0.0
    rate_2: float = 0.0
    epsilon: float = 0.0
    clip: float = math.inf
    average_rate: float = 0.0


class Memory(Protocol):
    """Where a device's arrays lie: CuPy's, in its pool and on its current stream."""

    def adopt(self, x: Any, name: str) -> Array:
        """x, of any library, as an array of CuPy, without a copy. Raises TypeError, or ValueError on another device."""

    def stream(self) -> int:
        """The address of the stream to work on."""

    def wait(self) -> None:
        """Until all on that stream is done."""

    def put(self, x: npt.NDArray[Any]) -> Array:
        """A copy of NumPy's x on the device."""

    def get(self, x: Array) -> npt.NDArray[Any]:
        """A copy of x in this machine's memory."""


class Backend(Protocol):
    """A module: native, numba or reference; or an object, of device.py."""

    @property
    def name(self) -> str: ...

    @property
    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """What x may hold."""

    @property
    def memory(self) -> Memory | None:
        """Where its arrays lie; None: in this machine's memory."""

    @property
    def has_bfloat16(self) -> bool:
        """Whether all but the losses and optimizers take bfloat16 too."""

    @property
    def are_plain(self) -> Callable[[Any, Any, Any, Any, Any], bool] | None:
        """are_plain(x, w, b, residual, out): whether all that aren't None are as conv takes them, but for their sizes.

        False says nothing. None where it wouldn't be faster than ops.check.
        """

    def conv(
        self,
        x: Array,
        w: Weights,
        b: Array | None,
        y: Array,
        g: ConvGeometry,
        *,
        algorithm: str,
        accuracy: str,
        activation: str | None,
        alpha: float,
        residual: Array | None,
    ) -> None:
        """y = activation(conv(x, w) + b + residual)."""

    def conv_grad_input(
        self,
        dy: Array,
        w: Weights,
        dx: Array,
        g: ConvGeometry,
        *,
        algorithm: str,
        accuracy: str,
        b: Array | None = None,
        activation: str | None = None,
        alpha: float = 0.0,
        residual: Array | None = None,
    ) -> None:
        """dx = activation(the input gradient + b + residual): a transposed convolution is this."""

    def separable_conv(
        self, x: Array, depthwise_w: Weights, depthwise_b: Array | None, middle: Array | None, pointwise_w: Weights,
        b: Array | None, y: Array, depthwise: ConvGeometry, pointwise: ConvGeometry,
        *, depthwise_activation: str | None, depthwise_alpha: float, activation: str | None, alpha: float,
        residual: Array | None,
    ) -> None:  # fmt: skip
        """conv of conv's result, the middle: room for it, or None where plan_separable says that it is never stored."""

    def plan_separable(self, depthwise: ConvGeometry, pointwise: ConvGeometry) -> tuple[bool, str, int]:
        """Whether the two take one pass, the reason, and the bytes of workspace of each thread."""

    def pack(self, w: Array, g: ConvGeometry, direction: str, algorithm: str) -> Weights:
        """w for the forward or grad_input pass by that algorithm, in memory of its own: has shape and nbytes."""

    def conv_bf16(
        self, x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry, *, activation: str | None, alpha: float
    ) -> None:
        """x and w bfloat16, b float32, y either. Summed in float32, the odd one of two channels first.

        w may be float32: then the backend may round it, or compute in float32 and round the result.
        """

    def bf16_algorithm(self, w: Weights, g: ConvGeometry) -> str:
        """What conv_bf16 takes, for traces."""

    def conv_bf16_grad_input(
        self, dy: Array, w: Array, dx: Array, g: ConvGeometry, *, algorithm: str, accuracy: str
    ) -> None:
        """dy and dx bfloat16, w float32, which the backend may round: what conv_grad_input computes, rounded."""

    def conv_bf16_grad_weight(
        self, x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str
    ) -> None:
        """x and dy bfloat16, dw float32."""

    def cast(self, x: Array, y: Array) -> None:
        """float32 to bfloat16, to the nearest, half to even, or back."""

    def conv_int8(
        self, x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry,
        *, scale: Array, x_zero_point: int, y_zero_point: int, activation: str | None,
    ) -> None:  # fmt: skip
        """x and y uint8 or int8, w int8, b int32, scale float32 (co,). Summed exactly; activation is None or relu."""

    def pack_words(self, w: Array, g: ConvGeometry) -> Weights:
        """w of bfloat16 or int8 for the forward pass, in memory of its own: has nbytes."""

    def conv_grad_weight(
        self,
        x: Array,
        dy: Array,
        dw: Array,
        g: ConvGeometry,
        *,
        algorithm: str,
        accuracy: str,
        db: Array | None = None,
        y: Array | None = None,
        work: Array | None = None,
        activation: str | None = None,
        alpha: float = 0.0,
    ) -> None:
        """With db: of dz = dy f'(y), whose sum it takes. work, of dy's shape, may be dy and be written over."""

    def conv_grad_bias(self, dy: Array, db: Array, channels_last: bool) -> None: ...

    def max_pool(self, x: Array, y: Array, indices: Array | None, p: PoolGeometry) -> None:
        """indices: int32, flat over the plane of one image and channel; the first of equals, the first NaN."""

    def max_pool_grad(self, dy: Array, indices: Array, dx: Array, p: PoolGeometry) -> None:
        """p carries shapes only: the indices say where dy goes. Raises ValueError on one outside of the plane."""

    def average_pool(self, x: Array, y: Array, p: PoolGeometry) -> None: ...

    def average_pool_grad(self, dy: Array, dx: Array, p: PoolGeometry) -> None: ...

    def activation(self, x: Array, y: Array, kind: str, alpha: float) -> None:
        """y may be x."""

    def activation_grad(self, dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None:
        """From y, except gelu: from x, which is None for the others. dx may be dy."""

    def add(self, a: Array, b: Array, y: Array, activation: str | None, alpha: float) -> None:
        """y = activation(a + b); y may be a or b."""

    def concatenate(self, arrays: list[Array], y: Array, axis: int) -> None:
        """y = the arrays side by side along the axis, all contiguous and of one type."""

    def softmax(self, x: Array, y: Array) -> None:
        """Over the last axis of (rows, classes)."""

    def softmax_grad(self, dy: Array, y: Array, dx: Array) -> None: ...

    def softmax_cross_entropy(self, logits: Array, labels: Array, loss: Array) -> None:
        """logits (n, c), labels int32 (n,) or a distribution (n, c) -> loss (n,)."""

    def softmax_cross_entropy_grad(self, logits: Array, labels: Array, scale: Array, dlogits: Array) -> None:
        """dlogits[i] = scale[i] * (softmax(logits[i]) * sum(labels[i]) - labels[i])."""

    def batch_norm_statistics(self, x: Array, mean: Array, variance: Array, channels_last: bool) -> None: ...

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, residual: Array | None, y: Array,
        epsilon: float, activation: str | None, alpha: float, channels_last: bool,
    ) -> None:  # fmt: skip
        """y may be x or residual."""

    def batch_norm_grad(
        self, dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, y: Array | None, beta: Array | None,
        dx: Array, dz: Array | None, dgamma: Array, dbeta: Array, epsilon: float, masked: bool, channels_last: bool,
    ) -> None:  # fmt: skip
        """mean and variance are the batch's own. masked: dz = dy where y > 0, and y is the output, or beta is given.

        dz may be None; dx and dz may be dy.
        """

    def group_norm(
        self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array, epsilon: float
    ) -> None:
        """x (n, c, ...), not empty; mean and variance (n, groups) are found. y may be x."""

    def group_norm_grad(
        self, dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, dx: Array, dgamma: Array, dbeta: Array,
        epsilon: float,
    ) -> None:  # fmt: skip
        """mean and variance are those that group_norm found; dx may be dy."""

    def activation_grad_bias(
        self, dy: Array, y: Array, x: Array | None, dz: Array, db: Array, kind: str, alpha: float, channels_last: bool
    ) -> None:
        """dz as activation_grad makes it, which may be dy, and its sum over all but the channels."""

    def dropout(self, x: Array, y: Array, rate: float, seed: int) -> None:
        """The mask depends on the element's number and the seed only; y may be x."""

    def optimizer_update(
        self, u: Update, w: list[Array], dw: list[Array], m: list[Array], v: list[Array], average: list[Array],
        scales: list[float],
    ) -> None:  # fmt: skip
        """One step of all parameters, in place; m, v and average hold one array a parameter, or none at all."""

    def square_sums(self, arrays: list[Array]) -> list[float]:
        """The sum of squares of each array."""

    def moving_average(self, average: Array, value: Array, momentum: float) -> None:
        """average = momentum * average + (1 - momentum) * value."""

    def plan(self, g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
        """direction: forward, grad_input or grad_weight. Raises ValueError if the algorithm can't do the shape."""

    def isa_available(self) -> list[str]: ...

    def isa_name(self) -> str: ...

    def isa_use(self, name: str) -> None: ...

    def isa_kernels(self) -> list[str]: ...

    @property
    def workspace_limit(self) -> Callable[[], int] | None:
        """Bytes that a plan may ask of a thread, packed weights apart; None where that can't be set."""

    @property
    def set_workspace_limit(self) -> Callable[[int], None] | None: ...

    def thread_count(self) -> int: ...

    def set_thread_count(self, n: int) -> None:
        """n >= 1, or 0: as many as the machine gives this process."""

    def fma_peak(self, steps: int, dtype: str) -> float:
        """GFLOP/s of multiply-adds in registers on all threads, measured over `steps`; NaN without such a kernel.

        dtype: float32, bfloat16 or int8.
        """

    def build_info(self) -> dict[str, str]: ...
