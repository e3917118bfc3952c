"""PyTorch's .pt and .pth files, a zip since 1.6 and a row of pickles before, as NumPy arrays; PyTorch isn't needed.

Nothing in a file is run: see pickled.py. Storages are read one by one, only those that a tensor wants, and none may be
larger than the file.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ..data.idx import read_payload
from .pickled import Storage, Tensor, read_pickle, short, tensors_of

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
TYPES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "u2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


def read_torch(path: str | os.PathLike[str], names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """The tensors of a file of torch.save by their names, "features.0.weight", or those of `names` alone.

    Names of containers in one another are joined by dots; bfloat16 becomes float32. Raises ValueError naming the file
    if it is damaged, holds anything that isn't built of tensors, numbers and text, or lacks a name.
    """
    path = Path(path)
    wanted = None if names is None else set(names)
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _read_zip(path, file, wanted)
            file.seek(0)
            return _read_row(path, file, wanted)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path}: not a readable file of PyTorch: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_zip(path: Path, file: IO[bytes], wanted: set[str] | None) -> dict[str, NDArray[Any]]:
    size_bytes = path.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        main = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(main) != 1:
            raise ValueError("not a file of PyTorch: a zip with no data.pkl in its one folder")
        folder = main[0].partition("/")[0]
        if f"{folder}/constants.pkl" in members:
            raise ValueError("a TorchScript program: save torch.jit.load(path).state_dict() with torch.save instead")

        def read(name: str, most: int) -> bytes:
            if name not in members:
                raise ValueError(f"damaged: it has no {name}")
            if members[name].file_size > min(most, size_bytes):
                raise ValueError(f"{name} must be of at most {min(most, size_bytes)} bytes, got a header that says "
                                 f"{members[name].file_size}")  # fmt: skip
            with archive.open(name) as stream:
                return bytes(read_payload(Path(name), stream, members[name].file_size))

        order = read(f"{folder}/byteorder", 8) if f"{folder}/byteorder" in members else b"little"
        value = read_pickle(io.BytesIO(read(main[0], size_bytes)))

        def content(storage: Storage, size: int) -> bytes:
            return read(f"{folder}/data/{storage.key}", size)

        return _tensors(value, wanted, content, "big" if order == b"big" else "little", size_bytes)


class Bounded:
    """A file whose read(n) asks for no more than there is, however large n."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self.file, self.size_bytes = file, size_bytes
        self.tell, self.readline = file.tell, file.readline

    def read(self, n: int) -> bytes:
        return self.file.read(min(n, self.size_bytes - self.file.tell()))


def _read_row(path: Path, file: IO[bytes], wanted: set[str] | None) -> dict[str, NDArray[Any]]:
    """The old format: magic, protocol and machine, the value, the storages' keys, then each one's size and numbers."""
    size_bytes = path.stat().st_size
    stream: Any = Bounded(file, size_bytes)
    if size_bytes < 15 or read_pickle(stream) != MAGIC or read_pickle(stream) != PROTOCOL:
        raise ValueError("not a file of PyTorch: it begins with another number than torch.save writes")
    machine = read_pickle(stream)
    order = "big" if isinstance(machine, dict) and machine.get("little_endian") is False else "little"
    value, keys = read_pickle(stream), read_pickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"damaged: a list of storages must follow, got {short(keys)}")
    types = {tensor.storage.key: tensor.storage for tensor in tensors_of(value).values()}
    where: dict[str, tuple[int, int]] = {}
    for key in keys:
        header = stream.read(8)
        items = int.from_bytes(header, order, signed=True)  # type: ignore[arg-type]
        storage = types.get(key)
        if storage is None:
            raise ValueError(f"damaged: storage {short(key)} belongs to no tensor")
        extent = items * np.dtype(TYPES[storage.type]).itemsize
        if len(header) < 8 or items < 0 or file.tell() + extent > size_bytes:
            raise ValueError(f"truncated: storage {short(key)} of {items} numbers goes beyond the file's end")
        where[key] = file.tell(), extent
        file.seek(extent, os.SEEK_CUR)

    def content(storage: Storage, size: int) -> bytes:
        if storage.key not in where:
            raise ValueError(f"damaged: storage {short(storage.key)} is missing")
        file.seek(where[storage.key][0])
        return file.read(min(size, where[storage.key][1]))

    return _tensors(value, wanted, content, order, size_bytes)


def _tensors(
    value: Any, wanted: set[str] | None, content: Callable[[Storage, int], bytes], order: str, size_bytes: int
) -> dict[str, NDArray[Any]]:
    found = tensors_of(value)
    if missing := sorted((wanted or set()) - set(found)):
        raise ValueError(f"must hold {', '.join(missing)}, got {', '.join(found) or 'no tensors'}")
    chosen = {name: tensor for name, tensor in found.items() if wanted is None or name in wanted}
    storages = dict.fromkeys(tensor.storage for tensor in chosen.values())
    total = sum(storage.items * np.dtype(TYPES[storage.type]).itemsize for storage in storages)
    if total > size_bytes:
        raise ValueError(f"its storages must have at most the file's {size_bytes} bytes, got headers that say {total}")
    arrays = {storage: _numbers(storage, content, order) for storage in storages}
    return {name: _window(arrays[tensor.storage], tensor) for name, tensor in chosen.items()}


def _numbers(storage: Storage, content: Callable[[Storage, int], bytes], order: str) -> NDArray[Any]:
    dtype = np.dtype(TYPES[storage.type])
    extent = storage.items * dtype.itemsize
    data = content(storage, extent)
    if len(data) != extent:
        raise ValueError(f"damaged: storage {short(storage.key)} must have {extent} bytes, got {len(data)}")
    array: NDArray[Any] = np.frombuffer(data, dtype)
    if order != sys.byteorder:
        array = array.byteswap()
    if storage.type == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _window(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """A view, which rebuild_tensor found to lie within the storage; read-only, as storages may be shared."""
    if 0 in tensor.shape:
        return np.empty(tensor.shape, array.dtype)
    strides = [stride * array.itemsize for stride in tensor.strides]
    return as_strided(array[tensor.offset :], tensor.shape, strides, writeable=False)
