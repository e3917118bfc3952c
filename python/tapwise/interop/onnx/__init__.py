"""ONNX models on Tapwise: load runs one, export writes one, Backend is what ONNX' own tests call.

What isn't ours runs through onnx.reference, and report() of a model says so. Needs the package onnx.
"""

from __future__ import annotations

from typing import Any

from .model import Model as Model
from .model import load as load


def __getattr__(name: str) -> Any:
    if name == "Backend":  # its base class is onnx'
        from .backend import Backend

        return Backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
