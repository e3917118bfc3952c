"""A classifier of patches as a network for a whole region: what neighbouring patches share is computed once.

Every layer before the Flatten or the global pooling already works on images of any size; index i of a tensor behind
strides of t in all belongs to pixel i * t. What reads the whole patch becomes a window that moves on by the step:
Flatten and Dense a convolution of the flattened map's size, a global pooling one over that window. A patch that begins
at a multiple of all strides then gets the sums that it gets alone, except where padding puts zeros around a patch:
inside the region its neighbours lie there. Long, Shelhamer & Darrell, "Fully Convolutional Networks", 2015.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import layers
from ..geometry import dilated, per_axis, resolve_padding
from ..layers.layer import Cast, Layer
from ..layers.symbolic import Node, Symbolic
from ..model import Model

Pair = tuple[int, int]
WINDOWS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.MaxPooling2D, layers.AveragePooling2D)
MERGES = (
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, layers.Concatenate,
)  # fmt: skip
IDLE = (layers.Identity, layers.Dropout, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout)
ELEMENTS = (layers.ReLU, layers.LeakyReLU, layers.ELU)
CHANNELS = (layers.Activation, layers.Softmax, layers.Rescaling, layers.SpatialDropout2D, layers.BatchNormalization)


class NotShared(ValueError):
    """A network, or a layer of it, that can't run on a region at once; says why."""


class Site(NamedTuple):
    """What an axis-wise index of a tensor means: strides so far, and the zeros that padding added, in pixels.

    kind: "map"; "flat", a map whose values in a window are read as one vector; "point", one vector for each patch.
    """

    kind: str
    strides: Pair
    before: Pair
    after: Pair


class Sharing(NamedTuple):
    """strides: all together, by axis. margin: how many pixels of a region's border padding reaches at most."""

    strides: Pair
    margin: Pair
    sites: dict[Symbolic, Site]


def sharing(model: Model) -> Sharing:
    """How the model's patches can share work. Raises NotShared if they can't."""
    sites = {model.inputs[0]: Site("map", (1, 1), (0, 0), (0, 0))}
    for node in model.nodes:
        if isinstance(node.layer, Cast):
            sites[node.output] = sites[node.inputs[0]]
            continue
        if getattr(node.layer, "data_format", "channels_last") != "channels_last":
            raise NotShared(f"{node.layer.name} is channels first")
        sites[node.output] = behind(node, [sites[tensor] for tensor in node.inputs])
    last = sites[model.outputs[0]]
    if last.kind == "map" or (last.kind == "flat" and flattened(model.outputs[0]) != (1, 1)):
        raise NotShared("its output isn't made by Dense or a global pooling")
    strides = [math.lcm(*(site.strides[axis] for site in sites.values())) for axis in (0, 1)]
    margin = [max(max(site.before[axis], site.after[axis]) for site in sites.values()) for axis in (0, 1)]
    return Sharing((strides[0], strides[1]), (margin[0], margin[1]), sites)


def behind(node: Node, read: list[Site]) -> Site:
    """The site of what a layer gives."""
    layer, site = node.layer, read[0]
    if isinstance(layer, MERGES):
        return merged(layer, read)
    if isinstance(layer, ELEMENTS) or is_idle(layer):
        return site
    if isinstance(layer, layers.Dense):
        return site if site.kind == "map" else site._replace(kind="point")
    if isinstance(layer, layers.Flatten):
        return site if site.kind == "point" else site._replace(kind="flat")
    if site.kind != "flat" and is_of_channels(layer):
        return site
    if site.kind == "map":
        if isinstance(layer, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
            return site._replace(kind="point")
        if isinstance(layer, WINDOWS):
            pads = padding_of(node)
            return padded(site, pads)._replace(strides=tuple_product(site.strides, strides_of(layer)))
        if isinstance(layer, layers.ZeroPadding2D):
            return padded(site, layer.border)
        if isinstance(layer, layers.Cropping2D):
            return site
    raise NotShared(f"{layer.name}, {type(layer).__name__}, can't be shared by patches")


def is_idle(layer: Layer) -> bool:
    """Whether a prediction leaves x as it is: noise, and augmentation but for its crop."""
    augments = type(layer).__name__.startswith("Random") and not isinstance(layer, layers.RandomCrop)
    return isinstance(layer, IDLE) or (augments and hasattr(layers, type(layer).__name__))


def is_of_channels(layer: Layer) -> bool:
    """Whether the layer does the same at every pixel."""
    if isinstance(layer, layers.Normalization):
        return layer.axis in ((), (-1,))
    if isinstance(layer, layers.PReLU):
        return all(size == 1 for size in layer.alpha.shape[:-1])
    return isinstance(layer, CHANNELS) and getattr(layer, "axis", -1) == -1


def merged(layer: Layer, read: list[Site]) -> Site:
    if any(site[:2] != read[0][:2] for site in read) or read[0].kind == "flat":
        raise NotShared(f"{layer.name} merges maps of different strides")
    if isinstance(layer, layers.Concatenate) and layer.axis not in (-1, 3 if read[0].kind == "map" else 1):
        raise NotShared(f"{layer.name} joins along another axis than the channels")
    before = max(site.before[0] for site in read), max(site.before[1] for site in read)
    after = max(site.after[0] for site in read), max(site.after[1] for site in read)
    return Site(*read[0][:2], before, after)


def padded(site: Site, pads: Sequence[Pair]) -> Site:
    (top, bottom), (left, right) = pads
    down, across = site.strides
    before = site.before[0] + top * down, site.before[1] + left * across
    after = site.after[0] + bottom * down, site.after[1] + right * across
    return Site(site.kind, site.strides, before, after)


def tuple_product(a: Pair, b: Pair) -> Pair:
    return a[0] * b[0], a[1] * b[1]


def window_of(layer: Any) -> Pair:
    kernel = per_axis(getattr(layer, "kernel_size", None) or layer.geometry["size"], "size", 2)
    extent = dilated(kernel, per_axis(layer.geometry.get("dilation", 1), "dilation", 2))
    return extent[0], extent[1]


def strides_of(layer: Any) -> Pair:
    strides = layer.geometry["strides"]
    pair = per_axis(layer.geometry["size"] if strides is None else strides, "strides", 2)
    return pair[0], pair[1]


def padding_of(node: Node) -> Any:
    """What a layer's padding is on a patch, as numbers: "same" of another size would be another."""
    layer: Any = node.layer
    sizes = node.inputs[0].example[:-1]
    return resolve_padding(layer.geometry["padding"], sizes, window_of(layer), strides_of(layer))


def region_network(model: Model, shared: Sharing, region: Pair, step: Pair) -> Model:
    """The network for a region of (h, w) pixels: (1, h, w, c) -> (1, patches down, patches across, outputs).

    The region ends with a patch; step is a multiple of shared.strides. Weights are the model's own arrays.
    """
    entry = layers.Input((*region, model.inputs[0].example[-1]), dtype=model.inputs[0].dtype)
    made: dict[Symbolic, Symbolic] = {model.inputs[0]: entry}
    for node in model.nodes:
        read = [made[tensor] for tensor in node.inputs]
        if isinstance(node.layer, (Cast, layers.Flatten)) or is_idle(node.layer):
            made[node.output] = read[0]
            continue
        site = shared.sites[node.inputs[0]]
        on = (step[0] // site.strides[0], step[1] // site.strides[1])
        made[node.output] = placed(node, site, on, read)
    last = shared.sites[model.outputs[0]]
    out = made[model.outputs[0]]
    if last.kind == "flat":
        on = (step[0] // last.strides[0], step[1] // last.strides[1])
        out = layers.MaxPooling2D(1, on)(out)
    return Model(entry, out)


def placed(node: Node, site: Site, on: Pair, read: list[Symbolic]) -> Symbolic:
    """The layer's likeness on the region's tensors."""
    layer: Any = node.layer
    config: dict[str, Any] = {
        name: "zeros" if name.endswith("_initializer") else value
        for name, value in layer.get_config().items()
        if name != "name" and not name.endswith("_regularizer")
    }
    if isinstance(layer, layers.PReLU):
        config["shared_axes"] = (1, 2)
    if isinstance(layer, layers.Concatenate):
        config["axis"] = -1
    if isinstance(layer, layers.Dense) and site.kind == "flat":
        window = flattened(node.inputs[0])
        config = {name: value for name, value in config.items() if name != "units"}
        copy: Any = layers.Conv2D(filters=layer.units, kernel_size=window, strides=on, **config)
    elif isinstance(layer, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
        kind = layers.AveragePooling2D if isinstance(layer, layers.GlobalAveragePooling2D) else layers.MaxPooling2D
        copy = kind(node.inputs[0].example[:2], on)
    else:
        if isinstance(layer, WINDOWS):
            config["padding"] = padding_of(node)
        copy = type(layer).from_config(config)
    y: Symbolic = copy(read if node.many else read[0])
    for mine, given in zip(copy.weights, layer.weights, strict=True):
        mine.value = given.value.reshape(mine.shape)
    return y


def flattened(tensor: Symbolic) -> Pair:
    """The height and width of the map that was flattened to this tensor."""
    while not isinstance(tensor.node.layer, layers.Flatten):
        tensor = tensor.node.inputs[0]
    height, width, _ = tensor.node.inputs[0].example
    return height, width
