"""What is installed and in use, for bug reports."""

import os
import platform
from typing import Any

import numpy as np

from . import backend
from ._version import __version__

VARIABLES = ("TAPWISE_BACKEND", "TAPWISE_ISA", "TAPWISE_THREADS")


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print the version, machine, backends, ISA, threads and build; mode="dicts" returns them instead."""
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts", got {mode!r}')
    current = backend.current()
    config: dict[str, dict[str, Any]] = {
        "tapwise": {"version": __version__, "path": os.path.dirname(__file__)},
        "machine": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
        },
        "backend": {"name": current.name, "available": list(backend.available()), "isa": current.isa_name(),
                    "isas": current.isa_available(), "threads": current.thread_count()},
        "build": current.build_info(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }  # fmt: skip
    if mode == "dicts":
        return config
    for section, entries in config.items():
        print(section)
        for key, value in entries.items():
            print(f"  {key:<12} {', '.join(value) if isinstance(value, list) else value}")
    return None
