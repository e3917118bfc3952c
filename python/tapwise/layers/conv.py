"""Convolution layers; Keras' arguments stand once, in the rank-generic base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, ops, regularizers
from ..geometry import frozen, integer, is_channels_last, per_axis
from .activation import FUSED
from .affine import Affine
from .layer import Array, Shape, need_rank
from .place import Place


class Conv(Affine):
    """x (n, *spatial, ci) -> y (n, *o, filters), y = activation(conv(x, kernel) + bias).

    kernel (*kernel_size, ci // groups, filters) and bias (filters,) in both data formats; with channels_first x is
    (n, ci, *spatial) and y (n, filters, *o). padding is "valid", "same", "causal" (1-D) or what tapwise.conv takes.
    """

    rank: ClassVar[int]
    adds_to_dx = True
    joins_bias: ClassVar[bool] = True  # kernel and bias are those of one ops.conv

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
        kernel_regularizer: regularizers.Given = None,
        bias_regularizer: regularizers.Given = None,
        activity_regularizer: regularizers.Given = None,
        kernel_constraint: constraints.Given = None,
        bias_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(
            activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, **layer,
        )  # fmt: skip
        self.filters = integer(filters, "filters", 1)
        self.kernel_size = per_axis(frozen(kernel_size), "kernel_size", self.rank)
        self.groups = integer(groups, "groups", 1)
        self.channels_last = is_channels_last(data_format)
        self.data_format = data_format
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
        self.make_weights((*self.kernel_size, ci // self.groups, self.filters), self.filters)

    def geometry_at(self, place: Place) -> dict[str, Any]:
        return self.geometry if place.padding is None else {**self.geometry, "padding": place.padding}

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        place = self.place
        w, b = place.weights or (self.as_weights(self.kernel.value), b)
        return ops.conv(x, w, b, activation=activation, residual=place.residual, out=out, **self.geometry_at(place))

    def backward(self, dy: Array) -> Array | None:
        place = self.place
        kind = None if place.masked else self.activation or place.activation
        wanted = self.input_gradient or place.adds  # dy behind the activation, by others
        plain = self.joins_bias and self.channels_last and self.compute_dtype == self.dtype
        if wanted or kind not in FUSED or self.bias is None or not (self.trainable and plain):
            return super().backward(dy)
        x, _, y = self.saved
        out, taken = self.dw_memory()
        dw, self.bias.gradient = ops.conv_grad_weight_bias(
            x, dy, self.as_weights(self.kernel.value).shape, y=y, activation=kind, out=taken,
            out_bias=place.memory.get("dbias"), work=place.memory.get("dz"), **self.geometry_at(place),
        )  # fmt: skip
        self.kernel.gradient = dw.reshape(self.kernel.shape) if out is None else out
        return None

    def dw_memory(self) -> tuple[Array | None, Array | None]:
        """Where the kernel's gradient lies, and the same as the operations take it."""
        out = self.place.memory.get("dkernel") if self.channels_last else None
        return out, None if out is None else self.as_weights(out)

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        w, place = self.as_weights(self.kernel.value), self.place
        if self.trainable:
            out, taken = self.dw_memory()
            dw = ops.conv_grad_weight(x, dz, w.shape, out=taken, **self.geometry_at(place))
            if not self.channels_last:
                dw = np.ascontiguousarray(np.moveaxis(dw, (0, 1), (-1, -2)))
            self.kernel.gradient = dw.reshape(self.kernel.shape) if out is None else out
        if not self.input_gradient:
            return None
        return ops.conv_grad_input(
            dz, w, x.shape, residual=place.plus, out=place.memory.get("dx"), **self.geometry_at(place)
        )

    def as_weights(self, kernel: Array) -> Array:
        """A view, as the operations take it: channels_first (filters, ci // groups, *k)."""
        return kernel if self.channels_last else np.moveaxis(kernel, (-1, -2), (0, 1))

    def scaled(self, gain: Array) -> Array:
        return self.as_weights(self.kernel.value * gain)

    def packed(self, w: Any, x_shape: Shape) -> Any:
        return ops.pack(w, x_shape=x_shape, **self.geometry_at(self.place))


class Conv1D(Conv):
    """x (n, iw, ci) -> y (n, ow, filters); the arguments and weights are Conv's."""

    rank = 1


class Conv2D(Conv):
    """x (n, ih, iw, ci) -> y (n, oh, ow, filters); the arguments and weights are Conv's."""

    rank = 2


class Conv3D(Conv):
    """x (n, id, ih, iw, ci) -> y (n, od, oh, ow, filters); the arguments and weights are Conv's."""

    rank = 3


class DepthwiseConv(Conv):
    """x (n, *spatial, c) -> y (n, *o, c * depth_multiplier), each channel convolved by itself.

    kernel (*kernel_size, c, depth_multiplier) and bias (c * depth_multiplier,), in both data formats.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str | int | Sequence[Any] = "valid",
        depth_multiplier: int = 1,
        data_format: str = "channels_last",
        dilation_rate: int | Sequence[int] = 1,
        activation: str | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        depthwise_regularizer: regularizers.Given = None,
        bias_regularizer: regularizers.Given = None,
        activity_regularizer: regularizers.Given = None,
        depthwise_constraint: constraints.Given = None,
        bias_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(
            1, kernel_size, strides, padding, data_format, dilation_rate, 1, activation, use_bias,
            depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint, **layer,
        )  # fmt: skip
        self.depth_multiplier = integer(depth_multiplier, "depth_multiplier", 1)

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)
        self.groups = self.geometry["groups"] = input_shape[-1] if self.channels_last else input_shape[1]
        self.filters = self.groups * self.depth_multiplier
        self.make_weights((*self.kernel_size, self.groups, self.depth_multiplier), self.filters)

    def as_weights(self, kernel: Array) -> Array:
        return super().as_weights(kernel.reshape(*self.kernel_size, 1, self.filters))

    def scaled(self, gain: Array) -> Array:
        return self.as_weights(self.kernel.value * gain.reshape(self.kernel.shape[-2:]))


class DepthwiseConv1D(DepthwiseConv):
    """x (n, iw, c) -> y (n, ow, c * depth_multiplier); the arguments and weights are DepthwiseConv's."""

    rank = 1


class DepthwiseConv2D(DepthwiseConv):
    """x (n, ih, iw, c) -> y (n, oh, ow, c * depth_multiplier); the arguments and weights are DepthwiseConv's."""

    rank = 2
