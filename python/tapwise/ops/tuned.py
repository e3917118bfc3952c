"""What "auto" takes instead of the plan's choice, in a process that asked for it: the winners of tapwise.tune."""

from typing import TypeAlias

from ..backend import Backend
from ..geometry import ConvGeometry

Key: TypeAlias = tuple[ConvGeometry, str, str, str, str, int]

winners: dict[Key, str] = {}  # empty unless tune or load_tuned was called: "auto" is no function of a measurement


def key(g: ConvGeometry, direction: str, accuracy: str, backend: Backend) -> Key:
    return g, direction, accuracy, backend.name, backend.isa_name(), backend.thread_count()


def tuned(g: ConvGeometry, direction: str, algorithm: str, accuracy: str, backend: Backend) -> str:
    """The algorithm remembered for this call if it is left open, else the one given."""
    return winners.get(key(g, direction, accuracy, backend), algorithm) if algorithm == "auto" else algorithm
