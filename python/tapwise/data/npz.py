"""The .npz files of Keras' datasets: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .idx import read_payload
from .split import Split

UNFOLDED = 100  # as many times a file's size as its members may take; what compresses better is made to fill memory
FREE_BYTES = 1 << 26  # beside that: a small file of zeros is no attack
STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unfold in pieces without a bound
NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: str | os.PathLike[str]) -> Split:
    """-> ((x_train, y_train), (x_test, y_test)) as stored. Raises ValueError naming the file and the array at fault."""
    x_train, y_train, x_test, y_test = read_arrays(path, NAMES).values()
    return (x_train, y_train), (x_test, y_test)


def read_arrays(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The named arrays of numbers in a file of np.savez, or all in their order.

    np.load would allocate what a header declares and could unpickle objects; this takes only numbers that are there.
    Raises ValueError naming the file if it is no such file, damaged, or lacks a name.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            bounded(path, archive)
            members = {member.removesuffix(".npy"): member for member in archive.namelist()}
            for name in names or ():
                if name not in members:
                    raise ValueError(f"{path}: must hold the arrays {', '.join(names or ())}; {name} is missing")
            return {name: read_member(path, name, archive, members[name]) for name in names or members}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable .npz file: {error}") from None


def bounded(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises ValueError if the members say that they unfold to far more than the file; no more than that is read."""
    size_bytes = path.stat().st_size
    declared = sum(info.file_size for info in archive.infolist())
    if declared > FREE_BYTES + UNFOLDED * size_bytes:
        raise ValueError(
            f"{path}: refused: it unfolds to {declared} bytes, more than {UNFOLDED} times its {size_bytes} and "
            f"{FREE_BYTES} beside"
        )
    for info in archive.infolist():
        if info.compress_type not in STORED_OR_DEFLATED:
            raise ValueError(f"{path}: {info.filename} must be stored or deflated, got method {info.compress_type}")


def read_member(file: Path, name: str, archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """A member of an archive, in a .npy file's format; errors call it file[name]."""
    path = Path(f"{file}[{name}]")
    with archive.open(member) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran_order, dtype = headers[version](stream)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: not a readable array: {error}") from None
        if dtype.kind not in "uif":
            raise ValueError(f"{path}: must be of integers or floats, got {dtype}")
        if min(shape, default=0) < 0:
            raise ValueError(f"{path}: not a readable array: its shape is {shape}")
        data = read_payload(path, stream, math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)
