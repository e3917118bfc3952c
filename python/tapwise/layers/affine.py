"""What Dense and the convolutions share: kernel, bias and activation."""

from __future__ import annotations

from typing import Any

from .. import constraints, initializers, ops, regularizers
from ..ops.check import ACTIVATIONS
from .activation import FUSED, activate, activate_grad, check_activation
from .layer import Array, Layer, Parameter, Shape
from .place import Needs, Place


class Affine(Layer):
    """y = activation(linear(x, kernel) + bias); bias and an elementwise activation are part of the one operation."""

    in_bfloat16 = True
    adds_residual = True
    data_format = "channels_last"
    kernel: Parameter
    bias: Parameter | None = None

    def __init__(
        self,
        activation: str | None,
        use_bias: bool,
        kernel_initializer: str | initializers.Initializer,
        bias_initializer: str | initializers.Initializer,
        kernel_regularizer: regularizers.Given = None,
        bias_regularizer: regularizers.Given = None,
        activity_regularizer: regularizers.Given = None,
        kernel_constraint: constraints.Given = None,
        bias_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **layer)
        if self.compute_dtype != self.dtype:
            self.adds_residual = self.adds_to_dx = False
        self.activation = check_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        if self.activation == "glu":
            raise ValueError("activation must keep the shape, got 'glu': use layers.Activation('glu')")

    def make_weights(self, kernel_shape: Shape, filters: int) -> None:
        self.kernel = self.add_weight(
            kernel_shape, self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint, name="kernel",
        )  # fmt: skip
        self.add_bias(filters)

    def add_bias(self, filters: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                (filters,), self.bias_initializer, regularizer=self.bias_regularizer, constraint=self.bias_constraint,
                name="bias",
            )  # fmt: skip

    def scaled(self, gain: Array) -> Array:
        """The kernel as the operation takes it, times gain (filters,)."""
        return self.kernel.value * gain

    def as_weights(self, kernel: Array) -> Array:
        """The kernel as the operation takes it."""
        return kernel

    def packed(self, w: Any, x_shape: Shape) -> Any:
        """w, as the operation takes it, laid out once for inputs of this shape, with `place` as it is in a call."""
        return w

    @property
    def fused(self) -> tuple[str, ...]:
        """The activations that are part of the operation."""
        return FUSED if self.compute_dtype == self.dtype else ("relu", "leaky_relu")

    def ends_in(self, activation: str) -> bool:
        return self.activation is None and activation in self.fused

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        kind = self.activation or place.activation
        masked = kind is None or place.masked
        kept = (("z", y_shape, self.compute_dtype),) if kind and kind not in self.fused else ()
        reads = "xy" if not masked and kind in (*FUSED, "softmax") else "x"
        return Needs(reads, kept, dz=not masked and kind != "softmax")

    def linear(self, x: Array, b: Array | None, activation: str | None, out: Array | None) -> Array:
        """activation(x by kernel + b + place.residual); activation is one of fused or None."""
        raise NotImplementedError

    def linear_grad(self, x: Array, dz: Array) -> Array | None:
        """Set the gradient of the kernel unless the layer is frozen; dx if input_gradient."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool = False) -> Array:
        kind, memory = self.activation or self.place.activation, self.place.memory
        last = kind is None or kind in self.fused
        b = None if self.bias is None else self.bias.value
        z = self.linear(x, b, kind if last else None, memory.get("y" if last else "z"))
        y = z if last else activate(z, kind, memory.get("y"))
        self.saved = x, z, y
        return y

    def backward(self, dy: Array) -> Array | None:
        x, z, y = self.saved
        place = self.place
        kind = None if place.masked else self.activation or place.activation
        out = place.memory.get("dz")
        if kind not in ACTIVATIONS or self.bias is None or not self.trainable:
            place.dz = activate_grad(dy, y, z, kind, out)
            self.bias_grad(place.dz)
        else:
            place.dz, self.bias.gradient = ops.activation_grad_bias(
                dy, y, kind, x=z, data_format=self.data_format, out=out, out_bias=place.memory.get("dbias")
            )
        return self.linear_grad(x, place.dz)

    def logits(self) -> Array | None:
        return self.saved[1] if self.activation == "softmax" else None

    def backward_logits(self, dlogits: Array) -> Array | None:
        self.bias_grad(dlogits)
        return self.linear_grad(self.saved[0], dlogits)

    def bias_grad(self, dz: Array) -> None:
        if self.bias is not None and self.trainable:
            out, found = self.place.memory.get("dbias"), self.place.db
            db = found if found is not None else ops.conv_grad_bias(dz, data_format=self.data_format, out=out)
            self.bias.gradient = db
