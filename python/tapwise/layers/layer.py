"""What every layer is: parameters, forward and backward."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import constraints, initializers, ops, regularizers
from ..configured import Configured
from ..ops.check import is_bfloat16
from ..ops.memory import beside, to_host
from .place import EAGER, Needs, Place
from .policy import DTypePolicy, policy_of
from .symbolic import Node, Symbolic, example_shape, tensors

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
MADE = count()


class Parameter:
    """An array of a layer and, after backward, the loss's gradient; one that isn't trainable has none."""

    def __init__(
        self,
        value: Array,
        name: str,
        trainable: bool = True,
        regularizer: regularizers.Regularizer | None = None,
        constraint: constraints.Constraint | None = None,
    ) -> None:
        self.value, self.name, self.trainable = value, name, trainable
        self.regularizer, self.constraint = regularizer, constraint
        self.gradient: Array | None = None

    @property
    def shape(self) -> Shape:
        return self.value.shape

    def numpy(self) -> Array:
        """A copy of the value in this machine's memory."""
        return self.value.copy() if isinstance(self.value, np.ndarray) else to_host(self.value)

    def assign(self, value: Array) -> None:
        """Write over the value, wherever it lies."""
        self.value[...] = beside(value, self.value)

    def __repr__(self) -> str:
        return f"<Parameter {self.name} {self.shape} {self.value.dtype}>"


class Layer(Configured):
    """x (n, ...) -> y (n, ...). A subclass keeps its arguments; build makes weights, forward and backward compute.

    build(x.shape) runs once, before the first forward; the size of the batch axis in it means nothing.
    backward(dy) belongs to the last forward: it sets the gradients of the weights and returns dx, or None where
    input_gradient is False, which a model sets on the first layer that it trains. What backward needs is kept in
    `saved`; a model that only predicts drops it. A layer of several inputs gets lists: shapes, arrays, and gives a
    list of gradients. needs and `place` are for layers that work in memory of the model's plan; one that knows
    nothing of them gives arrays of its own.
    """

    in_bfloat16 = False  # under the policy mixed_bfloat16 it computes in that, not in float32
    adds_residual = False  # forward adds place.residual, and backward leaves its gradient in place.dz
    adds_to_dx = False  # backward adds place.plus to dx

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: DTypeLike | DTypePolicy | None = None,
        trainable: bool = True,
        input_shape: Sequence[int] | None = None,
        activity_regularizer: regularizers.Given = None,
    ) -> None:
        self.has_own_name, self.serial = name is not None, next(MADE)
        self.name = name or snake_case(type(self).__name__)
        self.dtype_policy = policy_of(dtype)
        self.dtype = self.variable_dtype = self.dtype_policy.variable_dtype
        self.compute_dtype = self.dtype_policy.compute_dtype if self.in_bfloat16 else self.dtype
        self.trainable = trainable
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_shape = None if input_shape is None else example_shape(input_shape)
        self.weights: list[Parameter] = []
        self.built = False
        self.input_gradient = True
        self.saved: Any = None
        self.place = EAGER
        self.nodes: list[Node] = []

    def __call__(self, x: Any, training: bool = False) -> Any:
        """forward, after build at the first call; of what Input and layers gave, a node of a graph.

        Raises ValueError with the layer's name if x doesn't fit it.
        """
        if given := tensors(x):
            return self._connect(given, isinstance(x, (list, tuple)))
        many = isinstance(x, (list, tuple))
        x = [self._cast(each) for each in x] if many else self._cast(x)
        shapes: Any = [each.shape for each in x] if many else x.shape
        try:
            if not self.built:
                self.build(shapes)
                self.built = True
            return self.forward(x, training)
        except ValueError as error:
            read = " and ".join(shape_text(shape[1:]) for shape in (shapes if many else [shapes]))
            raise ValueError(f"{self.name}: {error}; its input is {read}") from error

    def _connect(self, inputs: tuple[Symbolic, ...], many: bool) -> Symbolic:
        """A node whose output's shape comes from an empty batch that goes through the layer."""
        inputs = tuple(self._cast_symbolic(each) for each in inputs)
        empty = [np.empty((0, *each.example), each.dtype or self.compute_dtype) for each in inputs]
        y = self(empty if many else empty[0])
        self.saved = None
        self.nodes.append(Node(self, inputs, many, y.shape[1:], self.compute_dtype))
        return self.nodes[-1].output

    def _cast(self, x: Array) -> Array:
        """As Keras does: between float32 and bfloat16, and no other types."""
        mixed = x.dtype != self.compute_dtype and is_mixed(x.dtype, self.compute_dtype)
        return ops.cast(x, self.compute_dtype) if mixed else x

    def _cast_symbolic(self, x: Symbolic) -> Symbolic:
        given = x.dtype or self.dtype
        if given == self.compute_dtype:
            return x
        if not is_mixed(given, self.compute_dtype):
            raise ValueError(f"{self.name}: dtype must be that of {x.name}, {x.dtype}, got {self.compute_dtype}")
        between: Symbolic = Cast(given, self.compute_dtype, name=f"{self.name}_cast")(x)
        return between

    @property
    def output(self) -> Symbolic:
        """What the layer gave where it was called on symbolic tensors first."""
        if not self.nodes:
            raise ValueError(f"{self.name} is in no graph yet: call it on what Input or a layer gave")
        return self.nodes[0].output

    @property
    def input(self) -> Symbolic | list[Symbolic]:
        """What it was called on there."""
        given = self.output.node.inputs
        return list(given) if self.output.node.many else given[0]

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape, or of these for a layer of several."""

    def forward(self, x: Any, training: bool = False) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs | None:
        """The memory of a call for inputs of these shapes; None: the layer brings its own, and may keep x and y."""
        return None

    def ends_in(self, activation: str) -> bool:
        """Whether forward can apply place.activation of that kind after everything else."""
        return False

    def logits(self) -> Array | None:
        """What the softmax at the layer's end read in the last forward; None if it doesn't end in one."""
        return None

    def backward_logits(self, dlogits: Array) -> Array | None:
        """backward from the logits on, for a loss that takes them."""
        raise NotImplementedError(f"{type(self).__name__} has no logits")

    def add_weight(
        self,
        shape: Sequence[int],
        initializer: str | initializers.Initializer = "glorot_uniform",
        *,
        trainable: bool = True,
        regularizer: regularizers.Given = None,
        constraint: constraints.Given = None,
        name: str = "weight",
    ) -> Parameter:
        """A new parameter, last in `weights`; constraint is applied after each step of fit."""
        value = initializers.first(initializer, shape, self.dtype)
        chosen = regularizers.get(regularizer), constraints.get(constraint)
        self.weights.append(Parameter(value, name, trainable, *chosen))
        return self.weights[-1]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if w.trainable and self.trainable]

    def get_config(self) -> dict[str, Any]:
        """The arguments, with what the layer is now for those of every layer; input_shape is left to the model."""
        own = super().get_config()
        now = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy.name}
        return {**{name: value for name, value in own.items() if name != "input_shape"}, **now}

    def count_params(self) -> int:
        return sum(math.prod(w.shape) for w in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies, in Keras' order."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Take arrays in the order and shapes of get_weights; on ValueError nothing has changed."""
        assign(self.name, self.weights, weights)


class Cast(Layer):
    """y = x in another type, between layers of float32 and of bfloat16; no layer of a model's own."""

    def __init__(self, given: np.dtype[Any], wanted: np.dtype[Any], *, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.given, self.compute_dtype = given, wanted

    def needs(self, place: Place, shapes: list[Shape], y_shape: Shape, training: bool) -> Needs:
        return Needs()

    def forward(self, x: Array, training: bool = False) -> Array:
        return ops.cast(x, self.compute_dtype, out=self.place.memory.get("y"))

    def backward(self, dy: Array) -> Array | None:
        return ops.cast(dy, self.given, out=self.place.memory.get("dx")) if self.input_gradient else None

    def _cast_symbolic(self, x: Symbolic) -> Symbolic:
        return x


def float32s(arrays: Sequence[Array | None]) -> list[Any]:
    """Themselves, or in float32 what is bfloat16."""
    return [ops.cast(a, np.float32) if a is not None and is_bfloat16(a.dtype) else a for a in arrays]


def is_mixed(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether these are float32 and bfloat16."""
    return {one.name, other.name} == {"float32", "bfloat16"}


def assign(owner: str, parameters: list[Parameter], arrays: Sequence[ArrayLike]) -> None:
    """All arrays into all parameters, or none and ValueError if their number or a shape differs."""
    if len(parameters) != len(arrays):
        raise ValueError(f"{owner} must get {len(parameters)} arrays, got {len(arrays)}")
    values = [np.asarray(a) for a in arrays]
    for number, (parameter, value) in enumerate(zip(parameters, values, strict=True)):
        if parameter.shape != value.shape:
            raise ValueError(
                f"{owner}: array {number} is {parameter.name} and must have shape {parameter.shape}, got {value.shape}"
            )
    for parameter, value in zip(parameters, values, strict=True):
        parameter.assign(value)


class InputLayer(Layer):
    """Where arrays enter a graph; Input makes it."""

    def __init__(self, shape: Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.example = example_shape(shape)
        self.built = True

    def forward(self, x: Array, training: bool = False) -> Array:
        return x


def Input(shape: Sequence[int], *, dtype: DTypeLike | None = None, name: str | None = None) -> Symbolic:
    """Arrays (n, *shape) to come: what layers are called on to make a Model, or first in a Sequential.

    dtype None is that of the layers which read it. Raises ValueError unless shape holds whole numbers >= 1.
    """
    layer = InputLayer(shape, name=name)
    layer.nodes.append(Node(layer, (), False, layer.example, None if dtype is None else np.dtype(dtype)))
    return layer.output


def need_rank(input_shape: Shape, rank: int) -> None:
    if len(input_shape) != rank + 2:
        raise ValueError(f"x must have {rank + 2} dimensions: the batch axis, {rank} of space and the channels")


def need_axes(name: str, axes: Sequence[int], rank: int) -> None:
    if not all(1 <= axis < rank for axis in axes) or len(set(axes)) != len(axes):
        raise ValueError(f"{name} must be different axes of 1 to {rank - 1}, got {tuple(axes)}")


def snake_case(name: str) -> str:
    """Keras' name of a layer from its class: MaxPooling2D -> max_pooling2d, ReLU -> re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def shape_text(shape: Shape) -> str:
    """The shape of one example with its batch axis: (28, 28, 1) -> "(n, 28, 28, 1)"."""
    return f"({', '.join(['n', *map(str, shape)])}{'' if shape else ','})"
