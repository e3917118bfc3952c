"""A depthwise convolution and a pointwise one of its result, one after the other: what every backend can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..geometry import ConvGeometry


def in_two_passes(conv: Callable[..., None]) -> Callable[..., None]:
    """Backend.separable_conv by a backend's conv, with a middle that is given."""

    def separable_conv(
        x: Any, depthwise_w: Any, depthwise_b: Any, middle: Any, pointwise_w: Any, b: Any, y: Any,
        depthwise: ConvGeometry, pointwise: ConvGeometry,
        *, depthwise_activation: str | None, depthwise_alpha: float, activation: str | None, alpha: float,
        residual: Any,
    ) -> None:  # fmt: skip
        by: dict[str, Any] = {"algorithm": "auto", "accuracy": "default"}
        first = {**by, "activation": depthwise_activation, "alpha": depthwise_alpha, "residual": None}
        conv(x, depthwise_w, depthwise_b, middle, depthwise, **first)
        conv(middle, pointwise_w, b, y, pointwise, **by, activation=activation, alpha=alpha, residual=residual)

    return separable_conv


def plan_separable(depthwise: ConvGeometry, pointwise: ConvGeometry) -> tuple[bool, str, int]:
    return False, "this backend does one convolution after the other", 0
