"""The .npz files of Keras' datasets: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .idx import read_payload
from .split import Split

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: str | os.PathLike[str]) -> Split:
    """-> ((x_train, y_train), (x_test, y_test)) as stored. Raises ValueError naming the file and the array at fault."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            x_train, y_train, x_test, y_test = (_read_member(path, archive, name) for name in NAMES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a readable .npz file: {error}") from None
    return (x_train, y_train), (x_test, y_test)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """np.load would allocate what the header declares and unpickle objects; this reads the numbers that are there."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"{path}: must hold the arrays {', '.join(NAMES)}; {name} is missing")
    member = Path(f"{path}[{name}]")
    with archive.open(f"{name}.npy") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran_order, dtype = headers[version](stream)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{member}: not a readable array: {error}") from None
        if dtype.kind not in "uif":
            raise ValueError(f"{member}: must be of integers or floats, got {dtype}")
        data = read_payload(member, stream, math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)
