"""Every backend on every instruction set that this machine runs."""

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import tapwise


@dataclass(frozen=True)
class Engine:
    """A backend and, for native, the instruction set it is capped to."""

    backend: str
    isa: str | None = None

    def __str__(self):
        return f"{self.backend}-{self.isa}" if self.isa else self.backend

    @contextmanager
    def use(self):
        with ExitStack() as stack:
            stack.enter_context(tapwise.backend.use(self.backend))
            if self.isa:
                stack.enter_context(tapwise.isa.use(self.isa))
            yield self

    @property
    def environment(self):
        """The variables that make another process use this engine."""
        chosen = {"TAPWISE_BACKEND": self.backend}
        return {**chosen, "TAPWISE_ISA": self.isa} if self.isa else chosen


def native_engines():
    if "native" not in tapwise.backend.available():
        return []
    with tapwise.backend.use("native"):
        return [Engine("native", level) for level in reversed(tapwise.isa.available())]


def low_precision_only(engine):
    """Its float32 kernels are avx512's own, which test_low_precision.py holds; so only that file takes it."""
    return engine.isa == "avx512-bf16"


LOW_PRECISION = native_engines()
NATIVE = [engine for engine in LOW_PRECISION if not low_precision_only(engine)]
ENGINES = NATIVE + [Engine(name) for name in tapwise.backend.available() if name != "native"]
WINOGRAD = NATIVE
if CHOSEN := os.environ.get("TAPWISE_TEST_BACKEND"):  # test_cuda_emulated.py runs this suite on a backend of its own
    NATIVE, ENGINES = [], [Engine(CHOSEN)]
    WINOGRAD = LOW_PRECISION = ENGINES if CHOSEN.startswith("cuda") else []
FASTEST = [*NATIVE[:1], *(engine for engine in ENGINES if engine.backend == "numba")]
