"""Word vectors in the files of word2vec, text or binary, and of GloVe, for the Embedding layer.

word2vec begins with a line of two numbers, words and dimensions; then a line a word, or the word, a space and the
vector in little-endian float32. GloVe has no first line. Mikolov et al., 2013; Pennington et al., 2014.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
LONGEST = 1 << 16  # bytes of a line or word


class WordVectors(NamedTuple):
    """words in the file's order, most frequent first, and vectors (n, d) float32, a row each."""

    words: list[str]
    vectors: NDArray[np.float32]

    def matrix(self, vocabulary: Sequence[str], *, seed: int = 0) -> NDArray[np.float32]:
        """(len(vocabulary), d): the rows of the words of a vocabulary, for Embedding's Constant initializer.

        A word that isn't there is looked up in lower case, and else gets random numbers as large as the known ones.
        """
        rows = {word: row for row, word in enumerate(self.words)}
        found = [rows.get(word, rows.get(word.lower(), -1)) for word in vocabulary]
        made = np.random.default_rng(seed).standard_normal((len(found), self.vectors.shape[1]), np.float32)
        made *= self.vectors.std() if self.vectors.size else 1.0
        for number, row in enumerate(found):
            if row >= 0:
                made[number] = self.vectors[row]
        return made


def read_word_vectors(
    path: str | os.PathLike[str], words: Collection[str] | None = None, most: int | None = None
) -> WordVectors:
    """The vectors of a file of word2vec or GloVe, gzip or plain: of these words, at most so many, or all.

    Memory grows with the vectors taken, not with the numbers that the file declares. Raises ValueError naming the file
    and the word where it is damaged.
    """
    path = Path(path)
    if most is not None and most < 1:
        raise ValueError(f"most must be >= 1, got {most}")
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            if not packed:
                return _taken(path, file, words, most)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _taken(path, unpacked, words, most)
        except EOFError:
            raise ValueError(f"{path}: the gzip stream is truncated") from None


def _taken(path: Path, file: Any, words: Collection[str] | None, most: int | None) -> WordVectors:
    wanted = None if words is None else set(words)
    found: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for word, row in _records(path, file):
        if wanted is None or word in wanted:
            found.append(word)
            rows.append(row)
            if len(found) == most or (wanted is not None and len(found) == len(wanted)):
                break
    if not rows:
        raise ValueError(f"{path}: must hold a vector of one of the words, found none")
    return WordVectors(found, np.stack(rows))


def _records(path: Path, file: IO[bytes]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    first = file.readline(LONGEST)
    header = first.split()
    if len(header) != 2 or not all(part.isdigit() for part in header):
        size = len(first.rstrip().split(b" ")) - 1
        if size < 2:
            raise ValueError(f"{path}: must begin with the numbers of words and dimensions, or a word and its vector, "
                             f"got {first[:60]!r}")  # fmt: skip
        yield from _lines(path, _chained(first, file), size)
        return
    count, size = int(header[0]), int(header[1])
    if not 1 <= size <= 10_000:
        raise ValueError(f"{path}: the dimensions must be 1 to 10000, got {size}")
    start = file.tell()
    line = file.readline(LONGEST)
    file.seek(start)
    yield from _lines(path, _chained(b"", file), size) if is_text(line, size) else _binary(path, file, count, size)


def is_text(line: bytes, size: int) -> bool:
    parts = line.rstrip().rsplit(b" ", size)
    try:
        return len(parts) == size + 1 and all(np.isfinite(float(part)) for part in parts[1:])
    except ValueError:
        return False


def _chained(first: bytes, file: IO[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    while line := file.readline(LONGEST):
        yield line


def _lines(path: Path, lines: Iterable[bytes], size: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """A word, which may have spaces in it, and its numbers."""
    for number, line in enumerate(lines, 1):
        parts = line.rstrip(b" \r\n").rsplit(b" ", size)
        try:
            row = np.array([float(part) for part in parts[1:]], np.float32)
        except ValueError:
            row = np.empty(0, np.float32)
        if len(row) != size:
            word = parts[0][:40].decode("utf-8", "replace")
            raise ValueError(f"{path}: the vector of word {number}, {word!r}, must have {size} numbers")
        yield parts[0].decode("utf-8", "replace"), row


def _binary(path: Path, file: IO[bytes], count: int, size: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for number in range(1, count + 1):
        word = bytearray()
        while (letter := file.read(1)) != b" ":
            if not letter or len(word) > LONGEST:
                raise ValueError(f"{path}: truncated at word {number} of {count}")
            if letter != b"\n" or word:  # some programs end a vector with a new line
                word += letter
        data = file.read(4 * size)
        if len(data) < 4 * size:
            raise ValueError(f"{path}: truncated in the vector of word {number} of {count}")
        yield word.decode("utf-8", "replace"), np.frombuffer(data, "<f4").astype(np.float32)
