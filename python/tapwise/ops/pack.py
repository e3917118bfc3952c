"""Weights laid out once, for calls that repeat: what conv would rearrange each time is kept by whoever holds it."""

from typing import Any

import numpy as np

from ..backend import Backend
from ..geometry import ConvGeometry, Padding, Shape, Sizes, conv_geometry, conv_transpose_geometry
from .check import (
    ACCURACIES,
    ALGORITHMS,
    Array,
    DType,
    as_array,
    is_bfloat16,
    refuse_choice,
    refuse_dtype,
    serving,
    weight,
)
from .tuned import tuned

OPERATIONS = {"forward": "conv", "grad_input": "conv_grad_input", "transpose": "conv_transpose"}


class PackedWeights:
    """w as one algorithm of one operation reads it, on one backend and instruction set; made by pack.

    It stands for w in calls of that operation with the same geometry and any batch size, from any thread. It holds its
    own copy: later changes of w don't show.
    """

    __slots__ = ("_accepted", "_g", "algorithm", "backend", "content", "direction", "dtype", "isa", "shape")

    def __init__(
        self, w: Array, g: ConvGeometry, direction: str, algorithm: str, accuracy: str, backend: Backend
    ) -> None:
        kernel = "forward" if direction == "forward" else "grad_input"
        self._g = self._accepted = g
        algorithm = tuned(g, kernel, algorithm, accuracy, backend)
        words = is_low_precision(w.dtype)
        self.algorithm = "direct" if words else backend.plan(g, kernel, algorithm, accuracy)["packed_algorithm"]
        self.backend, self.isa = backend.name, backend.isa_name()
        self.content = backend.pack_words(w, g) if words else backend.pack(w, g, kernel, self.algorithm)
        self.direction = direction
        self.dtype: DType = w.dtype
        self.shape: Shape = w.shape

    @property
    def nbytes(self) -> int:
        return int(self.content.nbytes)

    @property
    def x_shape(self) -> Shape:
        """As given to pack; n may be another in calls."""
        return self._g.y_shape if self.direction == "transpose" else self._g.x_shape

    def __repr__(self) -> str:
        return (
            f"<PackedWeights {'x'.join(map(str, self.shape))} for {OPERATIONS[self.direction]} "
            f"of {'x'.join(map(str, self.x_shape))} by {self.algorithm} on {self.backend} ({self.isa}), "
            f"{self.nbytes:,} bytes>"
        )

    def used_for(self, g: ConvGeometry, direction: str, algorithm: str, accuracy: str, backend: Backend) -> Any:
        """What the backend packed, if it serves this call."""
        if direction != self.direction:
            raise ValueError(
                f"w must be packed for {OPERATIONS[direction]}, got weights packed for {OPERATIONS[self.direction]}"
            )
        if backend.name != self.backend or backend.isa_name() != self.isa:
            raise ValueError(
                f"w must be packed for {backend.name} ({backend.isa_name()}), which is in use, "
                f"got weights packed for {self.backend} ({self.isa})"
            )
        if algorithm not in ("auto", self.algorithm):
            raise ValueError(f"algorithm must be auto or that of the packed w, {self.algorithm}, got {algorithm!r}")
        if accuracy == "strict" and self.algorithm.startswith("winograd"):
            raise ValueError(f"w must be packed with accuracy strict too, got weights packed for {self.algorithm}")
        if g is not self._accepted:
            refuse_another_geometry(g, self._g, direction == "transpose")
            self._accepted = g
        return self.content


def array_or_packed(w: Any, dtype: DType) -> Any:
    """w, of the call's float type: any view, or what pack made."""
    if type(w) is not PackedWeights:
        return weight(w, dtype)
    if w.dtype is not dtype:
        refuse_dtype("w", w.dtype, dtype)
    return w


def is_low_precision(dtype: DType) -> bool:
    return is_bfloat16(dtype) or dtype == np.int8


def used(w: Any, g: ConvGeometry, backend: Backend) -> Any:
    """w for a forward pass of bfloat16 or int8: the array, or what the backend packed."""
    return w.used_for(g, "forward", "auto", "default", backend) if type(w) is PackedWeights else w


def refuse_another_geometry(g: ConvGeometry, packed: ConvGeometry, transposed: bool) -> None:
    """All but the batch must be as it was when w was packed."""
    given = "y_shape" if transposed else "x_shape"  # g is the convolution that a transposed one is the gradient of
    for field in (given, "strides", "padding", "dilation", "groups", "channels_last", "x_shape", "y_shape"):
        got, want = getattr(g, field), getattr(packed, field)
        if field.endswith("_shape"):
            got, want = got[1:], want[1:]
        if got != want:
            name = "an image of shape" if field == given else field
            raise ValueError(f"w must be packed for {name} {got}, got weights packed for {want}")


def low_precision(w: Array, direction: str, algorithm: str) -> Array:
    if direction != "forward" or algorithm not in ("auto", "direct"):
        raise ValueError(
            f"w of {w.dtype} must be packed for direction forward and algorithm auto or direct, "
            f"got {direction!r} and {algorithm!r}"
        )
    return weight(w, w.dtype)


def pack(
    w: Any,
    *,
    x_shape: Shape,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int | None = None,
    data_format: str = "channels_last",
    algorithm: str = "auto",
    accuracy: str = "default",
    direction: str = "forward",
    output_padding: Sizes | None = None,
) -> PackedWeights:
    """w packed once for calls of conv with this geometry; n of x_shape may be another in each of them.

    direction: "forward" for conv; "grad_input" for conv_grad_input, whose x_shape this is; "transpose" for
    conv_transpose, whose x this is the shape of, and whose output_padding is given here too.
    Raises TypeError on another dtype, ValueError on sizes that don't fit or an algorithm that can't do them.
    """
    if algorithm not in ALGORITHMS or accuracy not in ACCURACIES:
        refuse_choice(algorithm, accuracy)
    if direction not in OPERATIONS:
        raise ValueError(f"direction must be one of {', '.join(OPERATIONS)}, got {direction!r}")
    if output_padding is not None and direction != "transpose":
        raise ValueError(f"output_padding must be given with direction transpose only, got direction {direction!r}")
    backend = serving(w, "w")
    w = as_array(w, "w")
    w = low_precision(w, direction, algorithm) if is_low_precision(w.dtype) else weight(w, *backend.dtypes)
    if direction == "transpose":
        g = conv_transpose_geometry(x_shape, w.shape, strides, padding, output_padding, dilation, groups, data_format)
    else:
        g = conv_geometry(x_shape, w.shape, strides, padding, dilation, groups, data_format)
    return PackedWeights(w, g, direction, algorithm, accuracy, backend)
