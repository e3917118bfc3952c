"""Trained models in int8: ranges are read off sample data, weights get a scale for each output channel.

    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"]); model.fit(...)
    small = tapwise.quantize(model, x_train[:500])
    small.evaluate(x_test, y_test); small.predict(images); print(small)

Convolutions and Dense layers run in conv_int8, max pooling and Flatten between them on bytes. A batch normalization
behind them is folded into their weights, a ReLU into their range; whatever else there is runs in float32.
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import ops
from .arrays import numbers
from .layers import Activation, BatchNormalization, Dense, Dropout, Flatten, ReLU
from .layers.affine import Affine
from .layers.conv import Conv, DepthwiseConv
from .layers.layer import Array, Layer, Parameter, Shape
from .layers.pool import MaxPooling
from .model import Sequential
from .trainer import Trainer

BATCH = 64  # examples at a time while ranges are read


class Range(NamedTuple):
    """What a byte stands for: (byte - zero_point) * scale."""

    scale: float
    zero_point: int

    def __str__(self) -> str:
        return f"{self.scale:.3g} * (byte - {self.zero_point})"

    @classmethod
    def of(cls, least: float, most: float) -> Range:
        """Bytes for [least, most] and 0."""
        least, most = min(least, 0.0), max(most, 0.0)
        scale = float(np.float32((most - least) / 255 or 1.0))
        return cls(scale, int(np.clip(np.rint(-least / scale), 0, 255)))

    def bytes(self, x: Array) -> Array:
        y: Array = np.rint(x * np.float32(1 / self.scale)) + np.float32(self.zero_point)
        return np.clip(y, 0, 255, out=y).astype(np.uint8)

    def values(self, x: Array) -> Array:
        y: Array = (x.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return y


class Step:
    """A layer in float32. source and target: what the bytes before and behind it stand for; None where it's float32."""

    source: Range | None = None
    target: Range | None = None

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def calibrate(self, x: Array) -> Array:
        """The layer in float32."""
        return self.layer.forward(x)

    def prepare(self, x_shape: Shape, before: Range | None) -> Range | None:
        """Make ready for what the step before gives; what this one gives."""
        return None

    def run(self, x: Array) -> Array:
        return self.layer.forward(x)


class Bytes(Step):
    """Flatten or max pooling: bytes stay bytes, whose order is that of the values. The rest of pooling is float32."""

    def prepare(self, x_shape: Shape, before: Range | None) -> Range | None:
        layer = self.layer
        moves = isinstance(layer, Flatten) or (
            isinstance(layer, MaxPooling) and layer.geometry["padding"] == "valid" and _channels_last(layer)
        )
        self.source = self.target = before if moves else None
        return self.target

    def run(self, x: Array) -> Array:
        if self.source is None or isinstance(self.layer, Flatten):
            return self.layer.forward(x)
        how, rank = self.layer.geometry, x.ndim - 2  # type: ignore[attr-defined]
        sizes = _per_axis(how["size"], rank)
        strides = _per_axis(how["strides"] or how["size"], rank)
        outputs = [(n - size) // stride + 1 for n, size, stride in zip(x.shape[1:-1], sizes, strides, strict=True)]
        taps = (
            x[(slice(None), *(slice(t, t + (o - 1) * s + 1, s) for t, o, s in zip(tap, outputs, strides, strict=True)))]
            for tap in product(*map(range, sizes))
        )
        y = np.ascontiguousarray(next(taps))
        for tap in taps:
            np.maximum(y, tap, out=y)
        return y


class Linear(Step):
    """A convolution or Dense on bytes; its kernel and bias with what is folded into them."""

    def __init__(self, layer: Affine, percentile: float) -> None:
        super().__init__(layer)
        self.percentile = percentile
        self.is_dense = isinstance(layer, Dense)
        self.kernel = layer.kernel.value
        self.bias = np.zeros(self.kernel.shape[-1], np.float32) if layer.bias is None else layer.bias.value
        self.activation = layer.activation
        self.geometry: dict[str, Any] = {} if self.is_dense else layer.geometry  # type: ignore[attr-defined]
        self.seen: list[tuple[float, float]] = []
        self.read: list[tuple[float, float]] = []

    def fold(self, norm: BatchNormalization) -> None:
        mean, variance = norm.moving_mean.value, norm.moving_variance.value
        scale = 1 / np.sqrt(variance + norm.epsilon)
        scale = scale if norm.gamma is None else scale * norm.gamma.value
        beta = 0 if norm.beta is None else norm.beta.value
        self.kernel = (self.kernel * scale).astype(np.float32)
        self.bias = ((self.bias - mean) * scale + beta).astype(np.float32)

    def weights(self, w: Array) -> Array:
        """As the operation takes them."""
        if self.is_dense:
            return w[None]
        return w if _channels_last(self.layer) else np.moveaxis(w, (-1, -2), (0, 1))

    def pixels(self, x: Array) -> Array:
        return x.reshape(len(x), int(np.prod(x.shape[1:-1])), x.shape[-1]) if self.is_dense else x

    def calibrate(self, x: Array) -> Array:
        fused = "relu" if self.activation == "relu" else None
        y = ops.conv(self.pixels(x), self.weights(self.kernel), self.bias, activation=fused, **self.geometry)
        self.read.append(self.limits(x))
        self.seen.append(self.limits(y))
        return self.finish(y.reshape(*x.shape[:-1], y.shape[-1]) if self.is_dense else y)

    def limits(self, x: Array) -> tuple[float, float]:
        least, most = np.percentile(x, (100 - self.percentile, self.percentile))
        return float(least), float(most)

    def over_batches(self, limits: list[tuple[float, float]]) -> Range:
        """All of them with percentile 100, else the median: a batch of outliers doesn't count."""
        least, most = np.array(limits).T
        if self.percentile == 100:
            return Range.of(least.min(), most.max())
        return Range.of(float(np.median(least)), float(np.median(most)))

    def finish(self, y: Array) -> Array:
        if self.activation in (None, "relu"):
            return y
        return ops.softmax(y) if self.activation == "softmax" else ops.activation(y, self.activation)

    def prepare(self, x_shape: Shape, before: Range | None) -> Range | None:
        """Scales: a channel's largest weight is 127. The bias counts in units of x's scale times the channel's."""
        self.source = before or self.over_batches(self.read)
        self.range = self.over_batches(self.seen)
        axes = tuple(range(self.kernel.ndim - 1))
        largest = np.abs(self.kernel).max(axis=axes)
        self.w_scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        w = np.rint(self.kernel / self.w_scale).astype(np.int8)
        bias = np.rint(self.bias / (np.float64(self.source.scale) * self.w_scale))
        self.b = np.clip(bias, -(2**31), 2**31 - 1).astype(np.int32)
        shape = (1, int(np.prod(x_shape[1:-1])), x_shape[-1]) if self.is_dense else (1, *x_shape[1:])
        self.packed = ops.pack(self.weights(w), x_shape=shape, **self.geometry)
        self.target = self.range if self.activation in (None, "relu") else None
        return self.target

    def run(self, x: Array) -> Array:
        assert self.source is not None
        y = ops.conv_int8(
            self.pixels(x), self.packed, self.b, x_scale=self.source.scale, x_zero_point=self.source.zero_point,
            w_scale=self.w_scale, y_scale=self.range.scale, y_zero_point=self.range.zero_point,
            activation="relu" if self.activation == "relu" else None, **self.geometry,
        )  # fmt: skip
        y = y.reshape(*x.shape[:-1], y.shape[-1]) if self.is_dense else y
        if self.target is not None:
            return y
        self.logits = self.range.values(y)
        return self.finish(self.logits)


class Quantized(Trainer):
    """What quantize makes of a model: predict, evaluate and their kin; it can't be trained."""

    def __init__(self, model: Sequential, steps: list[Step]) -> None:
        self.model, self.steps = model, steps
        if model.compiled:
            self.compile(model.optimizer, model.loss, loss_weights=model.loss_weights, metrics=model.metrics)

    def run(self, arrays: list[Array], training: bool = False) -> list[Array]:
        (x,) = arrays
        given: Range | None = None
        for step in self.steps:
            if step.source is not None and given is None:
                x = step.source.bytes(x)
            elif step.source is None and given is not None:
                x = given.values(x)
            x, given = step.run(x), step.target
        return [x if given is None else given.values(x)]

    def run_back(self, gradients: list[tuple[Array | None, bool]]) -> list[Parameter]:
        raise TypeError("a quantized model can't be trained: train the model and quantize it again")

    def run_logits(self) -> list[Array | None]:
        last = self.steps[-1]
        if isinstance(last, Linear):
            return [last.logits if last.activation == "softmax" else None]
        return [last.layer.logits()]

    def accept(self, arrays: Sequence[Array]) -> None:
        self.model.accept(arrays)

    @property
    def input_names(self) -> list[str]:
        return self.model.input_names

    @property
    def output_names(self) -> list[str]:
        return self.model.output_names

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.model.dtype

    @property
    def result_shapes(self) -> list[Shape]:
        return self.model.result_shapes

    @property
    def trainable_weights(self) -> list[Parameter]:
        return []

    def __str__(self) -> str:
        """Each layer, and whether it runs in int8."""
        lines = [f"{'layer':<28} {'runs in':<8} bytes before and behind it"]
        for step in self.steps:
            kind = "int8" if step.source else "float32"
            lines.append(f"{step.layer.name:<28} {kind:<8} {step.source or 'float32'} -> {step.target or 'float32'}")
        return "\n".join(lines)


def quantize(model: Sequential, samples: ArrayLike, *, percentile: float = 100.0) -> Quantized:
    """The model in int8, with the ranges that its layers' values have on samples (n, ...), a few hundred inputs.

    percentile: 100 takes the range of all values; 99.9 leaves out 0.1 % of a batch at either end, and takes the
    batches' median.
    The weights are copied, packed for the backend and instruction set in use. Raises ValueError on samples that don't
    fit, and TypeError on a model that isn't a float32 Sequential.
    """
    if not isinstance(model, Sequential) or model.dtype != np.float32:
        raise TypeError(f"model must be a Sequential of float32, got {model!r}")
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be > 50 and <= 100, got {percentile}")
    x = numbers(samples, "samples")
    if not len(x):
        raise ValueError("samples must hold at least one example, got 0")
    model.accept([x])
    steps = _steps(model, percentile)
    for start in range(0, len(x), BATCH):
        y = np.ascontiguousarray(x[start : start + BATCH], np.float32)
        for step in steps:
            y = step.calibrate(y)
    given, shapes = None, dict(zip(map(id, model.layers), model.shapes[:-1], strict=True))
    for step in steps:
        given = step.prepare(shapes[id(step.layer)], given)
    return Quantized(model, steps)


def _steps(model: Sequential, percentile: float) -> list[Step]:
    """One for each layer that isn't folded into the one before or left out."""
    steps: list[Step] = []
    for layer in model.layers:
        last = steps[-1] if steps else None
        linear = last if isinstance(last, Linear) and last.activation is None else None
        if isinstance(layer, Dropout):
            continue
        if isinstance(layer, (Conv, Dense)) and not isinstance(layer, DepthwiseConv):
            steps.append(Linear(layer, percentile))
        elif linear and isinstance(layer, BatchNormalization) and layer.axis in (-1, len(model.shapes[0]) - 1):
            linear.fold(layer)
        elif linear and (_is_relu(layer) or (isinstance(layer, Activation) and layer.activation == "softmax")):
            linear.activation = "relu" if _is_relu(layer) else "softmax"
        else:
            steps.append(Bytes(layer) if isinstance(layer, (Flatten, MaxPooling)) else Step(layer))
    return steps


def _is_relu(layer: Layer) -> bool:
    if isinstance(layer, ReLU):
        return layer.max_value is None and not layer.negative_slope and not layer.threshold
    return isinstance(layer, Activation) and layer.activation == "relu"


def _channels_last(layer: Any) -> bool:
    return bool(layer.geometry["data_format"] == "channels_last")


def _per_axis(value: Any, rank: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * rank
