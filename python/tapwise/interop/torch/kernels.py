"""Our kernels in the place of PyTorch's, for the dispatch key of dense tensors in this machine's memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

import torch

from ... import threads
from . import adaptive, plans, pool
from .conv import convolution, convolution_backward
from .crowd import Crowd

SERVED: dict[str, Callable[..., Any]] = {
    "convolution": convolution,
    "_convolution": convolution,
    "_convolution.deprecated": convolution,
    "convolution_backward": convolution_backward,
    **{
        name: partial(function, rank)
        for rank in (2, 3)
        for name, function in (
            (f"max_pool{rank}d_with_indices", pool.max_pool_with_indices),
            (f"max_pool{rank}d_with_indices_backward", pool.max_pool_with_indices_backward),
            (f"avg_pool{rank}d", pool.avg_pool),
            (f"avg_pool{rank}d_backward", pool.avg_pool_backward),
            (f"adaptive_max_pool{rank}d", adaptive.max_pool),
            (f"adaptive_max_pool{rank}d_backward", adaptive.max_pool_backward),
            (f"_adaptive_avg_pool{rank}d", adaptive.avg_pool),
            (f"_adaptive_avg_pool{rank}d_backward", adaptive.avg_pool_backward),
        )
    },
}

CUDNN_FLAGS = (False,) * 4


def max_pool1d(keys: Any, *arguments: Any) -> Any:
    """PyTorch's own, where no gradient is wanted, is one piece; where one is, it is this."""
    return torch.ops.aten.max_pool1d_with_indices.default(*arguments)[0]


class Overrides:
    """In place from the start; restore gives PyTorch's kernels back."""

    def __init__(self) -> None:
        self._threads: threads.set | None = None
        self._thread_count, self._thread = 0, get_ident()
        self._crowd: Crowd | None = None
        kernels = {name: self.kernel(name, serve) for name, serve in SERVED.items()}
        self._library = torch.library.Library("aten", "IMPL")
        try:
            self.follow_threads()
            self.register(kernels)
        except BaseException:
            self.restore()
            raise

    def register(self, kernels: dict[str, Callable[..., Any]]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning only once for all operators")  # of what this is for
            for name, kernel in kernels.items():
                self._library.impl(name, kernel, "CPU", with_keyset=True)
            for key in ("AutogradCPU", "CPU"):
                self._library.impl("max_pool1d", max_pool1d, key, with_keyset=True)

    def kernel(self, name: str, serve: Callable[..., Any]) -> Callable[..., Any]:
        native = outer = torch.library.get_kernel(f"aten::{name}", "CPU").call_boxed
        flags: tuple[bool, ...] = ()
        # PyTorch's convolution calls _convolution, which is what torch.jit.trace writes down. Else past it, to its
        # kernel: it is ours too, and would be asked and counted again.
        is_tracing = torch._C._is_tracing if name == "convolution" else bool
        if name == "convolution":
            native, flags = torch.library.get_kernel("aten::_convolution", "CPU").call_boxed, CUDNN_FLAGS
        thread, thread_count = self._thread, torch.get_num_threads
        grad_enabled, set_grad_enabled = torch.is_grad_enabled, torch._C._set_grad_enabled
        as_it_is = torch._C.DisableTorchFunction

        def kernel(keys: Any, *arguments: Any) -> Any:
            if is_tracing():
                return outer(keys, *arguments)
            if get_ident() == thread and thread_count() != self._thread_count:
                self.follow_threads()
            with as_it_is():  # subclasses and modes have had their turn
                gradients = grad_enabled()
                set_grad_enabled(False)  # or a tensor that wants one has no numpy()
                try:
                    result = serve(*arguments)
                finally:
                    set_grad_enabled(gradients)
            return native(keys, *arguments, *flags) if result is None else result

        return kernel

    def follow_threads(self) -> None:
        """PyTorch's number of threads for our operations too."""
        self._thread_count = torch.get_num_threads()
        if self._threads is None:
            self._threads = threads.set(self._thread_count)
        else:
            threads.set(self._thread_count)
        if self._crowd is not None:
            self._crowd.leave()
        self._crowd = Crowd() if self._thread_count > 1 else None

    def set_accuracy(self, accuracy: str) -> None:
        plans.forget(accuracy)

    def restore(self) -> None:
        self._library._destroy()
        if self._crowd is not None:
            self._crowd.leave()
        if self._threads is not None:
            self._threads.__exit__(None, None, None)
