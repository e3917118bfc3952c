"""How many calls of another library ran on our kernels, how many on its own and why, and what was copied first."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

KEPT = 1000


class Report(NamedTuple):
    """Calls by the name that the library has for them: PyTorch's "convolution", Keras' "conv"."""

    ran: dict[str, int]  # on our kernels
    fell_back: dict[tuple[str, str], int]  # on the library's own, by name and reason
    copied: dict[str, int]  # inputs that weren't contiguous in the call's layout

    @property
    def share(self) -> float:
        """Calls on our kernels, of all; 1 where there was none."""
        ours, others = sum(self.ran.values()), sum(self.fell_back.values())
        return ours / (ours + others) if ours + others else 1.0

    def __str__(self) -> str:
        lines = [f"{'operation':<36} {'ours':>8} {'copies':>8} {'others':>8}  reason"]
        for name in sorted({*self.ran, *(name for name, _ in self.fell_back)}):
            line = f"{name:<36} {self.ran.get(name, 0):>8} {self.copied.get(name, 0):>8}"
            for reason, n in [(reason, n) for (other, reason), n in self.fell_back.items() if other == name] or [
                ("", 0)
            ]:
                lines.append(f"{line} {n:>8}  {reason}".rstrip())
                line = " " * len(line)
        return "\n".join([*lines, f"{self.share:.1%} of the calls on Tapwise's kernels"])


class Counts:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.ran: Counter[str] = Counter()
        self.fell_back: Counter[tuple[str, str]] = Counter()
        self.copied: Counter[str] = Counter()

    def fall_back(self, name: str, reason: str) -> None:
        if len(self.fell_back) >= KEPT:  # reasons tell of sizes
            reason = "other reasons"
        self.fell_back[name, reason] += 1

    def report(self) -> Report:
        return Report(dict(self.ran), dict(self.fell_back), dict(self.copied))


torch_counts, keras_counts = Counts(), Counts()
