"""What the kernels for NVIDIA devices would do: by the extension's cost model, on a device that needn't be there."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..geometry import ConvGeometry
from .cuda_extension import BUILD, load_extension
from .interface import PlanFields, listed

EMULATED = "_tapwise_cuda_emulated"


def conv_sizes(extension: Any, g: ConvGeometry) -> Any:
    """g, checked and kept as the extension takes it."""
    before = [pair[0] for pair in g.padding]
    shapes = g.x_shape, g.w_shape, g.y_shape
    return extension.Geometry(*shapes, g.strides, before, g.dilation, g.groups, g.channels_last)


def plan_fields(
    extension: Any, sizes: Any, direction: str, algorithm: str, accuracy: str, device: str | None = None
) -> PlanFields:
    """As interface.Backend.plan; device: a name of the extension's data sheets, or None, the current one."""
    p = extension.plan_conv(sizes, direction, algorithm, accuracy, device)
    possible, candidates = listed(p["candidates"], accuracy)
    tiles = f"{p['rows']} x {p['columns']} tiles, {p['blocks']} blocks" if p["rows"] else "a thread an output"
    return {
        "algorithm": p["algorithm"],
        "packed_algorithm": p["algorithm"],
        "possible": possible,
        "candidates": candidates,
        "tile": f"TF32 on tensor cores, {tiles}" if p["tf32"] else tiles,
        "workspace_bytes": p["workspace_bytes"],
        "packed_bytes": 0,
        "expected_gflops": p["operations"] / p["seconds"] / 1e9,
        "reason": p["reason"],
    }


def plan_for(device: str, g: ConvGeometry, direction: str, algorithm: str, accuracy: str) -> PlanFields:
    """As interface.Backend.plan, for a device by its data sheet. Raises ValueError on another, or without kernels."""
    extension = _extension()
    return plan_fields(extension, conv_sizes(extension, g), direction, algorithm, accuracy, device)


@cache
def _extension() -> Any:
    """The kernels' own, or for tests the emulated ones'."""
    try:
        return load_extension()
    except ImportError as error:
        reason = str(error)
    try:
        return import_module(EMULATED)
    except ModuleNotFoundError:
        raise ValueError(
            f"device must be None here: what plans for it comes with the kernels for NVIDIA devices, and wheels have "
            f"none: {BUILD} ({reason.partition(':')[0]})"
        ) from None
