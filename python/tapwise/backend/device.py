"""The kernels for NVIDIA devices as a backend, over one of the extensions that hold them: cuda, cuda_emulated.

One is for arrays on a device, the other for NumPy's, and nothing else differs.

Each function hands its arrays to the extension with the caller's stream; the extension checks what memory safety needs
and lets the GIL go.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any, NoReturn

import numpy as np

from ..geometry import ConvGeometry, PoolGeometry
from .device_plan import conv_sizes, plan_fields
from .groups import by_batch_norm
from .interface import Array, Memory, PlanFields, Update, Weights
from .separable import in_two_passes, plan_separable
from .silent import on_float32

FLOAT32 = np.dtype(np.float32)
GEOMETRIES = 1024  # kept, made for the extension


# Beside convolutions, which multiply bfloat16 as it is; and what each of them writes of x's type.
WIDENED = {
    "activation": ("y",), "activation_grad": ("dx",), "activation_grad_bias": ("dz",), "add": ("y",),
    "average_pool": ("y",), "average_pool_grad": ("dx",), "batch_norm": ("y",), "batch_norm_grad": ("dx", "dz"),
    "batch_norm_statistics": (), "conv_grad_bias": (), "dropout": ("y",), "group_norm": ("y",),
    "group_norm_grad": ("dx",), "max_pool": ("y",), "max_pool_grad": ("dx",), "softmax": ("y",),
    "softmax_grad": ("dx",),
}  # fmt: skip


def refuse_int8(*arrays: Any, **options: Any) -> NoReturn:
    raise TypeError("x must be float32 or bfloat16 on the device's backends, which have no int8")


def words(a: Any) -> Any:
    """The bits of bfloat16; float32 as it is."""
    return a if a.dtype == FLOAT32 else a.view(np.uint16)


class Device:
    """A Backend of interface.py; memory None: NumPy's arrays, on no stream."""

    dtypes = (FLOAT32,)
    has_bfloat16 = True
    are_plain = workspace_limit = set_workspace_limit = None
    plan_separable = staticmethod(plan_separable)
    conv_int8 = staticmethod(refuse_int8)

    def __init__(self, name: str, extension: Any, memory: Memory | None) -> None:
        self.name, self.extension, self.memory = name, extension, memory
        self._conv, self._pooling = (
            lru_cache(GEOMETRIES)(partial(conv_sizes, extension)),
            lru_cache(GEOMETRIES)(self._pool_sizes),
        )
        self.separable_conv = in_two_passes(self.conv)
        norm = self.batch_norm_statistics, self.batch_norm, self.batch_norm_grad
        self.group_norm, self.group_norm_grad = by_batch_norm(*norm)
        for operation, outputs in WIDENED.items():
            setattr(self, operation, on_float32(outputs, getattr(self, operation), self.cast))
        self.threads = 1

    def stream(self) -> int:
        """The address of the caller's."""
        return 0 if self.memory is None else self.memory.stream()

    def conv(
        self, x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry,
        *, algorithm: str, accuracy: str, activation: str | None, alpha: float, residual: Array | None,
    ) -> None:  # fmt: skip
        """As interface.Backend.conv."""
        self.extension.conv_forward(
            self._conv(g), x, w, b, y, algorithm, accuracy, activation, alpha, residual, self.stream()
        )

    def conv_grad_input(
        self, dy: Array, w: Weights, dx: Array, g: ConvGeometry,
        *, algorithm: str, accuracy: str, b: Array | None = None, activation: str | None = None, alpha: float = 0.0,
        residual: Array | None = None,
    ) -> None:  # fmt: skip
        """As interface.Backend.conv_grad_input."""
        self.extension.conv_grad_input(
            self._conv(g), dy, w, b, dx, algorithm, accuracy, activation, alpha, residual, self.stream()
        )

    def pack(self, w: Array, g: ConvGeometry, direction: str, algorithm: str) -> Weights:
        """A copy: kernels pack what they need in the order of the stream."""
        return w.copy()

    def conv_bf16(
        self, x: Array, w: Weights, b: Array | None, y: Array, g: ConvGeometry, *, activation: str | None, alpha: float
    ) -> None:
        """As interface.Backend.conv_bf16: float32's weights are rounded, sums are float32's in any order."""
        self.extension.conv_bf16(self._conv(g), words(x), words(w), b, words(y), activation, alpha, self.stream())

    def conv_bf16_grad_input(
        self, dy: Array, w: Array, dx: Array, g: ConvGeometry, *, algorithm: str, accuracy: str
    ) -> None:
        """As interface.Backend.conv_bf16_grad_input: w is rounded, whatever the accuracy."""
        self.extension.conv_bf16_grad_input(self._conv(g), words(dy), w, words(dx), algorithm, self.stream())

    def conv_bf16_grad_weight(
        self, x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str
    ) -> None:
        """As interface.Backend.conv_bf16_grad_weight: products are exact, whatever the accuracy."""
        self.extension.conv_bf16_grad_weight(self._conv(g), words(x), words(dy), dw, algorithm, self.stream())

    def bf16_algorithm(self, w: Weights, g: ConvGeometry) -> str:
        """im2col on tensor cores, or a thread an output."""
        name: str = self.extension.bf16_algorithm(self._conv(g))
        return name

    def cast(self, x: Array, y: Array) -> None:
        """As interface.Backend.cast; a NaN needn't keep its bits."""
        self.extension.cast(words(x), words(y), self.stream())

    def pack_words(self, w: Array, g: ConvGeometry) -> Weights:
        """A copy, as pack makes it."""
        return w.copy()

    def conv_grad_weight(
        self, x: Array, dy: Array, dw: Array, g: ConvGeometry, *, algorithm: str, accuracy: str,
        db: Array | None = None, y: Array | None = None, work: Array | None = None, activation: str | None = None,
        alpha: float = 0.0,
    ) -> None:  # fmt: skip
        """As interface.Backend.conv_grad_weight."""
        if activation is not None and y is not None and work is not None:
            self.activation_grad(dy, y, None, work, activation, alpha)
            dy = work
        if db is not None:
            self.conv_grad_bias(dy, db, g.channels_last)
        self.extension.conv_grad_weight(self._conv(g), x, dy, dw, algorithm, accuracy, self.stream())

    def conv_grad_bias(self, dy: Array, db: Array, channels_last: bool) -> None:
        """The sum of dy over all but the channels."""
        self.extension.activation_grad_bias(dy, None, None, None, db, "linear", 0.0, channels_last, self.stream())

    def _pool_sizes(self, p: PoolGeometry) -> Any:
        before, after = zip(*p.padding, strict=True)
        return self.extension.Pooling(
            p.x_shape, p.y_shape, p.size, p.strides, before, after, p.dilation,
            p.count_include_pad, p.adaptive, p.channels_last,
        )  # fmt: skip

    def max_pool(self, x: Array, y: Array, indices: Array | None, p: PoolGeometry) -> None:
        """As interface.Backend.max_pool."""
        self.extension.max_pool(self._pooling(p), x, y, indices, self.stream())

    def max_pool_grad(self, dy: Array, indices: Array, dx: Array, p: PoolGeometry) -> None:
        """As interface.Backend.max_pool_grad; waits for the stream, since the indices are checked first."""
        self.extension.max_pool_grad(self._pooling(p), dy, indices, dx, self.stream())

    def average_pool(self, x: Array, y: Array, p: PoolGeometry) -> None:
        """As interface.Backend.average_pool."""
        self.extension.average_pool(self._pooling(p), x, y, self.stream())

    def average_pool_grad(self, dy: Array, dx: Array, p: PoolGeometry) -> None:
        """As interface.Backend.average_pool_grad."""
        self.extension.average_pool_grad(self._pooling(p), dy, dx, self.stream())

    def activation(self, x: Array, y: Array, kind: str, alpha: float) -> None:
        """As interface.Backend.activation."""
        self.extension.activation(x, y, kind, alpha, self.stream())

    def activation_grad(self, dy: Array, y: Array, x: Array | None, dx: Array, kind: str, alpha: float) -> None:
        """As interface.Backend.activation_grad."""
        self.extension.activation_grad(dy, y, x, dx, kind, alpha, self.stream())

    def add(self, a: Array, b: Array, y: Array, activation: str | None, alpha: float) -> None:
        """As interface.Backend.add."""
        self.extension.add(a, b, y, activation, alpha, self.stream())

    def concatenate(self, arrays: list[Array], y: Array, axis: int) -> None:
        """As interface.Backend.concatenate."""
        np.concatenate(arrays, axis, out=y)

    def softmax(self, x: Array, y: Array) -> None:
        """As interface.Backend.softmax."""
        self.extension.softmax(x, y, self.stream())

    def softmax_grad(self, dy: Array, y: Array, dx: Array) -> None:
        """As interface.Backend.softmax_grad."""
        self.extension.softmax_grad(dy, y, dx, self.stream())

    def softmax_cross_entropy(self, logits: Array, labels: Array, loss: Array) -> None:
        """As interface.Backend.softmax_cross_entropy."""
        self.extension.softmax_cross_entropy(logits, labels, loss, self.stream())

    def softmax_cross_entropy_grad(self, logits: Array, labels: Array, scale: Array, dlogits: Array) -> None:
        """As interface.Backend.softmax_cross_entropy_grad."""
        self.extension.softmax_cross_entropy_grad(logits, labels, scale, dlogits, self.stream())

    def batch_norm_statistics(self, x: Array, mean: Array, variance: Array, channels_last: bool) -> None:
        """As interface.Backend.batch_norm_statistics."""
        self.extension.batch_norm_statistics(x, mean, variance, channels_last, self.stream())

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, residual: Array | None, y: Array,
        epsilon: float, activation: str | None, alpha: float, channels_last: bool,
    ) -> None:  # fmt: skip
        """As interface.Backend.batch_norm."""
        self.extension.batch_norm(
            x, gamma, beta, mean, variance, residual, y, epsilon, activation, alpha, channels_last, self.stream()
        )

    def batch_norm_grad(
        self, dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, y: Array | None, beta: Array | None,
        dx: Array, dz: Array | None, dgamma: Array, dbeta: Array, epsilon: float, masked: bool, channels_last: bool,
    ) -> None:  # fmt: skip
        """As interface.Backend.batch_norm_grad."""
        self.extension.batch_norm_grad(
            dy, x, gamma, mean, variance, y, beta, dx, dz, dgamma, dbeta, epsilon, masked, channels_last, self.stream()
        )

    def activation_grad_bias(
        self, dy: Array, y: Array, x: Array | None, dz: Array, db: Array, kind: str, alpha: float, channels_last: bool
    ) -> None:
        """As interface.Backend.activation_grad_bias."""
        self.extension.activation_grad_bias(dy, y, x, dz, db, kind, alpha, channels_last, self.stream())

    def dropout(self, x: Array, y: Array, rate: float, seed: int) -> None:
        """As interface.Backend.dropout."""
        self.extension.dropout(x, y, rate, seed, self.stream())

    def optimizer_update(
        self, u: Update, w: list[Array], dw: list[Array], m: list[Array], v: list[Array], average: list[Array],
        scales: list[float],
    ) -> None:  # fmt: skip
        """As interface.Backend.optimizer_update, one launch a parameter."""
        for i, scale in enumerate(scales):
            states = (a[i] if a else None for a in (m, v, average))
            self.extension.optimizer_update(u.rule, w[i], dw[i], *states, scale, *u[1:], self.stream())

    def square_sums(self, arrays: list[Array]) -> list[float]:
        """As interface.Backend.square_sums; waits for the stream."""
        return [self.extension.square_sum(a, self.stream()) for a in arrays]

    def moving_average(self, average: Array, value: Array, momentum: float) -> None:
        """As interface.Backend.moving_average."""
        self.extension.moving_average(average, value, momentum, self.stream())

    def plan(self, g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
        """As interface.Backend.plan, for the current device."""
        return plan_fields(self.extension, self._conv(g), direction, algorithm, accuracy)

    def isa_available(self) -> list[str]:
        """The current device's name."""
        return [self.isa_name()]

    def isa_name(self) -> str:
        """The current device's: what tune measured holds for devices of that name."""
        name: str = self.extension.device_name()
        return name

    def isa_use(self, name: str) -> None:
        """Raises ValueError on another than the current device's."""
        if name != self.isa_name():
            raise ValueError(f"isa must be {self.isa_name()} on the {self.name} backend, got {name!r}")

    def isa_kernels(self) -> list[str]:
        """None: levels of a CPU have kernels of their own, devices don't."""
        return []

    def thread_count(self) -> int:
        """What was asked for; the device has threads of its own."""
        return self.threads

    def set_thread_count(self, n: int) -> None:
        """Kept, and without effect."""
        self.threads = max(n, 1)

    def fma_peak(self, steps: int, dtype: str) -> float:
        """There is no such kernel."""
        return math.nan

    def build_info(self) -> dict[str, str]:
        """What the extension says of itself."""
        info: dict[str, str] = self.extension.build_info()
        return info
