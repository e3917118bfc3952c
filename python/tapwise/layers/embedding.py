"""Vectors for whole numbers: words, notes, categories."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import constraints, initializers, regularizers
from ..geometry import integer
from .layer import Array, Layer, Parameter, Shape


class Embedding(Layer):
    """x (n, ...) of whole numbers in [0, input_dim) -> y (n, ..., output_dim), the rows of embeddings that they number.

    embeddings (input_dim, output_dim). x comes as the model's float type: whole numbers up to 2**24 are exact in it.
    """

    embeddings: Parameter

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | initializers.Initializer = "uniform",
        embeddings_regularizer: regularizers.Given = None,
        embeddings_constraint: constraints.Given = None,
        mask_zero: bool = False,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        if mask_zero:
            raise ValueError(
                "mask_zero must be False: layers hand no masks on; cut or pad texts to one length and let a padding "
                "number of its own stand for nothing, or give sample_weight"
            )
        self.input_dim = integer(input_dim, "input_dim", 1)
        self.output_dim = integer(output_dim, "output_dim", 1)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)

    def build(self, input_shape: Shape) -> None:
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim), self.embeddings_initializer,
            regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint, name="embeddings",
        )  # fmt: skip

    def forward(self, x: Array, training: bool = False) -> Array:
        if x.size and not (x.min() >= 0 and x.max() < self.input_dim and (x == np.floor(x)).all()):
            raise ValueError(f"x must be whole numbers in [0, {self.input_dim}), got {x.min():g} to {x.max():g}")
        numbers = x.astype(np.intp)
        self.saved = numbers
        return np.take(self.embeddings.value, numbers, 0)

    def backward(self, dy: Array) -> Array | None:
        """Rows are summed by number, sorted: the same bits in each run."""
        numbers = self.saved.ravel()
        self.embeddings.gradient = gradient = np.zeros_like(self.embeddings.value)
        if numbers.size:
            order = np.argsort(numbers, kind="stable")
            found, starts = np.unique(numbers[order], return_index=True)
            gradient[found] = np.add.reduceat(dy.reshape(-1, self.output_dim)[order], starts, 0)
        return np.zeros(self.saved.shape, dy.dtype) if self.input_gradient else None
