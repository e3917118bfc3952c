"""A look at a file in a process of its own: HDF5's library may hang, crash or take all memory on a damaged one.

What comes through there is read again where it is wanted: the library does the same with the same bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, BYTES_A_SECOND = 10.0, 2e7  # of a processor: a start takes one, and reading a fifth of that
MEMORY_BYTES, UNFOLDED = 1 << 29, 24  # beside what the process has when it begins: in all, and a byte of the file
WAITING = 30  # times as long until a process is given up that doesn't come to compute
START = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.read()); from {module} import {name}; {name}(*sys.argv[1:])"
)
OUT_OF_MEMORY, OUT_OF_TIME = 3, -24  # the latter SIGXCPU's


def look(path: Path, reader: Callable[[str, str], Any], seconds: float | None = None) -> None:
    """Call reader, a module's function that calls bounded, on path and the seconds of a processor that it may take.

    Raises ValueError if it takes more, or too much memory, or if the process ends. What the reader itself raises is
    left to be raised where the file is read again.
    """
    if not sys.executable:  # Python is part of another program
        return
    limit = SECONDS + path.stat().st_size / BYTES_A_SECOND if seconds is None else seconds
    start = START.format(module=reader.__module__, name=reader.__name__)
    paths = json.dumps([os.path.abspath(each) for each in sys.path])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", "-c", start, str(path.resolve()), str(int(limit))], input=paths,
            capture_output=True, text=True, timeout=WAITING * limit, check=False,
        )  # fmt: skip
        status, said = done.returncode, done.stderr.strip().splitlines()[-1:]
    except subprocess.TimeoutExpired:
        status, said = OUT_OF_TIME, []
    if status == OUT_OF_TIME:
        raise ValueError(f"damaged: HDF5's library hasn't read it in {limit:.0f} seconds")
    if status == OUT_OF_MEMORY:
        raise ValueError("damaged: HDF5's library takes far more memory than the file can hold")
    if status:
        raise ValueError(f"damaged: HDF5's library ends on it: {(said or [f'exit status {status}'])[0]}")


def bounded(read: Callable[[str], Any], path: str, seconds: str) -> None:
    """In the other process: read within the time and memory that a file may need; what it refuses is refused later."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + int(seconds), spent + int(seconds) + 5))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES + UNFOLDED * os.stat(path).st_size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):  # a system without such limits
        pass
    try:
        read(path)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    except (ValueError, ImportError):
        pass
