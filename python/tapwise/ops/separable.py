"""A depthwise convolution and the pointwise one behind it, as one operation."""

from typing import Any

from ..backend import current
from ..geometry import ConvGeometry, Padding, Shape, Sizes, conv_geometry, kept
from .check import Array, activation_alpha, serving, source, written
from .conv import addends
from .memory import empty
from .pack import PackedWeights, array_or_packed


@kept
def separable_geometry(
    x_shape: Shape,
    depthwise_shape: Shape,
    pointwise_shape: Shape,
    strides: Sizes,
    padding: Padding,
    dilation: Sizes,
    data_format: str,
) -> tuple[ConvGeometry, ConvGeometry]:
    """Both convolutions, the second one of the first one's result."""
    depthwise = conv_geometry(x_shape, depthwise_shape, strides, padding, dilation, None, data_format)
    last = depthwise.channels_last
    if depthwise_shape[-2 if last else 1] != 1:
        raise ValueError(f"depthwise_w must have one input channel a filter, got shape {depthwise_shape}")
    taps = pointwise_shape[:-2] if last else pointwise_shape[2:]
    if len(pointwise_shape) != len(depthwise_shape) or any(k != 1 for k in taps):
        raise ValueError(f"pointwise_w must have one tap and {len(depthwise_shape)} axes, got shape {pointwise_shape}")
    return depthwise, conv_geometry(depthwise.y_shape, pointwise_shape, 1, "valid", 1, 1, data_format)


def is_joined(
    x_shape: Shape,
    depthwise_shape: Shape,
    pointwise_shape: Shape,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "channels_last",
) -> bool:
    """Whether separable_conv uses the middle as it is found, and so needs no memory for it."""
    shapes = x_shape, depthwise_shape, pointwise_shape
    return current().plan_separable(*separable_geometry(*shapes, strides, padding, dilation, data_format))[0]


def separable_conv(
    x: Any,
    depthwise_w: Any,
    pointwise_w: Any,
    b: Any = None,
    *,
    depthwise_b: Any = None,
    depthwise_activation: str | None = None,
    depthwise_alpha: float | None = None,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "channels_last",
    activation: str | None = None,
    alpha: float | None = None,
    residual: Any = None,
    out: Any = None,
) -> Array:
    """conv(middle, pointwise_w, b, ...) of middle = conv(x, depthwise_w, depthwise_b, groups=c, ...).

    x (n, *spatial, c), depthwise_w (*k, 1, c * m), pointwise_w (*1, c * m, co), b (co,), depthwise_b (c * m,) ->
    y (n, *o, co), laid out as conv has them in both data formats; strides, padding and dilation are the depthwise
    one's. Where tapwise.plan_separable says so, a block of the middle is used as soon as it is found, and never stored.
    Weights may be packed, each for its own convolution. Raises as conv does.
    """
    backend = current()
    plain = backend.are_plain is not None and backend.are_plain(x, None, b, depthwise_b, out)
    if not plain:
        given = {"b": b, "depthwise_b": depthwise_b, "residual": residual, "out": out}
        backend = serving(x, "x", depthwise_w=depthwise_w, pointwise_w=pointwise_w, **given)
        x = source(x, "x", backend.dtypes)
    depthwise_w, pointwise_w = array_or_packed(depthwise_w, x.dtype), array_or_packed(pointwise_w, x.dtype)
    shapes = x.shape, depthwise_w.shape, pointwise_w.shape
    depthwise, pointwise = separable_geometry(*shapes, strides, padding, dilation, data_format)
    weights: list[Any] = []
    views: dict[str, Any] = {}
    for name, w, g in (("depthwise_w", depthwise_w, depthwise), ("pointwise_w", pointwise_w, pointwise)):
        packed = type(w) is PackedWeights
        weights.append(w.used_for(g, "forward", "auto", "default", backend) if packed else w)
        views[name] = None if packed else w
    last, y_shape = depthwise.channels_last, pointwise.y_shape
    depthwise_b, _ = addends(depthwise_b, None, depthwise.y_shape, last, x.dtype)
    b, residual = addends(b, residual, y_shape, last, x.dtype)
    first, second = activation_alpha(depthwise_activation, depthwise_alpha), activation_alpha(activation, alpha)
    y = empty(y_shape, x.dtype, x) if out is None else out
    checked = plain and residual is None and not any(view is not None for view in views.values())
    if out is not None and not (checked and out.shape == y_shape):
        y = written(out, "out", y_shape, x.dtype, x=x, b=b, depthwise_b=depthwise_b, residual=residual, **views)
    fused, _, _ = backend.plan_separable(depthwise, pointwise)
    middle = None if fused else empty(depthwise.y_shape, x.dtype, x)
    backend.separable_conv(
        x, weights[0], depthwise_b, middle, weights[1], b, y, depthwise, pointwise,
        depthwise_activation=first[0], depthwise_alpha=first[1], activation=second[0], alpha=second[1],
        residual=residual,
    )  # fmt: skip
    return y
