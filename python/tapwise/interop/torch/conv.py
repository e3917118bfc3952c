"""aten::convolution and aten::convolution_backward, plain and transposed, on our kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ...geometry import ConvGeometry, conv_geometry, conv_transpose_geometry
from ...ops import conv, conv_grad_bias, conv_grad_input, conv_grad_weight, conv_grad_weight_bias, conv_transpose
from .layout import Layout, Sizes, Tensor, per_axis
from .plans import Plan, accuracy, need_float32, served

FORWARD, BACKWARD = "convolution", "convolution_backward"


def convolution(
    x: Tensor, w: Tensor, b: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, transposed: bool,
    output_padding: Sizes, groups: int, *_: bool,
) -> Any:  # fmt: skip
    """y, or None where PyTorch's kernel has to be called. The flags behind groups are for cuDNN."""
    bias = None if b is None else (b.dtype, b.shape, b.stride())
    key = (
        FORWARD, x.dtype, x.shape, x.stride(), w.dtype, w.shape, w.stride(), bias, *stride, None, *padding, None,
        *dilation, transposed, *output_padding, groups,
    )  # fmt: skip
    parameters = stride, padding, dilation, transposed, output_padding, groups
    return served(FORWARD, key, forward, (x, w, b), *parameters)


def convolution_backward(
    dy: Tensor, x: Tensor, w: Tensor, bias_sizes: Sizes | None, stride: Sizes, padding: Sizes, dilation: Sizes,
    transposed: bool, output_padding: Sizes, groups: int, output_mask: list[bool],
) -> Any:  # fmt: skip
    """(dx, dw, db), each None unless output_mask has it, or None where PyTorch's kernel has to be called."""
    key = (
        BACKWARD, dy.dtype, dy.shape, dy.stride(), x.dtype, x.shape, x.stride(), w.dtype, w.shape, w.stride(), *stride,
        None, *padding, None, *dilation, transposed, *output_padding, groups, *output_mask,
    )  # fmt: skip
    parameters = stride, padding, dilation, transposed, output_padding, groups
    return served(BACKWARD, key, backward, (dy, x, w), output_mask, *parameters)


class Problem:
    """The sizes of one call, checked: as tensors have them, as our operations take them, and the layout of all."""

    def __init__(
        self, x: Tensor, w: Tensor, b: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, transposed: bool,
        output_padding: Sizes, groups: int,
    ) -> None:  # fmt: skip
        parameters = stride, padding, dilation, transposed, output_padding, groups
        self.layout = Layout(x.ndim, prefers_channels_last(x, w, b, parameters))
        self.groups, self.transposed = groups, transposed
        each = (per_axis(sizes, x.ndim - 2) for sizes in (stride, padding, dilation, output_padding))
        self.strides, self.numbers, self.dilation, more = each
        self.output_padding = more if transposed else None
        if transposed and any(o >= max(s, d) for o, s, d in zip(more, self.strides, self.dilation, strict=True)):
            raise ValueError("output_padding that PyTorch refuses")
        self.x_shape, self.w_shape = tuple(x.shape), tuple(w.shape)
        self.g = self.geometry()
        ours = self.g.x_shape if transposed else self.g.y_shape
        self.y_shape = tuple(ours[self.layout.axes.index(axis)] for axis in range(x.ndim))
        if b is not None and b.shape != self.y_shape[1:2]:
            raise ValueError("a bias of another size")

    def geometry(self) -> ConvGeometry:
        """That of the plain convolution that this is, or is the input gradient of."""
        x, w = self.layout.shape(self.x_shape), self.layout.weight_shape(self.w_shape)
        last = self.dilation, self.groups, self.layout.data_format
        if self.transposed:
            return conv_transpose_geometry(x, w, self.strides, self.numbers, self.output_padding, *last)
        return conv_geometry(x, w, self.strides, self.numbers, *last)

    def bound(self, operation: Callable[..., Any], *, padding: Any, **more: Any) -> Callable[..., Any]:
        return partial(
            operation, strides=self.strides, padding=padding, dilation=self.dilation, groups=self.groups,
            data_format=self.layout.data_format, accuracy=accuracy(), **more,
        )  # fmt: skip


def prefers_channels_last(x: Tensor, w: Tensor, b: Tensor | None, parameters: Any) -> bool:
    """Where PyTorch's result would lie; it is asked, and refuses sizes that don't fit. One axis counts as two."""
    backend = torch._C._select_conv_backend(x, w, b, *parameters)
    if x.ndim == 3:
        x, w = x.contiguous().unsqueeze(2), w.unsqueeze(2)
    return torch._C._conv_determine_backend_memory_format(x, w, backend) is not torch.contiguous_format and x.ndim > 3


def forward(x: Tensor, w: Tensor, b: Tensor | None, *parameters: Any) -> Plan:
    need_float32(x, w, b)
    p = Problem(x, w, b, *parameters)
    if p.transposed:
        run = p.bound(conv_transpose, padding=p.numbers, output_padding=p.output_padding)
    else:
        run = p.bound(conv, padding=p.numbers)
    layout, y_shape, y_strides, copies = p.layout, p.y_shape, p.layout.strides(p.y_shape), not p.layout.has(x)
    array, weights, copies_b = layout.array, layout.weights, b is not None and not b.is_contiguous()

    def call(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        if copies:
            x = layout.copy(x, FORWARD)
        if copies_b and b is not None:
            b = b.contiguous()
        y = x.new_empty_strided(y_shape, y_strides)
        run(array(x), weights(w), None if b is None else b.numpy(), out=array(y))
        return y

    return call


def backward(dy: Tensor, x: Tensor, w: Tensor, mask: list[bool], *parameters: Any) -> Plan:
    need_float32(dy, x, w)
    p = Problem(x, w, None, *parameters)
    if tuple(dy.shape) != p.y_shape:
        raise ValueError("grad_output of another shape")
    layout, wants_x, wants_w, wants_b = p.layout, *mask
    copies_x, copies_dy = not layout.has(x), not layout.has(dy)
    grad_input = input_gradient(p) if wants_x else None
    with_bias = wants_b and wants_w and not wants_x and not p.transposed
    grad_weight = weight_gradient(p, with_bias) if wants_w else None

    def call(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        dx = dw = db = None
        if copies_dy:
            dy = layout.copy(dy, BACKWARD)
        outer = layout.array(dy)
        if grad_input is not None:
            dx = grad_input(outer, w, dy)
        if grad_weight is not None:
            if copies_x:
                x = layout.copy(x, BACKWARD)
            dw, db = grad_weight(outer, layout.array(x), x)
        if wants_b and not with_bias:
            db = torch.from_numpy(conv_grad_bias(outer, data_format=layout.data_format))
        return dx, dw, db

    return call


def input_gradient(p: Problem) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """dx from dy as an array, w, and a tensor to allocate like: a plain convolution of dy where p is transposed."""
    layout, strides, shape = p.layout, p.layout.strides(p.x_shape), p.x_shape
    if p.transposed:
        run = p.bound(conv, padding=p.g.padding)
    else:
        run = p.bound(conv_grad_input, padding=p.numbers, x_shape=layout.shape(shape))

    def dx(outer: Any, w: Tensor, like: Tensor) -> Tensor:
        made = like.new_empty_strided(shape, strides)
        run(outer, layout.weights(w), out=layout.array(made))
        return made

    return dx


def weight_gradient(p: Problem, with_bias: bool) -> Callable[[Any, Any, Tensor], tuple[Tensor, Tensor | None]]:
    """dw, and db with with_bias, from dy and x as arrays; p transposed exchanges their roles."""
    layout, shape, strides = p.layout, p.w_shape, p.layout.strides(p.w_shape)
    operation = conv_grad_weight_bias if with_bias else conv_grad_weight
    run = p.bound(operation, padding=p.g.padding, w_shape=layout.weight_shape(shape))

    def dw(outer: Any, inner: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
        made = like.new_empty_strided(shape, strides)
        x, dy = (outer, inner) if p.transposed else (inner, outer)
        found = run(x, dy, out=layout.weights(made))
        return made, torch.from_numpy(found[1]) if with_bias else None

    return dw
