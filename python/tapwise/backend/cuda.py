"""The kernels on an NVIDIA device, on CuPy's arrays and streams; other libraries' arrays are taken as CuPy's.

Importing it raises ImportError that says what is missing: the extension, CUDA's runtime, CuPy, a driver or a device.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .cuda_extension import load_extension
from .device import Device
from .interface import Array


def need_device(extension: Any) -> None:
    try:
        count = extension.device_count()
    except RuntimeError as error:
        raise ImportError(f"no driver for NVIDIA devices, or no device: {error}") from None
    if not count:
        raise ImportError("this machine has no NVIDIA device")


class CupyMemory:
    """A Memory of interface.py."""

    def __init__(self) -> None:
        try:
            self.cupy = import_module("cupy")
        except ImportError as error:
            raise ImportError(f'CuPy holds the arrays on the device: pip install "tapwise[cuda]" ({error})') from None

    def adopt(self, x: Any, name: str) -> Array:
        cupy = self.cupy
        if not isinstance(x, cupy.ndarray):
            try:
                x = cupy.from_dlpack(x) if hasattr(x, "__dlpack__") else cupy.asarray(x)
            except (TypeError, ValueError, BufferError, RuntimeError) as error:
                raise TypeError(
                    f"{name} must be an array that CuPy can take, got {type(x).__name__}: {error}"
                ) from None
        number = cupy.cuda.runtime.getDevice()
        if x.device.id != number:
            raise ValueError(
                f"{name} must be on the current device, {number}, got one on device {x.device.id}: "
                f"with cupy.cuda.Device({x.device.id}): ..."
            )
        taken: Array = x
        return taken

    def stream(self) -> int:
        address: int = self.cupy.cuda.get_current_stream().ptr
        return address

    def wait(self) -> None:
        self.cupy.cuda.get_current_stream().synchronize()

    def put(self, x: Array) -> Array:
        taken: Array = self.cupy.array(x)
        return taken

    def get(self, x: Array) -> Array:
        taken: Array = self.cupy.asnumpy(x)
        return taken


extension = load_extension()
memory = CupyMemory()
need_device(extension)
backend = Device("cuda", extension, memory)
