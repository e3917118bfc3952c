"""ONNX' operators as layers, by their names: each takes the builder and the node, and gives a tensor or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import elementwise, maps, order, reduce

AS_LAYERS: dict[str, Callable[..., Any]] = {
    **elementwise.AS_LAYERS,
    **maps.AS_LAYERS,
    **order.AS_LAYERS,
    **reduce.AS_LAYERS,
}
