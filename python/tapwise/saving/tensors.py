"""The arrays of any file of weights by name, whichever program wrote it: told by the file's first bytes."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.npz import read_arrays
from .keras_file import HDF5_MAGIC, WEIGHTS, KerasFile, read_keras
from .torch_file import MAGIC, read_torch

OLD_TORCH = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")
SAFE = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
        "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}  # fmt: skip


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays in a file of PyTorch (.pt, .pth), Keras (.keras, .h5, .weights.h5), .safetensors, .npz or Tapwise.

    Names are the file's own: "features.0.weight" of PyTorch, "layers/conv2d/vars/0" or "conv2d/conv2d/kernel" of Keras,
    "weights/conv2d/kernel" of Tapwise. Nothing in the file is run. Raises ValueError naming the file if it is damaged
    or of no such kind.
    """
    kind = kind_of(path)
    if kind == "torch":
        return read_torch(path)
    if kind == "keras":
        return flat(read_keras(path))
    return read_safetensors(path) if kind == "safetensors" else read_arrays(path)


def flat(file: KerasFile) -> dict[str, NDArray[Any]]:
    return {name: array for group in file.groups for name, array in group.arrays.items()}


def kind_of(path: str | os.PathLike[str]) -> str:
    """torch, keras, safetensors, npz or tapwise. Raises ValueError on anything else."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(len(OLD_TORCH))
    if head.startswith(HDF5_MAGIC):
        return "keras"
    if head.startswith(OLD_TORCH[:4]):
        return "torch"
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return "safetensors"
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"{path}: a damaged or truncated zip: {error}") from None
        if WEIGHTS in names:
            return "keras"
        if any(name.endswith("/data.pkl") for name in names):
            return "torch"
        return "tapwise" if "config.json" in names else "npz"
    kinds = "PyTorch, Keras, safetensors, NumPy (.npz) or Tapwise"
    raise ValueError(f"{path}: must be a file of {kinds}, got one that begins with {head!r}")


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """A header of JSON behind its length in 8 bytes, then the numbers, little-endian. bfloat16 becomes float32."""
    path = Path(path)
    size_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size_bytes - 8:
                raise ValueError(f"truncated: its header says that it has {length} bytes")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header must be a JSON object")
            header.pop("__metadata__", None)
            data = file.read()
        return {name: _safe(name, entry, data) for name, entry in header.items()}
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .safetensors file: {error}") from None


def _safe(name: str, entry: Any, data: bytes) -> NDArray[Any]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not (all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and begin <= end <= len(data)):
            raise ValueError
        array = np.frombuffer(data[begin:end], np.dtype(SAFE[dtype]).newbyteorder("<")).reshape(shape)
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{name[:100]} must have dtype, shape and the range of its bytes, got {str(entry)[:200]}"
        ) from None
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
