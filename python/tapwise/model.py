"""Models by Keras' names: layers in a graph (Model) or in a row (Sequential) that train as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .arena import Arena
from .arrays import listed
from .freezing import Freezing
from .graph import calls, in_keras_order, ordered
from .layers.layer import Array, Cast, Input, InputLayer, Layer, Parameter, Shape, assign, shape_text, snake_case
from .layers.symbolic import Node, Symbolic, tensors
from .model_config import config_of, made_of_config
from .placement import Placement
from .schedule import Schedule
from .summary import numbered, sparsity, summary
from .tape import Split, Tape, split_of
from .trainer import Trainer

PLANS = 8  # that a model keeps: batch sizes, of training and of prediction


class Model(Trainer, Freezing, Placement):
    """What lies between inputs and outputs, which Input and layers gave: Model(x, y), or lists of several.

    A name that is taken gets a number in the order in which layers were made, as in Keras, but counted within the
    model: conv2d, conv2d_1. `layers` are in Keras' order, which is that of get_weights. Called on symbolic tensors a
    model gives its layers, with their weights, to the new graph. forward and backward work in one block of memory,
    planned for each batch size: what forward returns lasts until the model runs again.
    """

    def __init__(self, inputs: Any, outputs: Any, *, name: str = "functional") -> None:
        self._start(name)
        self.inputs, self.outputs = self._given(inputs, "inputs"), self._given(outputs, "outputs")
        self.nodes = ordered(self.inputs, self.outputs)
        places = in_keras_order(self.nodes, self.inputs, self.outputs)
        strange = {tensor.node.layer for tensor in self.inputs if not isinstance(tensor.node.layer, InputLayer)}
        called = {node.layer for node in self.nodes if not isinstance(node.layer, Cast)}
        for layer in sorted(places, key=lambda layer: layer.serial):
            if layer in called or not (layer in strange or isinstance(layer, Cast)):
                self._name(layer)
                self.layers.append(layer)
        self.layers.sort(key=places.__getitem__)

    inputs: list[Symbolic]
    outputs: list[Symbolic]
    nodes: list[Node]

    def _start(self, name: str) -> None:
        self.name = name
        self.layers: list[Layer] = []
        self.inputs, self.outputs = [], []
        self.nodes = []
        self._plans: dict[Any, Schedule] = {}
        self._splits: dict[Any, Split] = {}
        self._arena = Arena()
        self._lock = RLock()  # the arena is one caller's at a time
        self._prepared = self._packs = False
        self._running: Schedule | None = None

    def _given(self, x: Any, name: str) -> list[Symbolic]:
        found = tensors(x)
        if not found:
            raise TypeError(f"{name} must be what Input and layers gave, or a list of it, got {x!r}")
        if len(set(found)) != len(found):
            raise ValueError(f"{name} must be different tensors, got {', '.join(each.name for each in found)}")
        return list(found)

    def accept(self, arrays: Sequence[Array]) -> None:
        if len(arrays) != len(self.inputs):
            raise ValueError(f"{self.name} must get {len(self.inputs)} inputs, got {len(arrays)}")
        for tensor, x in zip(self.inputs, arrays, strict=True):
            if x.shape[1:] != tensor.example:
                hint = "; x[..., None] has the axis of channels" if (*x.shape[1:], 1) == tensor.example else ""
                name = self.name if len(self.inputs) == 1 else f"{tensor.name} of {self.name}"
                raise ValueError(f"{name} must get x of shape {shape_text(tensor.example)}, got {x.shape}{hint}")
        if any(len(x) != len(arrays[0]) for x in arrays):
            raise ValueError(f"{self.name} must get inputs of one length, got {', '.join(str(len(x)) for x in arrays)}")

    def __call__(self, x: Any, training: bool = False) -> Any:
        """x (n, ...) -> y (n, ...) in one piece; lists where there are several. Symbolic tensors: see Model."""
        if given := tensors(x):
            return self._called_on(given)
        arrays = self._inputs(x)
        with self.prepared():
            results = [y.copy() for y in self.run(self._batch(arrays), training)]
        return results[0] if len(results) == 1 else results

    def _called_on(self, given: Sequence[Symbolic]) -> Any:
        self._built()
        for mine, other in zip(self.inputs, given, strict=True):
            if mine.example != other.example:
                raise ValueError(
                    f"{self.name} must get an input of shape {shape_text(mine.example)}, got "
                    f"{shape_text(other.example)} of {other.name}"
                )
        made = dict(zip(self.inputs, given, strict=True))
        for node in self.nodes:
            read = [made[tensor] for tensor in node.inputs]
            made[node.output] = node.layer(read if node.many else read[0])
        found = [made[tensor] for tensor in self.outputs]
        return found[0] if len(found) == 1 else found

    @contextmanager
    def prepared(self, *, packed: bool = False) -> Iterator[None]:
        """Weights stay as they are until the end: what prediction makes of them is made once; packed: as tapwise.pack
        lays them out, in as much memory again for each batch size."""
        with self._lock:
            before, self._prepared = self._prepared, True
            self._packs = self._packs if before else packed
            try:
                yield
            finally:
                self._prepared = before
                if not before:
                    self._packs = False
                    for plan in self._plans.values():
                        plan.unfold()

    def forward(self, x: Any, training: bool = False) -> Any:
        """The output, a list of several, in memory that the next run writes over; x a list for several inputs."""
        outputs = self.run(listed(x), training)
        return outputs[0] if len(outputs) == 1 else outputs

    def backward(self, dy: Any, at_logits: bool = False) -> None:
        """Set all gradients from those of the outputs; with at_logits dy belongs to the input of the softmax at the
        end. None in a list stands for an output without a gradient."""
        self.run_back([(each, at_logits) for each in listed(dy)])

    def logits(self) -> Array | None:
        """What the softmax at the first output's end read in the last forward; None without one."""
        return self.run_logits()[0]

    def tape(self, x: Any, at: Sequence[str | Symbolic] | None = (), *, output: int = 0) -> Tape:
        """Scores of x (n, ...), those before a softmax or sigmoid at the end, whose gradients can then be asked for.

        at: names of layers whose outputs they are wanted with respect to; () the inputs; None: no gradients.
        """
        arrays = self._inputs(x)
        with self._lock:
            return split_of(self, at, output).forward(self._batch(arrays))

    def run(self, arrays: list[Array], training: bool = False) -> list[Array]:
        with self._lock:
            self._running = plan = self._plan(len(arrays[0]), training)
            plan.bind(self._arena)
            if not plan.folded:
                plan.fold(self._packs)
                plan.folded = self._prepared
            return self._here(plan.forward(self._there(arrays)))

    def run_logits(self) -> list[Array | None]:
        assert self._running is not None
        return self._here(self._running.logits)

    def run_penalty(self) -> float:
        return 0.0 if self._running is None else self._running.penalty

    def run_back(self, gradients: list[tuple[Array | None, bool]]) -> list[Parameter]:
        if self._running is None or not self._running.training:
            raise ValueError(f"{self.name}: backward must follow a forward in training")
        self._running.backward([(self._there([dy])[0] if dy is not None else None, at) for dy, at in gradients])
        return self._running.weights

    def _plan(self, batch: int, training: bool) -> Schedule:
        key: Any = batch
        if training:
            trained = self.objective.trained if self.compiled else range(len(self.outputs))
            key = batch, *trained, *self.trainable_weights, *(layer.trainable for layer in self.layers)
        if key in self._plans:
            self._plans[key] = self._plans.pop(key)  # the latest last
        else:
            if len(self._plans) >= PLANS:
                del self._plans[next(iter(self._plans))]
            made = calls(self.nodes, self.outputs, training)
            targets = [self.outputs[number] for number in trained] if training else None
            self._plans[key] = Schedule(made, self.inputs, self.outputs, batch, targets)
        return self._plans[key]

    def plan(self, batch_size: int = 32, *, training: bool = True) -> Schedule:
        """How a step, or a prediction, of that batch size runs and what memory it takes; to be printed."""
        self._built()
        return self._plan(batch_size, training)

    @property
    def dtype(self) -> np.dtype[Any]:
        return next(layer.dtype for layer in self.layers if not isinstance(layer, InputLayer))

    @property
    def input_shape(self) -> Any:
        self._built()
        return self.inputs[0].shape if len(self.inputs) == 1 else [tensor.shape for tensor in self.inputs]

    @property
    def output_shape(self) -> Any:
        self._built()
        return self.outputs[0].shape if len(self.outputs) == 1 else [tensor.shape for tensor in self.outputs]

    @property
    def input(self) -> Symbolic | list[Symbolic]:
        self._built()
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    @property
    def output(self) -> Symbolic | list[Symbolic]:
        self._built()
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    @property
    def input_names(self) -> list[str]:
        return numbered([tensor.name for tensor in self.inputs])

    @property
    def output_names(self) -> list[str]:
        return numbered([tensor.name for tensor in self.outputs])

    @property
    def result_shapes(self) -> list[Shape]:
        self._built()
        return [tensor.example for tensor in self.outputs]

    @property
    def result_shape(self) -> Shape:
        return self.result_shapes[0]

    @property
    def weights(self) -> list[Parameter]:
        return [w for layer in self.layers for w in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for layer in self.layers for w in layer.trainable_weights]

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer, in Keras' order and shapes."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Take arrays in the order and shapes of get_weights; on ValueError nothing has changed."""
        self._built()
        assign(self.name, self.weights, weights)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name or index."""
        if (name is None) == (index is None):
            raise ValueError(f"either name or index must be given, got name={name!r}, index={index}")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index must be that of one of {len(self.layers)} layers, got {index}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"name must be one of {', '.join(layer.name for layer in self.layers)}, got {name!r}")

    def get_config(self) -> dict[str, Any]:
        """Layers with their arguments, and how they are connected, as JSON has them."""
        self._built()
        return config_of(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]] | None = None) -> Model:
        """A model of get_config's layers with new weights; custom_objects are classes of one's own by name."""
        return made_of_config(cls.__name__, config, custom_objects or {})

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write all of it to one file, for tapwise.load_model; what was there is replaced once it is complete."""
        from .saving import save_model

        self._built()
        save_model(filepath, self)

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Write the weights to an .npz or .safetensors file."""
        from .saving import save_weights

        self._built()
        save_weights(filepath, self)

    def load_weights(self, filepath: str | os.PathLike[str], *, skip_mismatch: bool = False) -> None:
        """Take the weights of a file of save_weights, Keras or PyTorch; see saving.load_weights."""
        from .saving import load_weights

        self._built()
        load_weights(filepath, self, skip_mismatch=skip_mismatch)

    def count_params(self) -> int:
        self._built()
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, *, print_fn: Callable[[str], object] = print) -> None:
        """Print the layers as Keras' table, each with its share of the parameters, and point at the largest."""
        print_fn(summary(self))

    def sparsity(self, threshold: float = 1e-3, *, print_fn: Callable[[str], object] = print) -> None:
        """Print for each array of weights how many are at most threshold times its largest: what L1 prunes."""
        self._built()
        print_fn(sparsity(self, threshold))

    def _built(self) -> None:
        if not self.outputs:
            raise ValueError(f"{self.name} has no shapes yet: give Input first, or call the model once")

    def _name(self, layer: Layer) -> None:
        taken = {other.name for other in self.layers}
        if layer in self.layers or (layer.has_own_name and layer.name in taken):
            raise ValueError(f"each layer must have its own name, got {layer.name!r} twice")
        if layer.name in taken:
            base = snake_case(type(layer).__name__)
            layer.name = next(name for i in count(1) if (name := f"{base}_{i}") not in taken)


class Sequential(Model):
    """x -> layers[0] -> layers[1] -> ... -> y.

    Weights are made as layers are added behind an Input (or a layer with input_shape), else at the first call.
    """

    def __init__(self, layers: Iterable[Layer | Symbolic] = (), *, name: str = "sequential") -> None:
        self._start(name)
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer | Symbolic) -> None:
        """Append a layer. Raises ValueError if it doesn't fit behind the one before or its name is taken."""
        if isinstance(layer, Symbolic) and isinstance(layer.node.layer, InputLayer):
            if self.layers or self.inputs:
                raise ValueError(f"Input must come first, got it behind {len(self.layers)} layers")
            self.inputs = [layer]
            return
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must be Layer objects, got {layer!r}")
        if self.layers and layer.dtype != self.dtype:
            raise ValueError(f"{layer.name}: dtype must be that of the model, {self.dtype}, got {layer.dtype}")
        self._name(layer)
        if not self.layers and not self.inputs and layer.input_shape is not None:
            self.inputs = [Input(layer.input_shape)]
        if self.inputs:
            self._append(layer)
        self.layers.append(layer)

    def _append(self, layer: Layer) -> None:
        behind = self.outputs or self.inputs
        self.outputs = [layer(behind[0])]
        self.nodes += ordered(behind, self.outputs)
        self._plans.clear()

    def build(self, input_shape: Sequence[Any]) -> None:
        """Make the weights for x of input_shape, whose first element, the batch axis, means nothing."""
        if self.inputs:
            raise ValueError(f"{self.name} is built already, for x {shape_text(self.inputs[0].example)}")
        unbuilt = [layer for layer in self.layers if not layer.built]
        self.inputs = [Input(input_shape[1:])]
        try:
            for layer in self.layers:
                self._append(layer)
        except ValueError:
            for layer in unbuilt:
                layer.weights.clear()
                layer.built = False
            self.inputs, self.outputs, self.nodes = [], [], []
            raise

    def accept(self, arrays: Sequence[Array]) -> None:
        if not self.layers:
            raise ValueError(f"{self.name} must have at least one layer")
        if not self.inputs:
            self.build(arrays[0].shape)
        super().accept(arrays)

    def _built(self) -> None:
        if not self.inputs:
            super()._built()

    @property
    def input_names(self) -> list[str]:
        return super().input_names or ["x"]

    @property
    def output_names(self) -> list[str]:
        return [layer.name for layer in self.layers[-1:]] or ["y"]

    @property
    def result_shapes(self) -> list[Shape]:
        self._built()
        return [(self.outputs or self.inputs)[0].example]

    @property
    def shapes(self) -> list[Shape]:
        """Of x and behind each layer, with a batch axis of 0; empty before the build."""
        outputs = [node.output for node in self.nodes if not isinstance(node.layer, Cast)]
        return [(0, *tensor.example) for tensor in (*self.inputs, *outputs)]
