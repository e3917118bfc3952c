"""Convolutions, products, poolings and normalizations: the layers that Keras has, on channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import layers
from ....geometry import dilated
from ..builder import Builder, Tensor
from ..graph import Node
from ..operators.conv import transpose_pairs
from ..operators.geometry import Window, per_axis, spatial, window
from ..operators.pool import output_sizes, reaching
from ..own_layers import LocalResponse, MatrixProduct
from ..values import Array, Shape, positive

CONV: dict[int, Any] = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
DEPTHWISE: dict[int, Any] = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}
TRANSPOSE: dict[int, Any] = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
PAD: dict[int, Any] = {1: layers.ZeroPadding1D, 2: layers.ZeroPadding2D, 3: layers.ZeroPadding3D}
POOL: dict[tuple[str, int], Any] = {
    ("MaxPool", 1): layers.MaxPooling1D, ("MaxPool", 2): layers.MaxPooling2D, ("MaxPool", 3): layers.MaxPooling3D,
    ("AveragePool", 1): layers.AveragePooling1D, ("AveragePool", 2): layers.AveragePooling2D,
    ("AveragePool", 3): layers.AveragePooling3D,
    ("GlobalMaxPool", 1): layers.GlobalMaxPooling1D, ("GlobalMaxPool", 2): layers.GlobalMaxPooling2D,
    ("GlobalMaxPool", 3): layers.GlobalMaxPooling3D,
    ("GlobalAveragePool", 1): layers.GlobalAveragePooling1D, ("GlobalAveragePool", 2): layers.GlobalAveragePooling2D,
    ("GlobalAveragePool", 3): layers.GlobalAveragePooling3D,
}  # fmt: skip


def rank_of(b: Builder) -> int:
    rank = len(b.shape()) - 2
    b.need(1 <= rank <= 3, f"of {rank} spatial axes")
    return rank


def conv(b: Builder, node: Node) -> Tensor:
    rank, w, bias = rank_of(b), b.constant(1), b.optional(2)
    g = window(node, spatial(b.shape()), spatial(w.shape))
    b.need(all(side >= 0 for pair in g.pairs for side in pair), f"with pads {g.pairs}")
    ci, groups = b.shape()[1], int(node.get("group", 1))
    kernel = np.moveaxis(w, (0, 1), (-1, -2))
    how = {**b.how(), "use_bias": bias is not None}
    if groups == ci > 1 and rank in DEPTHWISE:
        kernel = kernel.reshape(*g.kernel, ci, -1)
        layer = DEPTHWISE[rank](
            g.kernel, g.strides, g.pairs, kernel.shape[-1], "channels_last", g.dilation,
            depthwise_initializer="zeros", **how,
        )  # fmt: skip
    else:
        layer = CONV[rank](
            w.shape[0], g.kernel, g.strides, g.pairs, "channels_last", g.dilation, groups, kernel_initializer="zeros",
            **how,
        )  # fmt: skip
    return Tensor(b.call(layer, b.last(), [kernel, bias]), True)


def conv_transpose(b: Builder, node: Node) -> Tensor:
    rank, w, bias = rank_of(b), b.constant(1), b.optional(2)
    b.need(node.get("group", 1) == 1, f"of {node.get('group', 1)} groups")
    kernel, sizes = spatial(w.shape), spatial(b.shape())
    strides, dilation = per_axis(node, "strides", rank, 1), per_axis(node, "dilations", rank, 1)
    longer = tuple(node.get("output_padding", ())) or (0,) * rank
    extents = dilated(kernel, dilation)
    full = [(n - 1) * s + k + more for n, s, k, more in zip(sizes, strides, extents, longer, strict=True)]
    pairs = transpose_pairs(node, full, tuple(n * s for n, s in zip(sizes, strides, strict=True)))
    padding = tuple((before, after - more) for (before, after), more in zip(pairs, longer, strict=True))
    layer = TRANSPOSE[rank](
        w.shape[1], kernel, strides, padding, None, "channels_last", dilation, use_bias=bias is not None,
        kernel_initializer="zeros", **b.how(),
    )  # fmt: skip
    return Tensor(b.call(layer, b.last(), [np.moveaxis(w, (0, 1), (-1, -2)), bias]), True)


def pool_window(b: Builder, node: Node) -> tuple[Window, Shape]:
    g = window(node, spatial(b.shape()), tuple(map(int, node.get("kernel_shape"))))
    b.need(set(g.dilation) <= {1}, f"with dilations {g.dilation}")
    b.need(all(side >= 0 for pair in g.pairs for side in pair), f"with pads {g.pairs}")
    return g, output_sizes(spatial(b.shape()), g, bool(node.get("ceil_mode", 0)))


def pool(b: Builder, node: Node) -> Tensor:
    """ceil_mode is padding that reaches as far as the last window."""
    rank = rank_of(b)
    b.need(sum(map(bool, node.outputs)) == 1, "with indices")
    g, outputs = pool_window(b, node)
    pairs, x = reaching(spatial(b.shape()), g, outputs), b.last()
    if node.operator == "AveragePool" and node.get("count_include_pad", 0) and any(map(any, g.pairs)):
        x = b.call(PAD[rank](g.pairs if rank > 1 else g.pairs[0], **b.part("pad")), x)
        pairs = tuple((0, after - given) for (_, after), (_, given) in zip(pairs, g.pairs, strict=True))
    pairs = tuple((before, max(after, 0)) for before, after in pairs)
    layer = POOL[node.operator, rank](g.kernel, g.strides, pairs, **b.how())
    return Tensor(b.call(layer, x), True)


def global_pool(b: Builder, node: Node) -> Tensor:
    return Tensor(b.call(POOL[node.operator, rank_of(b)](keepdims=True, **b.how()), b.last()), True)


def gemm(b: Builder, node: Node) -> Tensor:
    """alpha * x w + beta * c, as Dense."""
    b.need(not node.get("transA", 0), "with transA")
    w = b.constant(1).T if node.get("transB", 0) else b.constant(1)
    c = b.optional(2)
    if c is not None:
        b.need(c.size in (1, w.shape[1]) and c.shape[:-1] in ((), (1,)), f"with c of shape {c.shape}")
        c = np.broadcast_to(c.reshape(-1) * node.get("beta", 1.0), w.shape[1])
    return Tensor(dense(b, w * node.get("alpha", 1.0), c))


def matmul(b: Builder, node: Node) -> Tensor:
    if not b.is_constant(1):
        b.need(len(b.shape(0)) == len(b.shape(1)) > 2, "of rows without a batch of their own")
        return Tensor(b.call(MatrixProduct(**b.how()), [b.first(0), b.first(1)]))
    b.need(b.constant(1).ndim == 2 <= len(b.shape()), "with a constant that isn't a matrix")
    return Tensor(dense(b, b.constant(1), None))


def dense(b: Builder, w: Array, bias: Array | None) -> Any:
    layer = layers.Dense(w.shape[1], use_bias=bias is not None, kernel_initializer="zeros", **b.how())
    return b.call(layer, b.first(), [w, bias])


def batch_normalization(b: Builder, node: Node) -> Tensor:
    b.need(not node.get("training_mode", 0) and sum(map(bool, node.outputs)) == 1, "in training")
    b.need(node.get("spatial", 1) == 1, "with statistics for each place")
    layer = layers.BatchNormalization(momentum=node.get("momentum", 0.9), epsilon=node.get("epsilon", 1e-5), **b.how())
    return Tensor(b.call(layer, b.last(), [b.constant(i) for i in range(1, 5)]), len(b.shape()) > 2)


def group_normalization(b: Builder, node: Node) -> Tensor:
    """InstanceNormalization too: as many groups as channels."""
    channels, rank = b.shape()[1], len(b.shape())
    groups = channels if node.operator == "InstanceNormalization" else int(node.get("num_groups"))
    b.need(channels % groups == 0, f"with {groups} groups of {channels} channels")
    weights = [np.repeat(a, channels // a.size) for a in (b.constant(1), b.constant(2))]
    layer = layers.GroupNormalization(groups, epsilon=node.get("epsilon", 1e-5), **b.how())
    return Tensor(b.call(layer, b.last(), weights), rank > 2)


def layer_normalization(b: Builder, node: Node) -> Tensor:
    b.need(sum(map(bool, node.outputs)) == 1, "with statistics")
    rank = len(b.shape())
    axes = tuple(range(positive(node.get("axis", -1), rank), rank))
    b.need(axes[0] > 0, "over the batch")
    shape, bias = b.shape()[axes[0] :], b.optional(2)
    layer = layers.LayerNormalization(axes, node.get("epsilon", 1e-5), center=bias is not None, **b.how())
    weights = [None if a is None else np.broadcast_to(a, shape) for a in (b.constant(1), bias)]
    return Tensor(b.call(layer, b.first(), weights))


def local_response(b: Builder, node: Node) -> Tensor:
    numbers = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    given = {name: float(node.get(name, value)) for name, value in numbers.items()}
    layer = LocalResponse(int(node.get("size")), given["alpha"], given["beta"], given["bias"], **b.how())
    return Tensor(b.call(layer, b.last()), len(b.shape()) > 2)


AS_LAYERS: dict[str, Callable[..., Any]] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": pool, "AveragePool": pool, "GlobalMaxPool": global_pool,
    "GlobalAveragePool": global_pool, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_normalization,
    "InstanceNormalization": group_normalization, "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization, "LRN": local_response,
}  # fmt: skip
