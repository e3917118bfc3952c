"""Convolution layers; Keras' arguments stand once, in the rank-generic base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import initializers, ops
from ..ops.geometry import frozen, integer, is_channels_last, per_axis
from .affine import Affine
from .layer import Array, Shape, need_rank


class Conv(Affine):
    """x (n, *spatial, ci) -> y (n, *o, filters), y = activation(conv(x, kernel) + bias).

    kernel (*kernel_size, ci // groups, filters) and bias (filters,) in both data formats; with channels_first x is
    (n, ci, *spatial) and y (n, filters, *o). padding is "valid", "same", "causal" (1-D) or what tapwise.conv takes.
    """

    rank: ClassVar[int]
    adds_to_dx = True

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str | int | Sequence[Any] = "valid",
        data_format: str = "channels_last",
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        **layer: Any,
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, **layer)
        self.filters = integer(filters, "filters", 1)
        self.kernel_size = per_axis(frozen(kernel_size), "kernel_size", self.rank)
        self.groups = integer(groups, "groups", 1)
        self.channels_last = is_channels_last(data_format)
        self.geometry: dict[str, Any] = {
            "strides": frozen(strides),
            "padding": frozen(padding),
            "dilation": frozen(dilation_rate),
            "groups": self.groups,
            "data_format": data_format,
        }

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)
        ci = input_shape[-1] if self.channels_last else input_shape[1]
        if ci % self.groups or self.filters % self.groups:
            raise ValueError(
                f"groups must divide the input channels and filters, got groups={self.groups}, ci={ci}, "
                f"filters={self.filters}"
            )
        self.make_weights((*self.kernel_size, ci // self.groups, self.filters))

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        place = self.place
        w: Any = self._w()
        if place.weights:
            w, b = place.weights
        return ops.conv(x, w, b, activation=activation, residual=place.residual, out=out, **self.geometry)

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        w, place = self._w(), self.place
        if self.trainable:
            out = place.memory.get("dkernel") if self.channels_last else None
            dw = ops.conv_grad_weight(x, dz, w.shape, out=out, **self.geometry)
            if not self.channels_last:
                dw = np.ascontiguousarray(np.moveaxis(dw, (0, 1), (-1, -2)))
            self.kernel.gradient = dw
            if self.bias is not None:
                out = place.memory.get("dbias")
                self.bias.gradient = ops.conv_grad_bias(dz, data_format=self.geometry["data_format"], out=out)
        if not self.input_gradient:
            return None
        return ops.conv_grad_input(dz, w, x.shape, residual=place.plus, out=place.memory.get("dx"), **self.geometry)

    def _w(self) -> Array:
        """The kernel as the operations take it: channels_first (filters, ci // groups, *k), a view."""
        w = self.kernel.value
        return w if self.channels_last else np.moveaxis(w, (-1, -2), (0, 1))


class Conv1D(Conv):
    """x (n, iw, ci) -> y (n, ow, filters); the arguments and weights are Conv's."""

    rank = 1


class Conv2D(Conv):
    """x (n, ih, iw, ci) -> y (n, oh, ow, filters); the arguments and weights are Conv's."""

    rank = 2
