"""A graph's steps for one set of input shapes, repeated: no shapes, no checks, one block of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

import numpy as np

from ...arena import Arena, Buffer, place
from ...ops.recording import recording
from .run import Step
from .values import Array, Memory


def root(memory: Memory) -> Memory:
    """Whose bytes they are."""
    while memory.base is not None:
        memory = memory.base
    return memory


class Plan:
    """Built from the steps of a first run; run() makes the same calls on new inputs."""

    def __init__(self, steps: Sequence[Step], inputs: Sequence[Memory], outputs: Sequence[Memory]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.steps = needed(steps, outputs)
        self.buffers: dict[Memory, Buffer] = {}
        self.given: dict[Memory, Array] = {}  # the inputs of this run
        self.calls: list[Callable[[], Any]] = []
        self._place()
        self.arena = Arena()
        self.arrays: dict[Memory, Array] = {}

    def _place(self) -> None:
        """Buffers that live from the step that writes them to the last that reads them."""
        for moment, step in enumerate(self.steps):
            for memory in map(root, step.reads):
                if memory in self.buffers:
                    self.buffers[memory].touch(moment)
            for memory in step.writes:
                self.buffers[memory] = Buffer(memory.shape, memory.dtype, moment)
        for memory in map(root, self.outputs):
            if memory in self.buffers:
                self.buffers[memory].touch(len(self.steps))
        self.peak_bytes = place(list(self.buffers.values()))

    def _array(self, memory: Memory) -> Array:
        """The memory in the arena, a constant, or an input of this run."""
        if memory.constant:
            return np.asarray(memory.array)
        of = root(memory)
        if of in self.given:
            return self.given[of].reshape(memory.shape)
        if memory not in self.arrays:
            self.arrays[memory] = self.arena.view(self.buffers[of], memory.shape)
        return self.arrays[memory]

    def step_by_step(self, inputs: Sequence[Array]) -> list[Array]:
        """Run through the operations, where a trace sees them."""
        self.arena.reserve(self.peak_bytes)
        self.given = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            self._with_inputs(step, tuple(self._array(memory) for memory in step.writes))
        return self._results()

    def bind(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once on memory of the plan, and put down what the kernels were asked."""
        self.arena.reserve(self.peak_bytes)
        self.given = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            reads, writes = [self._array(m) for m in step.reads], [self._array(m) for m in step.writes]
            fed = [number for number, m in enumerate(step.reads) if root(m) in self.given]
            if fed:
                self.calls.append(partial(self._with_inputs, step, tuple(writes)))
                step.function(*reads, *writes)
                continue
            again = partial(step.function, *reads, *writes)
            with recording() as calls:
                again()
            if step.kernels and calls is not None:
                self.calls.extend(partial(function, *a, **named) for function, a, named in calls.made)
            else:
                self.calls.append(again)
        for memory in self.buffers:
            memory.array = None  # the first run's
        return self._results()

    def profile(self, inputs: Sequence[Array], runs: int = 5) -> list[tuple[str, float]]:
        """What each step does, and its seconds: the least of several runs, the longest step first."""
        times: dict[int, float] = {}
        for _ in range(runs):
            self.given = dict(zip(self.inputs, inputs, strict=True))
            for number, step in enumerate(self.steps):
                writes = tuple(self._array(memory) for memory in step.writes)
                start = perf_counter()
                self._with_inputs(step, writes)
                times[number] = min(perf_counter() - start, times.get(number, inf))
        self.given = {}
        return sorted(((str(self.steps[n]), seconds) for n, seconds in times.items()), key=lambda pair: -pair[1])

    def _with_inputs(self, step: Step, writes: tuple[Array, ...]) -> None:
        step.function(*(self._array(memory) for memory in step.reads), *writes)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self.given = dict(zip(self.inputs, inputs, strict=True))
        for call in self.calls:
            call()
        return self._results()

    def _results(self) -> list[Array]:
        results = [self._array(memory).copy() for memory in self.outputs]
        self.given = {}
        return results


def needed(steps: Sequence[Step], outputs: Sequence[Memory]) -> list[Step]:
    """The steps that the outputs depend on."""
    wanted = {root(memory) for memory in outputs}
    kept = []
    for step in reversed(steps):
        if any(memory in wanted for memory in step.writes):
            kept.append(step)
            wanted.update(map(root, step.reads))
    return kept[::-1]
