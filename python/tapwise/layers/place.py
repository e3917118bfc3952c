"""What a model's plan and a layer tell each other about one call: what it needs, and where that lies."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


class Needs(NamedTuple):
    """The memory of one call of a layer, by the names under which its place has it.

    "y" is the output's, "dx" the gradient's of the input, "dx0", "dx1" those of several, "dkernel" that of a weight.
    """

    reads: str = ""  # what backward reads beside dy: "x", "y" or both
    kept: tuple[tuple[str, Shape, Any], ...] = ()  # name, shape and dtype of what forward leaves for backward
    dz: bool = False  # backward writes "dz", of dy's shape, before anything else; it may be dy
    view: bool = False  # y is x's memory in another shape or x itself, and dx is dy's
    in_place: bool = False  # y may be written over x, and dx over dy
    over_residual: bool = False  # y may be written over the residual
    own: tuple[bool, ...] = ()  # of several inputs, whose gradients are arrays of their own; the others' is dz or dy


class Place:
    """One call of a layer in a plan."""

    def __init__(self) -> None:
        self.memory: dict[str, Array] = {}
        self.activation: str | None = None  # what forward ends in, or what backward starts with for a pooling layer
        self.adds = False  # whether forward adds a residual before that
        self.residual: Array | None = None  # which one, in this step
        self.masked = False  # dy comes with the activation's gradient in it
        self.before: Place | None = None  # for a pooling layer: the call whose ReLU it masks
        self.db: Array | None = None  # the gradient of the bias, where the pooling layer behind has summed it
        self.padding: Any = None  # of a convolution or pooling, where the layer before it only pads
        self.plus: Array | None = None  # what backward adds to dx
        self.dz: Array | None = None  # what backward found to be the gradient of the residual
        self.weights: tuple[Any, Array | None] | None = None  # kernel and bias with a normalization folded in


EAGER = Place()  # outside of a plan: no memory, so operations make their own
