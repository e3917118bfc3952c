"""The steps of a model for one batch size: where every array lies in the arena, and the run forward and backward.

Moment i of a step is the forward of calls[i], then comes the loss, then moment 2 * len(calls) - i is the backward of
calls[i]. A tensor's buffer lives until the last forward that reads it, or the last backward whose layer says that it
does; a gradient's from the first reader that finds it to the backward of the tensor's maker; those of weights until
the end. Gradients of several readers are summed as they come, where a layer can in its own pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from . import ops
from .arena import Arena, Buffer, place
from .graph import Call
from .layers.layer import Array, Parameter, Shape
from .layers.place import EAGER, Needs
from .layers.symbolic import Symbolic
from .ops.memory import beside, to_host
from .ops.recording import State, state
from .repeat import Repeater

PASSED = "z", "middle"  # what forward itself reads of the memory that a layer keeps for backward


class Value(NamedTuple):
    """Where a tensor or its gradient lies: () if outside; several if a layer may have handed on any of its inputs."""

    buffers: tuple[Buffer, ...]
    exclusive: bool  # nobody else will read it, so that it may be written over

    def touch(self, moment: int) -> None:
        for buffer in self.buffers:
            buffer.touch(moment)


OUTSIDE = Value((), False)


class Step:
    """A call with its memory, and in training what its backward is to find."""

    def __init__(self, call: Call, needs: Needs | None, moment: int) -> None:
        self.call, self.needs, self.moment = call, needs, moment
        self.wanted: dict[str, tuple[Buffer, Shape]] = {}
        self.trained = False  # whether backward runs
        self.tensors = call.reads
        self.finds: list[bool] = []  # for each tensor read, whether its gradient is asked for
        self.asked: list[tuple[int, Symbolic]] = []  # those of which it is, with their numbers
        self.plus = False
        self.again: list[Parameter] = []  # weights whose gradient a later call of the layer has found already
        self.ahead = self.back = Repeater(call, False)

    @property
    def reads(self) -> str:
        reads = "xy" if self.needs is None else self.needs.reads
        return f"{reads}y" if self.call.layer.activity_regularizer and "y" not in reads else reads


class Schedule:
    """A plan of calls for a batch size; print it for its memory. targets: the outputs whose gradients come in training,
    None for prediction."""

    def __init__(
        self,
        calls: list[Call],
        inputs: Sequence[Symbolic],
        outputs: Sequence[Symbolic],
        batch: int,
        targets: Sequence[Symbolic] | None,
    ) -> None:
        self.inputs, self.outputs, self.batch, self.targets = inputs, outputs, batch, targets
        self.training = targets is not None
        self.buffers: list[Buffer] = []
        self.loss_moment = len(calls)
        self.values: dict[Symbolic, Value] = dict.fromkeys(inputs, OUTSIDE)
        self.readers: dict[Symbolic, int] = {}
        for tensor in (*outputs, *(tensor for call in calls for tensor in call.reads)):
            self.readers[tensor] = self.readers.get(tensor, 0) + 1
        self.steps = [self._forward_step(call, moment) for moment, call in enumerate(calls)]
        self.logits: list[Array | None] = []  # of each output of the last forward
        self.penalty = 0.0  # what the layers' activity_regularizers cost in it
        self.weights: list[Parameter] = []  # those that backward finds gradients of
        for tensor in outputs:
            self.values[tensor].touch(self.loss_moment)
        if self.training:
            self._backward_steps()
        self.layers = Counter(step.call.layer for step in self.steps)
        self.peak_bytes = place(self.buffers)
        self.block: Array | None = None
        self.folded = False
        self.tensors: dict[Symbolic, Array] = {}

    def _shape(self, tensor: Symbolic) -> Shape:
        return (self.batch, *tensor.example)

    def _buffer(self, shape: Shape, dtype: Any, start: int, end: int | None = None) -> Buffer:
        buffer = Buffer(shape, dtype, start)
        buffer.touch(start if end is None else end)
        self.buffers.append(buffer)
        return buffer

    def _forward_step(self, call: Call, moment: int) -> Step:
        layer, y_shape = call.layer, self._shape(call.output)
        shapes = [self._shape(tensor) for tensor in call.inputs]
        step = Step(call, needs := layer.needs(call.place, shapes, y_shape, self.training), moment)
        read = [self.values[tensor] for tensor in call.reads]
        ends = call.output in self.outputs
        behind = 2 * self.loss_moment - moment if self.training else self.loss_moment if ends else moment
        for value in read:
            value.touch(self.loss_moment if ends else moment)
        alone = self.readers[call.output] == 1 and not ends and not (self.training and "y" in step.reads)
        if needs is None:
            y = Value(tuple({b: None for value in read for b in value.buffers}), False)
        elif needs.view:
            y = Value(read[0].buffers, read[0].exclusive and alone)
        else:
            over = needs.in_place and read[0].exclusive and not (self.training and "x" in step.reads)
            onto = needs.over_residual and call.residual is not None and read[-1].exclusive
            free = read[0] if over else read[-1] if onto else None
            buffer = free.buffers[0] if free else self._buffer(y_shape, call.output.dtype, moment)
            step.wanted["y"] = buffer, y_shape
            y = Value((buffer,), alone)
            for name, shape, dtype in needs.kept:
                if self.training or ends or name in PASSED:
                    step.wanted[name] = self._buffer(shape, dtype, moment, behind), shape
        y.touch(moment)
        if self.training:
            for value in (*(read if "x" in step.reads else ()), *((y,) if "y" in step.reads else ())):
                value.touch(behind)
        self.values[call.output] = y
        return step

    def _backward_steps(self) -> None:
        assert self.targets is not None
        reached = set(self.targets)  # what they depend on
        for step in reversed(self.steps):
            if step.call.output in reached:
                reached.update(step.call.reads)
        found: set[Symbolic] = set()  # tensors whose gradient is asked for
        for step in self.steps:
            step.finds = [tensor in found for tensor in step.tensors]
            step.asked = [(number, tensor) for number, tensor in enumerate(step.tensors) if tensor in found]
            weights = [weight for layer in step.call.layers for weight in layer.trainable_weights]
            step.trained = step.call.output in reached and (any(step.finds) or bool(weights))
            if step.trained:
                found.add(step.call.output)
                self.weights.extend(weight for weight in weights if weight not in self.weights)
        gradients = dict.fromkeys(self.targets, OUTSIDE)
        seen: set[Parameter] = set()
        for step in reversed(self.steps):
            if step.trained:
                self._backward_step(step, gradients, seen)

    def _backward_step(self, step: Step, gradients: dict[Symbolic, Value], seen: set[Parameter]) -> None:
        call, needs = step.call, step.needs
        moment, y_shape = 2 * self.loss_moment - step.moment, self._shape(call.output)
        dy = gradients.pop(call.output)
        dy.touch(moment)
        dz = dy
        if needs and needs.dz:
            if not dy.exclusive:
                dz = Value((self._buffer(y_shape, call.output.dtype, moment),), True)
            step.wanted["dz"] = dz.buffers[0], y_shape
        for weight in call.layer.trainable_weights:
            first = weight not in seen
            if not first:
                step.again.append(weight)
            seen.add(weight)
            if needs:
                end = 2 * self.loss_moment + 1 if first else moment
                buffer = self._buffer(weight.shape, weight.value.dtype, moment, end)
                step.wanted[f"d{weight.name}"] = buffer, weight.shape
        for number, (tensor, asked) in enumerate(zip(call.reads, step.finds, strict=True)):
            if not asked:
                continue
            if number == len(call.inputs):  # the residual
                dx = dz
            elif needs is None:
                dx = Value(dy.buffers, False)  # it may have handed dy on
            elif call.many:
                dx = self._one_of_many(step, number, dz, moment)
            elif needs.view:
                dx = dy
            else:
                step.plus = call.layer.adds_to_dx and tensor in gradients
                if step.plus:
                    gradients.pop(tensor).touch(moment)
                over = needs.in_place and dz.exclusive and call.residual is None
                x_shape = self._shape(tensor)
                buffer = dz.buffers[0] if over else self._buffer(x_shape, tensor.dtype, moment)
                step.wanted["dx"] = buffer, x_shape
                dx = Value((buffer,), True)
            gradients[tensor] = self._sum(step, number, gradients.get(tensor), dx, moment)

    def _one_of_many(self, step: Step, number: int, dz: Value, moment: int) -> Value:
        """The gradient of one of several inputs: an array of its own, or dz, which isn't if others get it too."""
        own = step.needs.own if step.needs else ()
        if any(own) and own[number]:
            shape = self._shape(step.call.inputs[number])
            buffer = self._buffer(shape, step.call.inputs[number].dtype, moment)
            step.wanted[f"dx{number}"] = buffer, shape
            return Value((buffer,), True)
        others = sum(asked for i, asked in enumerate(step.finds) if not (any(own) and own[i]))
        return Value(dz.buffers, dz.exclusive and others == 1)

    def _sum(self, step: Step, number: int, one: Value | None, other: Value, moment: int) -> Value:
        """Over one of the two if nobody else reads it."""
        if one is None:
            return other
        one.touch(moment)
        tensor = step.call.reads[number]
        shape = self._shape(tensor)
        over = one if one.exclusive else other if other.exclusive else None
        total = over or Value((self._buffer(shape, tensor.dtype, moment),), True)
        step.wanted[f"sum{number}"] = total.buffers[0], shape
        return total

    def bind(self, arena: Arena) -> None:
        """Take the memory, again if the arena has moved."""
        arena.reserve(self.peak_bytes)
        if self.block is not arena.block:
            self.block = arena.block
            for step in self.steps:
                step.call.place.memory = {name: arena.view(*wanted) for name, wanted in step.wanted.items()}
                alone = self.training and self.layers[step.call.layer] == 1
                step.ahead, step.back = Repeater(step.call, alone), Repeater(step.call, alone)

    def fold(self, packs: bool = False) -> None:
        """Make the weights for prediction of those of now; packs: laid out for the convolutions' shapes too."""
        for step in self.steps:
            if step.call.folds:
                step.call.fold()
            if packs and not self.training:
                step.call.pack(self._shape(step.call.inputs[0]))

    def unfold(self) -> None:
        self.folded = False
        for step in self.steps:
            step.call.place.weights = None

    def forward(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs, in the arena's memory: the next run of the model writes over them."""
        self.tensors = tensors = dict(zip(self.inputs, arrays, strict=True))
        logits: dict[Symbolic, Array | None] = {}
        now = state()
        self.penalty = 0.0
        for step in self.steps:
            call = step.call
            layer = call.layer
            given = [tensors[tensor] for tensor in step.tensors]
            tensors[call.output] = step.ahead.run(now, given, partial(self._run_forward, call, given))
            if call.output in self.outputs and self.readers[call.output] == 1:
                logits[call.output] = None if layer.activity_regularizer else layer.logits()
            if regularizer := layer.activity_regularizer:
                call.y = tensors[call.output]
                self.penalty += regularizer(to_host(call.y)) / self.batch
            if self.training:
                call.saved = layer.saved
            else:
                for each in call.layers:
                    each.saved = None
        self.logits = [logits.get(tensor) for tensor in self.outputs]
        return [tensors[tensor] for tensor in self.outputs]

    def _run_forward(self, call: Call, given: list[Array]) -> Array:
        layer, at = call.layer, call.place
        at.residual = None if call.residual is None else given[-1]
        layer.place = at
        try:
            return layer.forward(given[: len(call.inputs)] if call.many else given[0], self.training)
        finally:
            layer.place = EAGER

    def backward(self, given: Sequence[tuple[Array | None, bool]]) -> None:
        """From each output's gradient, and whether it is that of the logits."""
        if not self.tensors:
            raise ValueError("backward must follow a forward in training, each time")
        tensors, self.tensors = self.tensors, {}
        pairs = list(zip(self.outputs, given, strict=True))
        gradients: dict[Symbolic, Any] = {
            tensor: dy if tensor.dtype in (None, dy.dtype) else ops.cast(dy, tensor.dtype)
            for tensor, (dy, _) in pairs
            if dy is not None
        }
        if self.targets is None or set(gradients) != set(self.targets):
            raise ValueError(
                f"gradients must be those of {[t.name for t in self.targets or ()]}, got {list(gradients)}"
            )
        at_logits = {tensor for tensor, (_, logits) in pairs if logits}
        now = state()
        for step in reversed(self.steps):
            if step.trained:
                self._back(step, tensors, gradients, step.call.output in at_logits, now)

    def _back(
        self,
        step: Step,
        tensors: dict[Symbolic, Array],
        gradients: dict[Symbolic, Any],
        at_logits: bool,
        now: State | None,
    ) -> None:
        call, at = step.call, step.call.place
        dy = gradients.pop(call.output)
        if dy is None:
            raise ValueError(f"{call.layer.name} got no gradient from the layer behind it")
        if regularizer := call.layer.activity_regularizer:
            dy = dy + beside(regularizer.gradient(to_host(call.y)), dy) * dy.dtype.type(1 / self.batch)
        at.plus = gradients.pop(call.inputs[0]) if step.plus else None
        given = [at_logits, dy, at.plus, tensors[call.output], *(tensors[tensor] for tensor in step.tensors)]
        dx = step.back.run(now, given, partial(self._run_backward, step, dy, at_logits))
        found: list[Any] = [*dx] if call.many and dx is not None else [dx]
        for number, tensor in step.asked:
            part: Any = found[number] if number < len(call.inputs) else at.dz
            if tensor in gradients:
                part = ops.add(gradients[tensor], part, out=at.memory.get(f"sum{number}"))
            gradients[tensor] = part

    def _run_backward(self, step: Step, dy: Array, at_logits: bool) -> Any:
        call = step.call
        layer = call.layer
        layer.saved, call.saved = call.saved, None
        layer.input_gradient = any(step.finds[: len(call.inputs)])
        earlier: list[Any] = [weight.gradient for weight in step.again]
        layer.place = call.place
        try:
            dx = layer.backward_logits(dy) if at_logits else layer.backward(dy)
        finally:
            layer.place = EAGER
        for weight, gradient in zip(step.again, earlier, strict=True):
            gradient += weight.gradient
            weight.gradient = gradient
        return dx

    def __str__(self) -> str:
        """What is joined, and the memory beside that of the weights."""
        head = f"{'calls of layers':<48} {'output':<22} {'output bytes':>13}"
        lines = [head]
        for step in self.steps:
            names = " + ".join(layer.name for layer in step.call.layers)
            shape = self._shape(step.call.output)
            kept = step.wanted["y"][0].bytes if "y" in step.wanted else 0
            lines.append(f"{names:<48} {'x'.join(map(str, shape)):<22} {kept:>13,}")
        whole = sum(buffer.bytes for buffer in self.buffers)
        lines.append(f"peak {self.peak_bytes:,} bytes; {whole:,} if nothing were reused ({len(self.buffers)} arrays)")
        return "\n".join(lines)
