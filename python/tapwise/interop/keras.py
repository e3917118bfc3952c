"""Keras on its NumPy backend, which convolves through JAX, on Tapwise's kernels: enable() and disable().

For inference: that backend has no gradients. Keras on PyTorch is interop.torch's.

    KERAS_BACKEND=numpy python program.py, which begins with tapwise.interop.keras.enable()
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import prod
from threading import RLock
from types import TracebackType
from typing import Any

import numpy as np

from .. import ops
from ..ops.check import FLOAT32, Array
from .counts import Report
from .counts import keras_counts as counts

__all__ = ["Report", "disable", "enable", "enabled", "report"]

NAMES = ("conv", "depthwise_conv", "separable_conv", "conv_transpose", "max_pool", "average_pool")

_lock = RLock()
_nn: Any = None  # the module of Keras' whose functions these are
_keras: dict[str, Callable[..., Any]] = {}
_uses: list[enable] = []


class enable:
    """Run Keras' conv, depthwise_conv, separable_conv, conv_transpose, max_pool and average_pool on our kernels.

    For float32 arrays in 1 to 3 dimensions and both data formats; what isn't covered is Keras' own and counted:
    report(). As a context manager, it restores what was before; it may be nested.
    Raises ImportError without Keras 3, ValueError where Keras runs on another backend than NumPy's.
    """

    def __init__(self) -> None:
        global _nn
        module = _module()
        with _lock:
            if not _uses:
                counts.clear()
                _nn = module
                _keras.update({name: getattr(module, name) for name in NAMES})
                for name in NAMES:
                    setattr(module, name, OURS[name])
            _uses.append(self)

    def __enter__(self) -> enable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            if self in _uses:
                _uses.remove(self)
                if not _uses:
                    _restore()


def disable() -> None:
    """Give every operation back to Keras, however often enable() was called."""
    with _lock:
        if _uses:
            _uses.clear()
            _restore()


def enabled() -> bool:
    """Whether Keras' operations run on our kernels now."""
    return bool(_uses)


def report() -> Report:
    """What ran on our kernels and what on JAX since enable() (the outermost); printable."""
    return counts.report()


def _module() -> Any:
    try:
        import keras
    except ImportError as error:
        raise ImportError(f"interop.keras needs Keras 3 and JAX: pip install keras jax ({error})") from error
    used = keras.backend.backend()
    if used != "numpy":
        other = ": interop.torch.enable() is for that one" if used == "torch" else ""
        raise ValueError(f"Keras' backend must be numpy (KERAS_BACKEND=numpy), got {used}{other}")
    return import_module("keras.src.backend.numpy.nn")


def _restore() -> None:
    for name, function in _keras.items():
        setattr(_nn, name, function)


def _served(name: str, serve: Callable[..., Array], *arguments: Any) -> Any:
    """The result of serve, or Keras' own, which may also refuse the arguments in its own words."""
    try:
        y = serve(*arguments)
    except (ValueError, TypeError) as error:
        counts.fall_back(name, str(error).split("\n", 1)[0])
        return _keras[name](*arguments)
    counts.ran[name] += 1
    return y


def _source(x: Any, name: str) -> Array:
    array: Array = _weights(x)
    if not array.flags.c_contiguous:
        counts.copied[name] += 1
        array = np.ascontiguousarray(array)
    return array


def _weights(w: Any) -> Array:
    array: Array = _nn.convert_to_tensor(w)
    if array.dtype != FLOAT32:
        raise TypeError(str(array.dtype))
    return array


def _format(data_format: str | None) -> str:
    return str(import_module("keras.src.backend").standardize_data_format(data_format))


def _laid_out(w: Array, data_format: str) -> Array:
    """Keras' kernels have the input and output channels at the end in both data formats: a view as ours has them."""
    return w if data_format == "channels_last" else w.transpose(-1, -2, *range(w.ndim - 2))


def _conv(x: Any, w: Any, strides: Any, padding: Any, data_format: str | None, dilation: Any) -> Array:
    layout = _format(data_format)
    return ops.conv(
        _source(x, "conv"), _laid_out(_weights(w), layout), strides=strides, padding=padding, dilation=dilation,
        data_format=layout,
    )  # fmt: skip


def _depthwise(w: Any, layout: str) -> Array:
    """Keras' (*k, c, m) as the weights (*k, 1, c * m) of a convolution of c groups."""
    array = _weights(w)
    return _laid_out(array.reshape(*array.shape[:-2], 1, prod(array.shape[-2:])), layout)


def _channels(x: Array, w: Any, layout: str) -> int:
    channels = int(x.shape[-1 if layout == "channels_last" else 1])
    if w.shape[-2] != channels:
        raise ValueError(f"kernel must have {channels} input channels, got {w.shape[-2]}")
    return channels


def _depthwise_conv(x: Any, w: Any, strides: Any, padding: Any, data_format: str | None, dilation: Any) -> Array:
    layout = _format(data_format)
    x = _source(x, "depthwise_conv")
    return ops.conv(
        x, _depthwise(w, layout), strides=strides, padding=padding, dilation=dilation, groups=_channels(x, w, layout),
        data_format=layout,
    )  # fmt: skip


def _separable_conv(
    x: Any, w: Any, pointwise: Any, strides: Any, padding: Any, data_format: str | None, dilation: Any
) -> Array:
    layout = _format(data_format)
    x = _source(x, "separable_conv")
    _channels(x, w, layout)
    return ops.separable_conv(
        x, _depthwise(w, layout), _laid_out(_weights(pointwise), layout), strides=strides, padding=padding,
        dilation=dilation, data_format=layout,
    )  # fmt: skip


def _conv_transpose(
    x: Any, w: Any, strides: Any, padding: Any, output_padding: Any, data_format: str | None, dilation: Any
) -> Array:
    layout = _format(data_format)
    return ops.conv_transpose(
        _source(x, "conv_transpose"), _laid_out(_weights(w), layout), strides=strides, padding=padding,
        output_padding=output_padding, dilation=dilation, data_format=layout,
    )  # fmt: skip


def _max_pool(x: Any, size: Any, strides: Any, padding: Any, data_format: str | None) -> Array:
    y: Array = ops.max_pool(
        _source(x, "max_pool"), size, strides=strides, padding=padding, data_format=_format(data_format)
    )
    return y


def _average_pool(x: Any, size: Any, strides: Any, padding: Any, data_format: str | None) -> Array:
    return ops.average_pool(
        _source(x, "average_pool"), size, strides=strides, padding=padding, data_format=_format(data_format)
    )


# With the signatures that Keras' own functions have.


def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    return _served("conv", _conv, inputs, kernel, strides, padding, data_format, dilation_rate)


def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    return _served("depthwise_conv", _depthwise_conv, inputs, kernel, strides, padding, data_format, dilation_rate)


def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: Any = "valid",
    data_format: str | None = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    kernels = depthwise_kernel, pointwise_kernel
    return _served("separable_conv", _separable_conv, inputs, *kernels, strides, padding, data_format, dilation_rate)


def conv_transpose(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", output_padding: Any = None,
    data_format: str | None = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    last = output_padding, data_format, dilation_rate
    return _served("conv_transpose", _conv_transpose, inputs, kernel, strides, padding, *last)


def max_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid", data_format: str | None = None
) -> Any:
    return _served("max_pool", _max_pool, inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid", data_format: str | None = None
) -> Any:
    return _served("average_pool", _average_pool, inputs, pool_size, strides, padding, data_format)


OURS = {
    "conv": conv, "depthwise_conv": depthwise_conv, "separable_conv": separable_conv, "conv_transpose": conv_transpose,
    "max_pool": max_pool, "average_pool": average_pool,
}  # fmt: skip
