"""Steps of a plan that are the same calls on the same arrays each time: recorded once, then made without the layers.

So a steady step pays for the kernels, and hardly for Python. Layers are known here by their exact class: one of your
own, or a subclass, may do more than call operations, and is always run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .graph import Call
from .layers import activation, conv, dense, merge, norm, pool, reshape
from .layers.affine import Affine
from .layers.layer import Cast, Layer
from .ops.check import ACTIVATIONS, is_bfloat16
from .ops.recording import Calls, State, recording

TRIES = 5
FLOAT32 = np.dtype(np.float32)

KNOWN: frozenset[type[Layer]] = frozenset(
    {
        Cast, activation.Activation, conv.Conv1D, conv.Conv2D, conv.Conv3D, conv.DepthwiseConv1D, conv.DepthwiseConv2D,
        dense.Dense, merge.Add, norm.BatchNormalization, pool.AveragePooling1D, pool.AveragePooling2D,
        pool.GlobalAveragePooling1D, pool.GlobalAveragePooling2D, pool.MaxPooling1D, pool.MaxPooling2D, reshape.Flatten,
    }
)  # fmt: skip


def repeats(call: Call) -> bool:
    """Whether forward and backward are operations alone, on the arrays of the plan."""
    layer = call.layer
    if type(layer) not in KNOWN or layer.dtype != FLOAT32:
        return False
    if layer.compute_dtype != FLOAT32 and not is_bfloat16(layer.compute_dtype):
        return False
    if not isinstance(layer, (Affine, activation.Activation)):
        return True
    in_order = getattr(layer, "data_format", "channels_last") == "channels_last"  # else NumPy turns weights round
    return in_order and call.activation in (None, "softmax", *ACTIVATIONS)


class Recorded:
    """What a call was given, what it asked of the backend, and what it left behind."""

    def __init__(self, layer: Layer, calls: Calls, now: State, given: Sequence[Any], result: Any) -> None:
        self.calls, self.now, self.given, self.result, self.saved = calls, now, given, result, layer.saved
        self.values = [(weight, weight.value) for weight in layer.weights]
        self.gradients = [(weight, weight.gradient) for weight in layer.trainable_weights]

    def fits(self, now: State | None, given: Sequence[Any]) -> bool:
        """Whether it would be the same again."""
        if now != self.now or not all(map(same, given, self.given)):
            return False
        return all(weight.value is value for weight, value in self.values)


class Repeater:
    """Forward or backward of a call; `alone`: of a layer that the plan, one for training, doesn't call elsewhere."""

    def __init__(self, call: Call, alone: bool) -> None:
        self.layer, self.tries = call.layer, TRIES if alone and repeats(call) else 0
        self.recorded: Recorded | None = None

    def run(self, now: State | None, given: Sequence[Any], function: Callable[[], Any]) -> Any:
        """function(), or what it did before on the same arrays; now is state(), None where every call is to be seen.

        The first run isn't recorded, and a call that is another one each time is given up.
        """
        recorded = self.recorded
        if recorded is not None and recorded.fits(now, given):
            recorded.calls.again()
            self.layer.saved = recorded.saved
            for weight, gradient in recorded.gradients:
                weight.gradient = gradient
            return recorded.result
        if now is None:
            return function()
        self.recorded = None  # and the batch that it may hold
        if not self.tries:
            return function()
        self.tries -= 1
        if self.tries == TRIES - 1:
            return function()
        with recording() as calls:
            result = function()
        if calls is not None:
            self.recorded = Recorded(self.layer, calls, now, given, result)
        return result


def same(one: Any, other: Any) -> bool:
    return one is other
