"""Operations that wait for what follows them: convolution and product, normalization by channel, sum, padding.

Batch normalization goes into the weights before it, gain * conv(x, w) + shift = conv(x, gain * w) + shift; a residual
and an activation into the operation's last pass; padding into the convolution behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from .run import Run
from .values import Array, Memory, Pending, Shape, Value

Pairs = tuple[tuple[int, int], ...]


class Activated(Pending):
    """An operation whose last pass may apply an activation."""

    kind: str | None = None
    alpha: float | None = None

    def activated(self, kind: str, alpha: float | None) -> bool:
        if self.kind:
            return False
        self.kind, self.alpha = kind, alpha
        return True


class Finished(Activated):
    """One of x whose last pass may add a residual before that."""

    x: Memory
    y_shape: Shape
    residual: Memory | None = None

    def added(self, other: Memory) -> bool:
        if self.kind or self.residual or other.shape != self.y_shape:
            return False
        self.residual = other
        return True

    def reads(self) -> list[Memory]:
        return [self.x] if self.residual is None else [self.x, self.residual]


class Linear(Finished):
    """A convolution, transposed or not, or a product with constant or changing weights.

    arrange(w) is a view of ONNX' weights as the operation takes them, spread(gain) the gain of its channels beside it,
    pack(w) those weights laid out once, apply(x, w, b, residual, activation, alpha, out) the operation.
    """

    def __init__(
        self,
        x: Memory,
        w: Memory,
        b: Memory | None,
        y_shape: Shape,
        owner: Any,
        apply: Callable[..., Any],
        arrange: Callable[[Array], Array],
        pack: Callable[[Array], Any],
        spread: Callable[[Array], Array] = np.asarray,
    ) -> None:
        self.x, self.w, self.b, self.y_shape, self.owner = x, w, b, y_shape, owner
        self.apply, self.arrange, self.pack, self.spread = apply, arrange, pack, spread
        self.depthwise: dict[str, Any] | None = None  # strides, padding, dilation of such a convolution
        self.gain: Array | None = None
        self.shift: Array | None = None

    def scaled(self, gain: Array, shift: Array) -> bool:
        if self.kind or self.residual or not self.w.constant or not (self.b is None or self.b.constant):
            return False
        self.gain = gain if self.gain is None else self.gain * gain
        self.shift = shift if self.shift is None else self.shift * gain + shift
        return True

    def launch(self, run: Run) -> Memory:
        kind, alpha, apply = self.kind, self.alpha, self.apply
        reads = self.reads()
        if not (self.w.constant and (self.b is None or self.b.constant)):
            return self._with_changing_weights(run, reads)
        w, b = self.weights(run)
        if self.residual is None:

            def step(x: Array, y: Array) -> None:
                apply(x, w, b, None, kind, alpha, y)

        else:

            def step(x: Array, residual: Array, y: Array) -> None:  # type: ignore[misc]
                apply(x, w, b, residual, kind, alpha, y)

        return run.call(step, reads, self.y_shape, self.x.dtype, kernels=True)

    def _with_changing_weights(self, run: Run, reads: list[Memory]) -> Memory:
        kind, alpha, apply, arrange = self.kind, self.alpha, self.apply, self.arrange
        added, biased = self.residual is not None, self.b is not None
        reads = [*reads, self.w, *([self.b] if self.b is not None else [])]

        def step(*arrays: Array) -> None:
            rest = list(arrays)
            x, y = rest.pop(0), rest.pop()
            residual = rest.pop(0) if added else None
            w = arrange(rest.pop(0))
            apply(x, w, rest.pop(0) if biased else None, residual, kind, alpha, y)

        return run.call(step, reads, self.y_shape, self.x.dtype)

    def weights(self, run: Run) -> tuple[Any, Array | None]:
        """Packed for x's shape, with gain and shift; kept for the node until it comes with another shape."""
        gain, shift = self.gain, self.shift
        same = (self.x.shape, None if gain is None else gain.tobytes() + np.asarray(shift).tobytes())
        kept = run.packed.get(self.owner)
        if kept is not None and kept[0] == same and kept[1] is self.w.array:
            return kept[2], kept[3]
        w = self.arrange(self.w.array)
        b = None if self.b is None else self.b.array
        if gain is not None and shift is not None:
            w = w * self.spread(gain)
            b = shift if b is None else b * gain + shift
        packed = self.pack(w)
        b = None if b is None else np.ascontiguousarray(b, np.float32)
        run.packed[self.owner] = same, self.w.array, packed, b
        return packed, b


class ByChannel(Finished):
    """gain * (x - mean) / sqrt(variance + epsilon) + shift for each channel, the last axis of x's memory."""

    def __init__(self, x: Memory, gain: Array, shift: Array, mean: Array, variance: Array, epsilon: float) -> None:
        self.x, self.gain, self.shift, self.mean, self.variance = x, gain, shift, mean, variance
        self.y_shape, self.epsilon = x.shape, epsilon

    def scaled(self, gain: Array, shift: Array) -> bool:
        if self.kind or self.residual:
            return False
        self.gain, self.shift = self.gain * gain, self.shift * gain + shift
        return True

    def launch(self, run: Run) -> Memory:
        statistics = [np.ascontiguousarray(a, np.float32) for a in (self.gain, self.shift, self.mean, self.variance)]
        epsilon, kind, alpha = self.epsilon, self.kind, self.alpha
        added = self.residual is not None

        def step(*arrays: Array) -> None:
            residual = arrays[1] if added else None
            ops.batch_norm(
                arrays[0], *statistics, epsilon=epsilon, activation=kind, alpha=alpha, residual=residual, out=arrays[-1]
            )

        return run.call(step, self.reads(), self.y_shape, self.x.dtype, kernels=True)


class Sum(Activated):
    """a + b, of one shape."""

    def __init__(self, a: Memory, b: Memory) -> None:
        self.a, self.b = a, b

    def launch(self, run: Run) -> Memory:
        kind, alpha = self.kind, self.alpha

        def step(a: Array, b: Array, y: Array) -> None:
            ops.add(a, b, activation=kind, alpha=alpha, out=y)

        return run.call(step, (self.a, self.b), self.a.shape, self.a.dtype, kernels=True)


class Padded(Pending):
    """source with a constant around it; pairs are (before, after) of each of ONNX' axes, none below 0."""

    def __init__(self, source: Value, pairs: Pairs, filler: Any) -> None:
        self.source, self.pairs, self.filler = source, pairs, filler

    def launch(self, run: Run) -> Memory:
        memory = run.forced(self.source.memory)
        pairs = (self.pairs[0], *self.pairs[2:], self.pairs[1]) if self.source.last else self.pairs
        inside = tuple(slice(before, before + size) for (before, _), size in zip(pairs, memory.shape, strict=True))
        shape = tuple(size + before + after for size, (before, after) in zip(memory.shape, pairs, strict=True))
        filler = self.filler

        def step(x: Array, y: Array) -> None:
            y.fill(filler)
            y[inside] = x

        return run.call(step, (memory,), shape, memory.dtype)


def waiting(pending: Pending, shape: Shape, last: bool) -> Value:
    """The value that pending will make, float32, its memory of this shape."""
    return Value(Memory.waiting(pending, shape, np.float32), last)


def per_channel(constant: Value, value: Value) -> Array | None:
    """constant as (channels,) of the last axis of value's memory, None if it isn't one number for each or for all."""
    memory_axis = 1 if value.last else value.rank - 1
    if not constant.constant or constant.rank > value.rank or value.dtype != np.float32 or value.rank < 2:
        return None
    array = constant.memory.array
    if constant.last:
        array = np.moveaxis(array, -1, 1)
    array = array.reshape((1,) * (value.rank - array.ndim) + array.shape)
    channels = value.shape[memory_axis]
    if array.size == 1:
        return np.full(channels, array.reshape(()), np.float32)
    if array.shape[memory_axis] != channels or array.size != channels:
        return None
    return np.asarray(array.reshape(channels))
