"""PyTorch programs on Tapwise's kernels: enable() replaces PyTorch's for float32 on the CPU, disable() restores them.

with tapwise.interop.torch.enable():
    loss(model(x), y).backward()
"""

from __future__ import annotations

from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING

from ...ops.check import ACCURACIES
from ..counts import Report, torch_counts

if TYPE_CHECKING:
    from .kernels import Overrides

__all__ = ["Report", "disable", "enable", "enabled", "report"]

_lock = RLock()
_active: Overrides | None = None
_uses: list[enable] = []


class enable:
    """Run convolutions, transposed convolutions, maximum and average pooling of every PyTorch program on our kernels.

    Forward and backward, for float32 tensors in this machine's memory, in this process and every thread of it. What
    isn't covered runs on PyTorch's kernels and is counted: report(). Both layouts without copies: contiguous tensors
    are channels_first, those in torch.channels_last channels_last; results have the strides that PyTorch's have.
    accuracy is conv's: "strict" (no Winograd), "default" or "fast". While enabled, operations use as many threads as
    torch.get_num_threads() says. As a context manager, it restores what was before; it may be nested.
    Raises ImportError without PyTorch 2.10 or later, ValueError on another accuracy.
    """

    def __init__(self, accuracy: str = "default") -> None:
        global _active
        if accuracy not in ACCURACIES:
            raise ValueError(f"accuracy must be one of {', '.join(ACCURACIES)}, got {accuracy!r}")
        overrides = _overrides()
        with _lock:
            self._accuracy = accuracy
            if _active is None:
                torch_counts.clear()
                _active = overrides()
            _active.set_accuracy(accuracy)
            _uses.append(self)

    def __enter__(self) -> enable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            if self not in _uses:
                return  # disable() came first
            _uses.remove(self)
            if not _uses:
                disable()
            elif _active is not None:
                _active.set_accuracy(_uses[-1]._accuracy)


def disable() -> None:
    """Give every operation back to PyTorch's kernels, however often enable() was called."""
    global _active
    with _lock:
        _uses.clear()
        if _active is not None:
            _active.restore()
            _active = None


def enabled() -> bool:
    """Whether PyTorch's operations run on our kernels now."""
    return _active is not None


def report() -> Report:
    """What ran on our kernels and what on PyTorch's since enable() (the outermost); printable."""
    return torch_counts.report()


def _overrides() -> type[Overrides]:
    try:
        from torch.library import get_kernel as _get_kernel  # noqa: F401  PyTorch 2.10

        from .kernels import Overrides
    except ImportError as error:
        raise ImportError(
            f'interop.torch needs PyTorch 2.10 or later: pip install "tapwise[torch]" ({error})'
        ) from error
    return Overrides
