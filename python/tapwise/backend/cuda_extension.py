"""The extension with the kernels for NVIDIA devices, which plans without a device too."""

from __future__ import annotations

import ctypes
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BUILD = "pip install . -C cmake.define.TAPWISE_CUDA=ON, where nvcc is"


def load_extension() -> Any:
    """The extension, which needs CUDA's runtime: the system's, or the one of pip's packages."""
    name = f"{__package__}._cuda"
    if find_spec(name) is None:
        raise ImportError(f"not built in this version, which has no kernels for NVIDIA devices: {BUILD}")
    try:
        return import_module(name)
    except ImportError as error:
        reason = str(error)
    for library in packaged_runtimes():  # the name by which it is loaded then serves the extension too
        ctypes.CDLL(str(library))
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(f"{reason.partition(':')[0]} not found: pip install nvidia-cuda-runtime") from None


def packaged_runtimes() -> list[Path]:
    """libcudart of the packages nvidia-cuda-runtime and nvidia-cuda-runtime-cu12."""
    packages = find_spec("nvidia")
    folders = (packages.submodule_search_locations or ()) if packages else ()
    return [library for folder in folders for library in sorted(Path(folder).glob("*/lib/libcudart.so.*"))]
