"""What the backend in use would do for a convolution, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from .backend import current
from .backend.device_plan import plan_for
from .geometry import Padding, Shape, Sizes, conv_geometry
from .ops.check import refuse_choice
from .ops.separable import separable_geometry
from .ops.tuned import tuned

DIRECTIONS = ("forward", "grad_input", "grad_weight")


class Candidate(NamedTuple):
    """An algorithm for a convolution: what "auto" expects of it, or why it can't or won't take it.

    Seconds of two cores, or of the device: computed there, and not measured.

    expected_seconds is None where it can't do the shape, and where there is no cost model.
    """

    algorithm: str
    expected_seconds: float | None
    refused: str


@dataclass(frozen=True)
class Plan:
    """What runs for a convolution, and why.

    packed_algorithm: what pack() takes for these shapes: a call with packed weights doesn't pay for laying them out.
    possible: the algorithms that can do this shape, Winograd's by output tile. candidates: these and the others, with
    the seconds that "auto" expects of each on two cores (a choice must not depend on the machine's) or on the device,
    or why not.
    tile: what one step of the innermost kernel computes. workspace_bytes: scratch of each thread, within
    tapwise.workspace.get(); packed_bytes: weights rearranged for the call. expected_gflops: of the cost model, for the
    threads in use; None where there is none.
    """

    direction: str
    algorithm: str
    packed_algorithm: str
    possible: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    tile: str
    workspace_bytes: int
    packed_bytes: int
    expected_gflops: float | None
    reason: str
    backend: str
    isa: str

    @property
    def _expected(self) -> str:
        """Of what kind a time or a speed is."""
        return "expected, computed, not measured" if self.backend.startswith("cuda") else "expected"

    def __str__(self) -> str:
        speed = "" if self.expected_gflops is None else f", {self.expected_gflops:,.1f} GFLOP/s {self._expected}"
        return (
            f"{self.direction} by {self.algorithm} on {self.backend} ({self.isa}){speed}\n"
            f"  because    {self.reason}\n"
            f"  packed     {self.packed_algorithm}, where weights are packed once\n"
            f"  possible   {', '.join(self.possible)}\n"
            f"{self._weighed()}"
            f"  tile       {self.tile}\n"
            f"  workspace  {self.workspace_bytes:,} bytes\n"
            f"  weights    {self.packed_bytes:,} bytes"
        )

    def _weighed(self) -> str:
        """A line for each candidate that has an expected time, fastest first, or a reason against it."""
        where = self._expected if self.backend.startswith("cuda") else "expected on two cores"
        lines = []
        for name, seconds, refused in sorted(self.candidates, key=lambda c: c.expected_seconds or float("inf")):
            if seconds is not None:
                time = f"{seconds * 1e6:,.1f} us {where}"
                lines.append(f"    {name:<13} {time}{f', {refused}' if refused else ''}\n")
            elif refused:
                lines.append(f"    {name:<13} can't: {refused}\n")
        return "".join(lines)


def plan(
    x_shape: Shape,
    w_shape: Shape,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    direction: str = "forward",
    device: str | None = None,
) -> Plan:
    """The plan of conv for these shapes, of conv_grad_input or of conv_grad_weight (direction). Nothing runs.

    device: "A100", "H100" or "RTX 4090": what would run there, by its data sheet, where the kernels for NVIDIA devices
    are built; the device itself needn't be there. None: what runs here.
    Raises ValueError on sizes that don't fit, on an algorithm that can't do them and on a device without a data sheet.
    """
    refuse_choice(algorithm, accuracy)
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    g = conv_geometry(x_shape, w_shape, strides, padding, dilation, groups, data_format)
    if device is not None:
        on_paper: dict[str, Any] = {**plan_for(device, g, direction, algorithm, accuracy)}
        return _plan(direction, "cuda", device, on_paper)
    backend = current()
    winner = tuned(g, direction, algorithm, accuracy, backend)
    fields: dict[str, Any] = {**backend.plan(g, direction, winner, accuracy)}
    if winner != algorithm:
        fields["reason"] = "the fastest that tune measured"
    return _plan(direction, backend.name, backend.isa_name(), fields)


def _plan(direction: str, backend: str, isa: str, fields: dict[str, Any]) -> Plan:
    candidates = tuple(Candidate(*candidate) for candidate in fields["candidates"])
    return Plan(**{**fields, "direction": direction, "backend": backend, "isa": isa, "candidates": candidates})


@dataclass(frozen=True)
class SeparablePlan:
    """How separable_conv runs: in one pass (fused), block by block of the middle, or in two; and why.

    workspace_bytes: a block of the middle, of each thread.
    """

    fused: bool
    reason: str
    workspace_bytes: int
    backend: str
    isa: str

    def __str__(self) -> str:
        how = f"fused, {self.workspace_bytes:,} bytes of each thread" if self.fused else "two passes"
        return f"separable by {self.backend} ({self.isa}): {how}\n  because    {self.reason}"


def plan_separable(
    x_shape: Shape,
    depthwise_shape: Shape,
    pointwise_shape: Shape,
    *,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "channels_last",
) -> SeparablePlan:
    """The plan of separable_conv for these shapes. Nothing runs. Raises ValueError on sizes that don't fit."""
    backend = current()
    shapes = x_shape, depthwise_shape, pointwise_shape
    g = separable_geometry(*shapes, strides, padding, dilation, data_format)
    return SeparablePlan(*backend.plan_separable(*g), backend.name, backend.isa_name())
