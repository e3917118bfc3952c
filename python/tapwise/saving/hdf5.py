"""Arrays and attributes of an HDF5 file, of those that lie in the file itself and are no larger than it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

UNFOLDED = 8  # as many times a file's size as what is compressed in it may take


def h5py() -> Any:
    try:
        import h5py as module
    except ImportError as error:
        raise ImportError('Keras\' HDF5 files need h5py: pip install "tapwise[keras]"') from error
    return module


class Tree:
    """The arrays of a file by path, "layers/conv2d/vars/0", and the attributes of its groups.

    Links out of the file are not followed. Refused is an array that lies elsewhere or is larger than the file can hold.
    """

    def __init__(self, file: Any, size_bytes: int) -> None:
        self.found: dict[str, Any] = {"": file}
        file.visititems(self.found.__setitem__)
        self.left = UNFOLDED * size_bytes

    @property
    def arrays(self) -> list[str]:
        return [path for path, each in self.found.items() if is_array(each)]

    def __contains__(self, path: str) -> bool:
        return path in self.found

    def read(self, path: str) -> NDArray[Any]:
        """Raises ValueError on what isn't an array of numbers in the file, or more of them than there can be."""
        data = self.found.get(path)
        if data is None or not is_array(data):
            raise ValueError(f"damaged: it has no array {path}")
        if data.dtype.kind not in "fiub" or data.shape is None:
            raise ValueError(f"{path} must be of numbers, got {data.dtype}")
        if data.external or data.is_virtual:
            raise ValueError(f"refused: {path} lies in another file")
        self.left -= data.nbytes
        if self.left < 0:
            raise ValueError(f"{path} must fit the file's size, got a header that says {data.nbytes} bytes")
        return np.asarray(data[()])

    def attribute(self, path: str, name: str) -> Any:
        """Text, a list of texts, or None where there is none of that name."""
        attributes = self.found[path].attrs
        if name not in attributes:
            return None
        value = attributes[name]
        if isinstance(value, (np.ndarray, list)):
            return [text(each) for each in np.asarray(value, object).ravel().tolist()]
        return text(value)

    def texts(self, path: str, name: str) -> list[str] | None:
        """A list of texts; Keras splits long ones over name0, name1 and so on."""
        whole = self.attribute(path, name)
        if whole is not None:
            return list(whole) if isinstance(whole, list) else [whole]
        parts: list[str] = []
        for number in range(len(self.found[path].attrs)):
            part = self.attribute(path, f"{name}{number}")
            if not isinstance(part, list):
                break
            parts += part
        return parts or None


def is_array(thing: Any) -> bool:
    """A data set; groups have no type, and types no shape."""
    return hasattr(thing, "dtype") and hasattr(thing, "shape")


def text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


@contextmanager
def open_tree(source: str | os.PathLike[str] | IO[bytes], size_bytes: int) -> Iterator[Tree]:
    """Raises ValueError if it is no readable HDF5 file."""
    module = h5py()
    try:
        with module.File(source, "r") as file:
            yield Tree(file, size_bytes)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, KeyError, OverflowError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a readable HDF5 file: {error}") from None
