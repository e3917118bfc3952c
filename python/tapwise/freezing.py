"""Freezing whole models, as in Keras: base.trainable = False."""

from __future__ import annotations

from .layers.layer import Layer


class Freezing:
    """Of what has layers. The step finds no gradients for frozen ones, nor for what lies before the first trained
    one, and a frozen BatchNormalization computes with its moving statistics."""

    layers: list[Layer]

    @property
    def trainable(self) -> bool:
        """Whether any layer is; set, it is that of all of them, in every model that has them."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value
