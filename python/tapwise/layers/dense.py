"""The layer of a shallow network: every output reads every input."""

from __future__ import annotations

import math
from typing import Any

from .. import constraints, initializers, ops, regularizers
from ..geometry import integer
from .affine import Affine
from .layer import Array, Shape


class Dense(Affine):
    """x (n, ..., ci) -> y (n, ..., units), y = activation(x @ kernel + bias), kernel (ci, units), bias (units,)."""

    def __init__(
        self,
        units: int,
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
        self.units = integer(units, "units", 1)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2:
            raise ValueError("x must have at least 2 dimensions, the batch axis and the values")
        self.make_weights((input_shape[-1], self.units), self.units)

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        w, b = self.place.weights or (self.kernel.value, b)
        residual = self.place.residual
        if type(w) is not ops.PackedWeights:
            return ops.dense(x, w, b, activation=activation, residual=residual, out=out)
        rows = [None if a is None else a.reshape(1, -1, a.shape[-1]) for a in (x, residual, out)]
        y: Array = ops.conv(rows[0], w, b, activation=activation, residual=rows[1], out=rows[2])
        return y.reshape(*x.shape[:-1], self.units)

    def packed(self, w: Any, x_shape: Shape) -> Any:
        return ops.pack(w[None], x_shape=(1, math.prod(x_shape[:-1]), x_shape[-1]))

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        memory = self.place.memory
        if self.trainable:
            self.kernel.gradient = ops.dense_grad_weight(x, dz, out=memory.get("dkernel"))
        return ops.dense_grad_input(dz, self.kernel.value, out=memory.get("dx")) if self.input_gradient else None
