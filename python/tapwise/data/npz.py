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
            members = {member.removesuffix(".npy"): member for member in archive.namelist()}
            for name in names or ():
                if name not in members:
                    raise ValueError(f"{path}: must hold the arrays {', '.join(names or ())}; {name} is missing")
            return {name: read_member(path, name, archive, members[name]) for name in names or members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a readable .npz file: {error}") from None


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
        data = read_payload(path, stream, math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)
