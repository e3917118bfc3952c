"""IDX files, the format of MNIST: 0, 0, type, rank, the sizes as big-endian uint32, then big-endian elements.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """One IDX file, gzip or plain -> an array of its sizes and type, in native byte order.

    Raises ValueError naming the file if it is empty, truncated, too long or no IDX file.
    """
    path = Path(path)
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            if not packed:
                return _parse(path, file)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(path, unpacked)
        except EOFError:
            raise ValueError(f"{path}: the gzip stream is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: the gzip stream is damaged: {error}") from None


def read_payload(path: Path, stream: IO[bytes] | gzip.GzipFile, size_bytes: int) -> bytearray:
    """Exactly size_bytes bytes, to the stream's end. Memory grows with the data found, not with the size declared."""
    data = bytearray()
    while len(data) <= size_bytes and (chunk := stream.read(min(CHUNK_BYTES, size_bytes + 1 - len(data)))):
        data += chunk
    if len(data) < size_bytes:
        raise ValueError(f"{path}: truncated: the header declares {size_bytes} bytes of data, found {len(data)}")
    if len(data) > size_bytes:
        raise ValueError(f"{path}: too long: data goes on after the {size_bytes} bytes that the header declares")
    return data


def _parse(path: Path, stream: IO[bytes] | gzip.GzipFile) -> NDArray[Any]:
    magic = stream.read(4)
    if not magic:
        raise ValueError(f"{path}: the file is empty")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file: must begin with two zero bytes, type and rank, got {magic!r}")
    code, rank = magic[2], magic[3]
    if code not in TYPES:
        known = ", ".join(f"0x{known:02x}" for known in TYPES)
        raise ValueError(f"{path}: the IDX type code must be one of {known}, got 0x{code:02x}")
    if not 1 <= rank <= 8:
        raise ValueError(f"{path}: the IDX rank must be 1 to 8, got {rank}")
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"{path}: truncated inside the header of {4 + 4 * rank} bytes")
    sizes = struct.unpack(f">{rank}I", header)
    dtype = np.dtype(TYPES[code])
    data = read_payload(path, stream, math.prod(sizes) * dtype.itemsize)
    array = np.frombuffer(data, dtype).reshape(sizes)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_idx_pair(images: str | os.PathLike[str], labels: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images and labels of one split -> x (n, ih, iw, 1) of the file's type, y (n,) int64.

    A rank-4 image file keeps its last axis as channels. Raises ValueError naming the file that doesn't fit.
    """
    x, y = read_idx(images), read_idx(labels)
    if x.ndim not in (3, 4):
        hint = ": are these the labels?" if x.ndim == 1 else ""
        raise ValueError(f"{images}: images must have rank 3 or 4, got shape {x.shape}{hint}")
    if y.ndim != 1:
        hint = ": are these the images?" if y.ndim in (3, 4) else ""
        raise ValueError(f"{labels}: labels must have rank 1, got shape {y.shape}{hint}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"{labels}: labels must be integers, got {y.dtype}")
    if len(x) != len(y):
        raise ValueError(f"{labels}: one label per image expected, got {len(y)} labels for {len(x)} images in {images}")
    return x if x.ndim == 4 else x[..., None], y.astype(np.int64)
