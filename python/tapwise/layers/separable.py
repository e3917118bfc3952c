"""A convolution of each channel by itself, then one that mixes them: few weights for large kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import constraints, initializers, ops, regularizers
from ..geometry import conv_geometry, integer
from ..ops.separable import is_joined
from .conv import Conv
from .layer import Array, Parameter, Shape, need_rank
from .place import Needs, Place


class SeparableConv(Conv):
    """x (n, *spatial, ci) -> y (n, *o, filters), y = activation(conv(m, pointwise_kernel) + bias), m the depthwise one.

    depthwise_kernel (*kernel_size, ci, depth_multiplier), pointwise_kernel (1, ..., ci * depth_multiplier, filters),
    bias (filters,), in both data formats. Chollet, "Xception", 2017. For prediction both are one operation where
    plan_separable says that it pays.
    """

    in_bfloat16 = False
    joins_bias = False

    depthwise: Parameter
    middle: Array | None  # of the last forward; None where it was never stored
    adds_to_dx = True

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str | int | Sequence[Any] = "valid",
        data_format: str = "channels_last",
        dilation_rate: int | Sequence[int] = 1,
        depth_multiplier: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | initializers.Initializer = "glorot_uniform",
        pointwise_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        depthwise_regularizer: regularizers.Given = None,
        pointwise_regularizer: regularizers.Given = None,
        bias_regularizer: regularizers.Given = None,
        activity_regularizer: regularizers.Given = None,
        depthwise_constraint: constraints.Given = None,
        pointwise_constraint: constraints.Given = None,
        bias_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(
            filters, kernel_size, strides, padding, data_format, dilation_rate, 1, activation, use_bias,
            pointwise_initializer, bias_initializer, pointwise_regularizer, bias_regularizer, activity_regularizer,
            pointwise_constraint, bias_constraint, **layer,
        )  # fmt: skip
        self.depth_multiplier = integer(depth_multiplier, "depth_multiplier", 1)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)

    def build(self, input_shape: Shape) -> None:
        need_rank(input_shape, self.rank)
        ci = input_shape[-1] if self.channels_last else input_shape[1]
        self.geometry["groups"], wide = ci, ci * self.depth_multiplier
        self.depthwise = self.add_weight(
            (*self.kernel_size, ci, self.depth_multiplier), self.depthwise_initializer,
            regularizer=self.depthwise_regularizer, constraint=self.depthwise_constraint, name="depthwise_kernel",
        )  # fmt: skip
        self.kernel = self.add_weight(
            (*(1,) * self.rank, wide, self.filters), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, name="pointwise_kernel",
        )  # fmt: skip
        self.add_bias(self.filters)

    def depthwise_weights(self) -> Array:
        return self.as_weights(self.depthwise.value.reshape(*self.kernel_size, 1, math.prod(self.depthwise.shape[-2:])))

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        needs = super().needs(place, shapes, y_shape, training)
        if not training and self.is_joined(shapes[0], self.geometry_at(place)):
            return needs
        return needs._replace(kept=(*needs.kept, ("middle", self.middle_shape(place, shapes[0]), self.dtype)))

    def is_joined(self, x_shape: Shape, geometry: dict[str, Any]) -> bool:
        weights = self.depthwise_weights().shape, self.as_weights(self.kernel.value).shape
        return is_joined(x_shape, *weights, *(geometry[name] for name in GEOMETRY if name != "groups"))

    def middle_shape(self, place: Place, x_shape: Shape) -> Shape:
        geometry = self.geometry_at(place)
        return conv_geometry(x_shape, self.depthwise_weights().shape, *(geometry[name] for name in GEOMETRY)).y_shape

    def forward(self, x: Array, training: bool = False) -> Array:
        free = not training and "middle" not in self.place.memory
        self.joined = free and self.is_joined(x.shape, self.geometry_at(self.place))
        y = super().forward(x, training)
        self.saved = (*self.saved, self.middle)
        return y

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        place, geometry = self.place, self.geometry_at(self.place)
        w, b = place.weights or (self.as_weights(self.kernel.value), b)
        if self.joined:
            self.middle = None
            geometry = {name: geometry[name] for name in GEOMETRY if name != "groups"}
            return ops.separable_conv(
                x, self.depthwise_weights(), w, b, activation=activation, residual=place.residual, out=out, **geometry
            )
        self.middle = m = ops.conv(x, self.depthwise_weights(), out=place.memory.get("middle"), **geometry)
        return ops.conv(m, w, b, data_format=self.data_format, activation=activation, residual=place.residual, out=out)

    def backward(self, dy: Array) -> Array | None:
        *self.saved, self.middle = self.saved
        return super().backward(dy)

    def backward_logits(self, dlogits: Array) -> Array | None:
        *self.saved, self.middle = self.saved
        return super().backward_logits(dlogits)

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        w, wd, place = self.as_weights(self.kernel.value), self.depthwise_weights(), self.place
        m = ops.conv(x, wd, **self.geometry_at(place)) if self.middle is None else self.middle
        dm = ops.conv_grad_input(dz, w, m.shape, data_format=self.data_format)
        if self.trainable:
            dw = ops.conv_grad_weight(m, dz, w.shape, data_format=self.data_format)
            self.kernel.gradient = self.as_kernel(dw).reshape(self.kernel.shape)
            dwd = ops.conv_grad_weight(x, dm, wd.shape, **self.geometry_at(place))
            self.depthwise.gradient = self.as_kernel(dwd).reshape(self.depthwise.shape)
        if not self.input_gradient:
            return None
        return ops.conv_grad_input(
            dm, wd, x.shape, residual=place.plus, out=place.memory.get("dx"), **self.geometry_at(place)
        )

    def packed(self, w: Any, x_shape: Shape) -> Any:
        return ops.pack(w, x_shape=self.middle_shape(self.place, x_shape), data_format=self.data_format)

    def as_kernel(self, w: Array) -> Array:
        """as_weights undone."""
        return w if self.channels_last else np.ascontiguousarray(np.moveaxis(w, (0, 1), (-1, -2)))


GEOMETRY = "strides", "padding", "dilation", "groups", "data_format"


class SeparableConv1D(SeparableConv):
    """x (n, iw, ci) -> y (n, ow, filters); the arguments and weights are SeparableConv's."""

    rank = 1


class SeparableConv2D(SeparableConv):
    """x (n, ih, iw, ci) -> y (n, oh, ow, filters); the arguments and weights are SeparableConv's."""

    rank = 2
