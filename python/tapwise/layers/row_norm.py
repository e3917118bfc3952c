"""Normalization within one example: over its last axes, or over groups of its channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import constraints, initializers, ops, regularizers
from ..geometry import integer
from .layer import Array, Layer, Parameter, Shape


class RowNormalization(Layer):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mean and variance of each group of an example."""

    gamma: Parameter | None = None
    beta: Parameter | None = None
    count = 1  # groups of one example

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: str | initializers.Initializer,
        gamma_initializer: str | initializers.Initializer,
        beta_regularizer: regularizers.Given,
        gamma_regularizer: regularizers.Given,
        beta_constraint: constraints.Given,
        gamma_constraint: constraints.Given,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.beta_regularizer = regularizers.get(beta_regularizer)

    def make_weights(self, shape: Shape) -> None:
        """gamma and beta of this shape."""
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.gamma_initializer, regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint, name="gamma",
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                shape, self.beta_initializer, regularizer=self.beta_regularizer, constraint=self.beta_constraint,
                name="beta",
            )  # fmt: skip

    def grouped(self, x: Array) -> Array:
        """x as (n, c, ...), contiguous, of which the operation normalizes self.count groups of channels."""
        raise NotImplementedError

    def ungrouped(self, y: Array, shape: Shape) -> Array:
        """grouped undone."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool = False) -> Array:
        if not x.size:
            return x.copy()
        gamma, beta = (None if w is None else w.value.reshape(-1) for w in (self.gamma, self.beta))
        x_, shape = self.grouped(x), x.shape
        y, mean, variance = ops.group_norm(x_, gamma, beta, self.count, epsilon=self.epsilon)
        self.saved = x_, gamma, mean, variance
        return self.ungrouped(y, shape)

    def backward(self, dy: Array) -> Array | None:
        dx, *gradients = ops.group_norm_grad(self.grouped(dy), *self.saved, epsilon=self.epsilon)
        for weight, gradient in zip((self.gamma, self.beta), gradients, strict=True):
            if weight is not None:
                weight.gradient = gradient.reshape(weight.shape)
        return self.ungrouped(dx, dy.shape)


class LayerNormalization(RowNormalization):
    """x (n, ..., c): statistics over axis, the last one or last ones, whose sizes gamma and beta have. Ba, 2016."""

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: regularizers.Given = None,
        gamma_regularizer: regularizers.Given = None,
        beta_constraint: constraints.Given = None,
        gamma_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **layer,
        )  # fmt: skip
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis)

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        axes = sorted(axis % rank for axis in self.axis if -rank <= axis < rank)
        if not axes or axes[0] < 1 or axes != list(range(axes[0], rank)) or len(axes) != len(self.axis):
            raise ValueError(f"axis must be the last one or the last ones of {rank}, got {self.axis}")
        shape = tuple(input_shape[axes[0] :])
        self.values = math.prod(shape)
        self.make_weights(shape)

    def grouped(self, x: Array) -> Array:
        return x.reshape(x.size // self.values, self.values)

    def ungrouped(self, y: Array, shape: Shape) -> Array:
        return y.reshape(shape)


class GroupNormalization(RowNormalization):
    """x (n, ..., c), channels at axis: statistics over all positions of each of `groups` groups of channels.

    groups -1 stands for c. gamma and beta (c,). Wu & He, "Group Normalization", 2018.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: regularizers.Given = None,
        gamma_regularizer: regularizers.Given = None,
        beta_constraint: constraints.Given = None,
        gamma_constraint: constraints.Given = None,
        **layer: Any,
    ) -> None:
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **layer,
        )  # fmt: skip
        self.groups = groups if groups == -1 else integer(groups, "groups", 1)
        self.axis = axis

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if not -rank < self.axis < rank or self.axis == 0:
            raise ValueError(f"axis must be of 1 to {rank - 1} or count from the end, got {self.axis}")
        self.at = self.axis % rank
        c = input_shape[self.at]
        self.count = c if self.groups == -1 else self.groups
        if c % self.count:
            raise ValueError(f"groups must divide the {c} channels, got {self.count}")
        self.make_weights((c,))

    def grouped(self, x: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, self.at, 1))

    def ungrouped(self, y: Array, shape: Shape) -> Array:
        return np.ascontiguousarray(np.moveaxis(y, 1, self.at))

    def forward(self, x: Array, training: bool = False) -> Array:
        """Channels last: an image at a time stays in the cache, and groups' statistics come from their channels'."""
        if self.at != x.ndim - 1 or not x.size:
            return super().forward(x, training)
        gamma, beta = (None if w is None else w.value for w in (self.gamma, self.beta))
        y = np.empty_like(x)
        images, results = (a.reshape(len(a), a[0].size // a.shape[-1], a.shape[-1]) for a in (x, y))
        mean, variance = np.empty((2, len(x), x.shape[-1]), x.dtype)
        for i, (image, result) in enumerate(zip(images, results, strict=True)):
            found = ops.batch_norm(image, None, None, training=True, epsilon=self.epsilon, out=result)[1:]
            means, variances = (each.reshape(self.count, -1).astype(np.float64) for each in found)
            middle = means.mean(1, keepdims=True)
            spread = (variances + (means - middle) ** 2).mean(1, keepdims=True)
            mean[i], variance[i] = (np.repeat(each, means.shape[1]) for each in (middle, spread))
            ops.batch_norm(image, gamma, beta, mean[i], variance[i], epsilon=self.epsilon, out=result)
        self.saved = images, mean, variance
        return y

    def backward(self, dy: Array) -> Array | None:
        """dx = gamma * dy / s - (A + B * normal) / s, s the deviation, A and B means of gamma * dy and of that times
        normal over the group: the channels' sums, which are the gradients of beta and gamma, give both."""
        if self.at != dy.ndim - 1:
            return super().backward(dy)
        images, mean, variance = self.saved
        one = np.ones(images.shape[-1], dy.dtype)
        gamma = one if self.gamma is None else self.gamma.value
        dx = np.empty_like(dy)
        dgamma, dbeta = np.zeros((2, *one.shape))
        grads, results = dy.reshape(images.shape), dx.reshape(images.shape)
        for i, (image, grad, result) in enumerate(zip(images, grads, results, strict=True)):
            how = {"epsilon": self.epsilon, "out": result}
            _, by_gamma, by_beta = ops.batch_norm_grad(grad, image, None, mean[i], variance[i], **how)
            dgamma += by_gamma
            dbeta += by_beta
            inverse = 1 / np.sqrt(variance[i] + dy.dtype.type(self.epsilon))
            sums = (np.stack([by_gamma, by_beta]).astype(np.float64) * gamma).reshape(2, self.count, -1)
            means = np.repeat(sums.mean(2) / len(image), sums.shape[2], 1)
            scale, shift = (-means * inverse).astype(dy.dtype)
            np.multiply(grad, gamma * inverse, out=result)
            ops.batch_norm(image, scale, shift, mean[i], variance[i], residual=result, **how)
        for weight, gradient in ((self.gamma, dgamma), (self.beta, dbeta)):
            if weight is not None:
                weight.gradient = gradient.astype(dy.dtype)
        return dx
