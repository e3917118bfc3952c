"""Transposed convolutions: each input adds a kernel to the output, strides apart; the gradient of Conv as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import constraints, initializers, ops, regularizers
from ..geometry import conv_transpose_geometry, frozen
from .conv import Conv
from .layer import Array, Shape, need_rank


class ConvTranspose(Conv):
    """x (n, *spatial, ci) -> y (n, *o, filters), kernel (*kernel_size, filters, ci) and bias (filters,).

    Sizes follow Keras: in * stride for padding "same", (in - 1) * stride + max(kernel, stride) for "valid";
    output_padding takes the place of what they add to the shortest output.
    """

    in_bfloat16 = False
    joins_bias = False

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str | int | Sequence[Any] = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str = "channels_last",
        dilation_rate: int | Sequence[int] = 1,
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
            filters, kernel_size, strides, padding, data_format, dilation_rate, 1, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, **layer,
        )  # fmt: skip
        self.output_padding = frozen(output_padding)

    adds_to_dx = True

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)
        ci = input_shape[-1] if self.channels_last else input_shape[1]
        self.make_weights((*self.kernel_size, self.filters, ci), self.filters)

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        place = self.place
        w, b = place.weights or (self.as_weights(self.kernel.value), b)
        return ops.conv_transpose(
            x, w, b, output_padding=self.output_padding, activation=activation, residual=place.residual, out=out,
            **self.geometry,
        )  # fmt: skip

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        """The convolution that y is the input gradient of takes dz to dx, and pairs it with x for the kernel."""
        w, place = self.as_weights(self.kernel.value), self.place
        strides, dilation = self.geometry["strides"], self.geometry["dilation"]
        g = conv_transpose_geometry(
            x.shape, w.shape, strides, self.geometry["padding"], self.output_padding, dilation, 1, self.data_format
        )
        geometry = {**self.geometry, "padding": g.padding}
        if self.trainable:
            out = place.memory.get("dkernel") if self.channels_last else None
            dw = ops.conv_grad_weight(dz, x, w.shape, out=out, **geometry)
            if not self.channels_last:
                dw = np.ascontiguousarray(np.moveaxis(dw, (0, 1), (-1, -2)))
            self.kernel.gradient = dw
        if not self.input_gradient:
            return None
        return ops.conv(dz, w, residual=place.plus, out=place.memory.get("dx"), **geometry)

    def scaled(self, gain: Array) -> Array:
        return self.as_weights(self.kernel.value * gain[:, None])


class Conv1DTranspose(ConvTranspose):
    """x (n, iw, ci) -> y (n, ow, filters); the arguments and weights are ConvTranspose's."""

    rank = 1


class Conv2DTranspose(ConvTranspose):
    """x (n, ih, iw, ci) -> y (n, oh, ow, filters); the arguments and weights are ConvTranspose's."""

    rank = 2


class Conv3DTranspose(ConvTranspose):
    """x (n, id, ih, iw, ci) -> y (n, od, oh, ow, filters); the arguments and weights are ConvTranspose's."""

    rank = 3
