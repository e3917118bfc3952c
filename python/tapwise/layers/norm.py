"""Batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import constraints, initializers, ops, regularizers
from .activation import FUSED, activate_grad
from .layer import Array, Layer, Parameter, Shape
from .place import Needs, Place


class BatchNormalization(Layer):
    """x (n, ..., c), or (n, c, ...) with axis=1 -> y = gamma * (x - mean) / sqrt(variance + epsilon) + beta by channel.

    In training mean and variance (the biased one) are the batch's, and moving_* = momentum * moving_* +
    (1 - momentum) * theirs; otherwise, and where the layer is frozen, they are the moving ones.
    Weights: gamma (if scale), beta (if center), moving_mean, moving_variance, each (c,). Ioffe & Szegedy, 2015.
    """

    in_bfloat16 = True
    adds_residual = True
    gamma: Parameter | None = None
    beta: Parameter | None = None
    moving_mean: Parameter
    moving_variance: Parameter

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        moving_mean_initializer: str | initializers.Initializer = "zeros",
        moving_variance_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: regularizers.Given = None,
        gamma_regularizer: regularizers.Given = None,
        beta_constraint: constraints.Given = None,
        gamma_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon
        self.center, self.scale = center, scale
        self.beta_initializer, self.gamma_initializer = beta_initializer, gamma_initializer
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer
        self.beta_regularizer, self.gamma_regularizer = beta_regularizer, gamma_regularizer
        self.beta_constraint, self.gamma_constraint = (
            constraints.get(beta_constraint),
            constraints.get(gamma_constraint),
        )

    def build(self, input_shape: Shape) -> None:
        last = len(input_shape) - 1
        if self.axis not in (-1, last, 1) or last < 1:
            raise ValueError(f"axis must be the last one or 1, got {self.axis}")
        data_format = "channels_last" if self.axis in (-1, last) else "channels_first"
        self.how: dict[str, Any] = {"epsilon": self.epsilon, "data_format": data_format}
        channels = (input_shape[self.axis],)
        if self.scale:
            self.gamma = self.add_weight(
                channels, self.gamma_initializer, regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint, name="gamma",
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                channels, self.beta_initializer, regularizer=self.beta_regularizer, constraint=self.beta_constraint,
                name="beta",
            )  # fmt: skip
        self.moving_mean = self.add_weight(channels, self.moving_mean_initializer, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(
            channels, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def ends_in(self, activation: str) -> bool:
        return activation in FUSED

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        """A ReLU's mask is found again from x, in the pass of the gradient, unless a residual was added to it."""
        takes_statistics = training and self.trainable
        masks = place.activation is not None and not place.masked
        reads_y = masks and (place.adds or not takes_statistics or place.activation != "relu")
        reads = ("x" if takes_statistics else "") + ("y" if reads_y else "")
        own = tuple((name, self.moving_mean.shape, self.dtype) for name in ("mean", "variance") if takes_statistics)
        return Needs(reads, own, dz=reads_y, in_place=True, over_residual=True)

    def forward(self, x: Array, training: bool = False) -> Array:
        gamma, beta = (None if weight is None else weight.value for weight in (self.gamma, self.beta))
        kept = self.moving_mean.value, self.moving_variance.value
        place, memory = self.place, self.place.memory
        how: dict[str, Any] = {
            **self.how,
            "activation": place.activation,
            "residual": place.residual,
            "out": memory.get("y"),
        }
        y: Array
        if training and self.trainable:
            how |= {"out_mean": memory.get("mean"), "out_variance": memory.get("variance")}
            y, mean, variance = ops.batch_norm(x, gamma, beta, training=True, **how)
            for moving, batch in zip(kept, (mean, variance), strict=True):
                ops.moving_average(moving, batch, self.momentum)
            self.saved = x, y, gamma, beta, mean, variance
        else:
            y = ops.batch_norm(x, gamma, beta, *kept, **how)
            self.saved = None, y, gamma, beta, *kept
        return y

    def backward(self, dy: Array) -> Array | None:
        """After a forward with the moving statistics y is linear in x: dx, and no gradients of the weights."""
        x, y, gamma, beta, mean, variance = self.saved
        place, memory = self.place, self.place.memory
        kind = None if place.masked else place.activation
        if x is None or kind != "relu":
            dy, kind = activate_grad(dy, y, y, kind, memory.get("dz")), None
        place.dz = memory["dz"] if kind and place.adds else dy
        if x is None:
            dx: Array = ops.batch_norm(dy, gamma, None, np.zeros_like(mean), variance, out=memory.get("dx"), **self.how)
            return dx
        dx, dgamma, dbeta = ops.batch_norm_grad(
            dy, x, gamma, mean, variance, activation=kind, y=y if place.adds and kind else None, beta=beta,
            out=memory.get("dx"), out_residual=place.dz if place.adds and kind else None,
            out_gamma=memory.get("dgamma"), out_beta=memory.get("dbeta"), **self.how,
        )  # fmt: skip
        if self.gamma is not None:
            self.gamma.gradient = dgamma
        if self.beta is not None:
            self.beta.gradient = dbeta
        return dx
