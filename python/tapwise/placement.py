"""Where a model's arrays lie: in this machine's memory, or with all that is computed with them on an NVIDIA device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arena import Arena
from .layers.layer import Array, Parameter
from .ops.memory import to_device, to_host

DEVICES = "cpu", "cuda"


class Placement:
    """Of what has weights and an arena. It takes and gives arrays in this machine's memory, wherever it computes."""

    _arena: Arena
    _plans: dict[Any, Any]
    _splits: dict[Any, Any]

    @property
    def weights(self) -> list[Parameter]:
        raise NotImplementedError

    def to(self, device: str) -> None:
        """Move the weights, the optimizer's state and what lies between the layers to "cuda", or back to "cpu".

        A batch is copied there and its outputs back; losses and metrics are counted here. The layers that call
        operations alone run there: explanations and export want the model here. Raises ValueError that says what is
        missing for a device, and has changed nothing then.
        """
        if device not in DEVICES:
            raise ValueError(f"device must be cpu or cuda, got {device!r}")
        move = to_device if device == "cuda" else to_host
        values = [move(weight.value) for weight in self.weights]
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None:
            for state in optimizer.state.values():
                state |= {name: move(array) for name, array in state.items()}
            optimizer.updates = None
        for weight, value in zip(self.weights, values, strict=True):
            weight.value, weight.gradient = value, None
        self._arena = Arena(device)
        self._plans.clear()
        self._splits.clear()

    def _there(self, arrays: Sequence[Array]) -> Sequence[Array]:
        return arrays if self._arena.device == "cpu" else [to_device(x) for x in arrays]

    def _here(self, arrays: Sequence[Any]) -> list[Any]:
        return [None if x is None else to_host(x) for x in arrays]
