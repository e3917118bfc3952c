"""The sizes of a convolution or a pooling: padding rules, output sizes, and what is refused.

Each geometry is built once per set of arguments and kept, so an operation pays for a dictionary look-up.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from itertools import chain
from math import prod
from operator import index
from typing import Any, NamedTuple, TypeAlias, TypeVar

Shape: TypeAlias = tuple[int, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Sizes: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int] | Sequence[Sequence[int]]

Geometry = TypeVar("Geometry")

# An array of float64 stays below 2^63 bytes: the C++ counts in signed 64 bits.
LARGEST = 2**60


class ConvSizes(NamedTuple):
    """A forward convolution x -> y; a transposed one has y_shape as its input and x_shape as its output.

    channels_last:  x (n, *spatial, ci), w (*k, ci // groups, co), y (n, *o, co).
    channels_first: x (n, ci, *spatial), w (co, ci // groups, *k), y (n, co, *o).
    padding is (before, after) for each spatial axis; a negative `after` crops.
    """

    x_shape: Shape
    w_shape: Shape
    y_shape: Shape
    strides: Shape
    padding: Pairs
    dilation: Shape
    groups: int
    channels_last: bool

    @property
    def rank(self) -> int:
        return len(self.strides)


class ConvGeometry(ConvSizes):
    native: Any = None  # what the native backend made of the sizes, once


class PoolSizes(NamedTuple):
    """A pooling x -> y of windows of `size`; an adaptive one has windows [floor(o*in/out), ceil((o+1)*in/out))."""

    x_shape: Shape
    y_shape: Shape
    size: Shape
    strides: Shape
    padding: Pairs
    dilation: Shape
    count_include_pad: bool
    adaptive: bool
    channels_last: bool

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def channels(self) -> int:
        return self.x_shape[-1] if self.channels_last else self.x_shape[1]


class PoolGeometry(PoolSizes):
    native: Any = None  # what the native backend made of the sizes, once


def spatial(shape: Shape, channels_last: bool) -> Shape:
    return shape[1:-1] if channels_last else shape[2:]


def image_shape(n: int, sizes: Shape, channels: int, channels_last: bool) -> Shape:
    return (n, *sizes, channels) if channels_last else (n, channels, *sizes)


def frozen(value: Any) -> Any:
    """Lists, arrays and ranges as nested tuples, which can be looked up."""
    return value if isinstance(value, (str, int)) or not hasattr(value, "__iter__") else tuple(map(frozen, value))


def kept(build: Callable[..., Geometry]) -> Callable[..., Geometry]:
    """Build once per arguments; lists among them count as tuples."""
    look_up = lru_cache(maxsize=4096, typed=True)(build)

    @wraps(build)
    def geometry(*arguments: Any) -> Geometry:
        try:
            return look_up(*arguments)
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
        return look_up(*map(frozen, arguments))

    return geometry


def is_channels_last(data_format: str) -> bool:
    if data_format == "channels_last":
        return True
    if data_format == "channels_first":
        return False
    raise ValueError(f'data_format must be "channels_last" or "channels_first", got {data_format!r}')


def integer(value: Any, name: str, least: int, below: int = LARGEST) -> int:
    """value, if it is an integer in [least, below), a power of two."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not least <= number < below:
        rule = f">= {least}" if number < least else f"< 2**{below.bit_length() - 1}"
        raise ValueError(f"{name} must be {rule}, got {number}")
    return number


def per_axis(value: Any, name: str, rank: int, least: int = 1) -> Shape:
    """One integer for each of `rank` spatial axes, from one integer or from one per axis."""
    if not isinstance(value, tuple):
        return (integer(value, name, least),) * rank
    if len(value) != rank:
        raise ValueError(f"{name} must be one integer or one for each of {rank} spatial axes, got {value}")
    return tuple(integer(v, name, least) for v in value)


def checked_shape(shape: Any, name: str) -> Shape:
    """An array's shape (n, ...): n >= 0, sizes >= 1, a product that doesn't overflow."""
    if not isinstance(shape, tuple):
        raise TypeError(f"{name} must be a tuple of sizes, got {shape!r}")
    try:
        sizes = tuple(map(index, shape))
    except TypeError:
        raise TypeError(f"{name} must hold integers, got {shape}") from None
    if min(sizes, default=0) < 0 or 0 in sizes[1:]:
        raise ValueError(f"{name} must have sizes >= 1 (n >= 0), got {sizes}")
    if prod(size or 1 for size in sizes) >= LARGEST:
        raise ValueError(f"{name} must hold fewer than 2**60 elements, got {sizes}")
    return sizes


def image_rank(x_shape: Shape) -> int:
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"x must have 1, 2 or 3 spatial dimensions beside n and the channels, got shape {x_shape}")
    return len(x_shape) - 2


def conv_rank(x_shape: Shape, w_shape: Shape) -> int:
    rank = image_rank(x_shape)
    if len(w_shape) != rank + 2 or w_shape[0] < 1:
        raise ValueError(f"w must have {rank + 2} dimensions of size >= 1, as x has, got shape {w_shape}")
    return rank


def explicit_padding(padding: Any, rank: int) -> Pairs:
    """(before, after) for each axis, from one integer, one per axis, or one pair per axis."""
    if not isinstance(padding, tuple):
        padding = (padding,) * rank
    if len(padding) != rank:
        raise ValueError(
            f"padding must be one integer, one for each of {rank} spatial axes or one (before, after) for each, "
            f"got {padding}"
        )
    pairs = []
    for p in padding:
        if isinstance(p, tuple) and len(p) != 2:
            raise ValueError(f"padding must be (before, after) for each spatial axis, got {padding}")
        before, after = p if isinstance(p, tuple) else (p, p)
        pairs.append((integer(before, "padding before", 0), integer(after, "padding after", -LARGEST)))
    return tuple(pairs)


def resolve_padding(padding: Any, sizes: Shape, extents: Shape, strides: Shape) -> Pairs:
    """(before, after) for each axis; extents are the kernel's, dilated: dilation * (k - 1) + 1.

    "same" is TensorFlow's rule: ceil(in / stride) outputs, what is odd goes to the end ("same_lower": the beginning).
    """
    if not isinstance(padding, str):
        return explicit_padding(padding, len(sizes))
    if padding == "valid":
        return ((0, 0),) * len(sizes)
    if padding == "causal":
        if len(sizes) != 1:
            raise ValueError(f'padding "causal" must have 1 spatial dimension, got {len(sizes)}')
        return ((extents[0] - 1, 0),)
    if padding not in ("same", "same_lower"):
        raise ValueError(
            f'padding must be "valid", "same", "same_lower", "causal", an integer, one per axis '
            f"or (before, after) per axis, got {padding!r}"
        )
    pairs = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if padding == "same" else (large, small))
    return tuple(pairs)


def weight_sizes(w_shape: Shape, channels_last: bool) -> tuple[Shape, int, int]:
    """The kernel's sizes, ci // groups and co; of a transposed convolution: the kernel's, co // groups and ci."""
    if channels_last:
        return w_shape[:-2], w_shape[-2], w_shape[-1]
    return w_shape[2:], w_shape[1], w_shape[0]


def dilated(kernel: Shape, dilation: Shape) -> Shape:
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def weight_groups(ci: int, w_ci: int, co: int, groups: int | None) -> int:
    """The number of groups, read off ci and w's ci // groups if it is None."""
    if groups is None:
        if ci % w_ci:
            raise ValueError(f"w must have ci // groups input channels, got {w_ci} for ci={ci}")
        groups = ci // w_ci
    else:
        groups = integer(groups, "groups", 1)
    if ci % groups or co % groups:
        raise ValueError(f"groups must divide ci and co, got groups={groups}, ci={ci}, co={co}")
    if ci // groups != w_ci:
        raise ValueError(f"w must have ci // groups = {ci // groups} input channels, got {w_ci}")
    return groups


def conv_sizes(sizes: Shape, kernel: Shape, strides: Shape, padding: Pairs, dilation: Shape) -> Shape:
    """floor((in + before + after - dilation * (k - 1) - 1) / stride) + 1 for each axis."""
    outputs = []
    for size, k, stride, (before, after), d in zip(sizes, kernel, strides, padding, dilation, strict=True):
        room = size + before + after - d * (k - 1) - 1
        if room < 0:
            raise ValueError(
                f"kernel must not be larger than the padded input, got kernel {k} with dilation {d} "
                f"for size {size} with padding ({before}, {after})"
            )
        outputs.append(room // stride + 1)
    return tuple(outputs)


@kept
def conv_geometry(
    x_shape: Shape, w_shape: Shape, strides: Any, padding: Any, dilation: Any, groups: int | None, data_format: str
) -> ConvGeometry:
    channels_last = is_channels_last(data_format)
    x_shape, w_shape = checked_shape(x_shape, "x_shape"), checked_shape(w_shape, "w_shape")
    rank = conv_rank(x_shape, w_shape)
    strides, dilation = per_axis(strides, "strides", rank), per_axis(dilation, "dilation", rank)
    ci = x_shape[-1] if channels_last else x_shape[1]
    kernel, w_ci, co = weight_sizes(w_shape, channels_last)
    groups = weight_groups(ci, w_ci, co, groups)
    sizes = spatial(x_shape, channels_last)
    padding = resolve_padding(padding, sizes, dilated(kernel, dilation), strides)
    outputs = conv_sizes(sizes, kernel, strides, padding, dilation)
    y_shape = checked_shape(image_shape(x_shape[0], outputs, co, channels_last), "y_shape")
    return ConvGeometry(x_shape, w_shape, y_shape, strides, padding, dilation, groups, channels_last)


def transpose_padding(
    padding: Any, sizes: Shape, extents: Shape, strides: Shape, output_padding: Shape | None
) -> tuple[Shape, Pairs]:
    """Output sizes of a transposed convolution, and the padding of the convolution that it is the gradient of.

    Strings follow Keras: "valid" gives (in - 1) * stride + max(extent, stride), or extent + output_padding; "same"
    gives in * stride, or (in - 1) * stride + extent % 2 + output_padding. Numbers follow PyTorch: they crop
    (in - 1) * stride + extent, and output_padding (0 if None) lengthens the end.
    """
    if not isinstance(padding, str):
        given = explicit_padding(padding, len(sizes))
    elif padding not in ("valid", "same", "same_lower"):
        raise ValueError(
            f'padding of a transposed convolution must be "valid", "same", "same_lower", an integer, one per axis '
            f"or (before, after) per axis, got {padding!r}"
        )
    outputs, pairs = [], []
    for axis, (size, extent, stride) in enumerate(zip(sizes, extents, strides, strict=True)):
        full = (size - 1) * stride + extent
        more = 0 if output_padding is None else output_padding[axis]
        if not isinstance(padding, str):
            before = given[axis][0]
            output = full - sum(given[axis]) + more
        elif padding == "valid":
            before = 0
            output = full + (max(stride - extent, 0) if output_padding is None else more)
        else:
            output = size * stride if output_padding is None else full - extent + extent % 2 + more
            total = max(full - output, 0)
            before = total // 2 if padding == "same" else total - total // 2
        if output < 1:
            raise ValueError(f"padding must leave an output, got {padding} for a full output of size {full}")
        outputs.append(output)
        pairs.append((before, full - output - before))
    return tuple(outputs), tuple(pairs)


@kept
def conv_transpose_geometry(
    y_shape: Shape,
    w_shape: Shape,
    strides: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int | None,
    data_format: str,
) -> ConvGeometry:
    """The convolution whose input gradient a transposed convolution of y_shape is; errors call that argument x."""
    channels_last = is_channels_last(data_format)
    y_shape, w_shape = checked_shape(y_shape, "x_shape"), checked_shape(w_shape, "w_shape")
    rank = conv_rank(y_shape, w_shape)
    strides, dilation = per_axis(strides, "strides", rank), per_axis(dilation, "dilation", rank)
    more = None if output_padding is None else per_axis(output_padding, "output_padding", rank, 0)
    ci = y_shape[-1] if channels_last else y_shape[1]
    kernel, w_co, w_ci = weight_sizes(w_shape, channels_last)
    if w_ci != ci:
        raise ValueError(f"w must have ci = {ci} input channels, got {w_ci}")
    groups = 1 if groups is None else integer(groups, "groups", 1)
    co = w_co * groups
    if ci % groups:
        raise ValueError(f"groups must divide ci and co, got groups={groups}, ci={ci}, co={co}")
    extents = dilated(kernel, dilation)
    outputs, pairs = transpose_padding(padding, spatial(y_shape, channels_last), extents, strides, more)
    x_shape = checked_shape(image_shape(y_shape[0], outputs, co, channels_last), "y_shape")
    return ConvGeometry(x_shape, w_shape, y_shape, strides, pairs, dilation, groups, channels_last)


def pool_sizes(sizes: Shape, window: Shape, strides: Shape, padding: Pairs, dilation: Shape, ceil_mode: bool) -> Shape:
    """As conv_sizes; ceil_mode rounds up, unless the last window would start behind the input (PyTorch's rule)."""
    if not ceil_mode:
        return conv_sizes(sizes, window, strides, padding, dilation)
    outputs = []
    for size, k, stride, (before, after), d in zip(sizes, window, strides, padding, dilation, strict=True):
        o = -(-(size + before + after - d * (k - 1) - 1) // stride) + 1
        o -= (o - 1) * stride >= size + before
        if o < 1:
            raise ValueError(
                f"size must not exceed the padded input by a stride, got {k} with dilation {d} "
                f"for size {size} with padding ({before}, {after})"
            )
        outputs.append(o)
    return tuple(outputs)


def refuse_empty_windows(sizes: Shape, outputs: Shape, g: PoolGeometry) -> None:
    """Only windows that start before the input, and the last one, can hold no element of it."""
    for size, o, k, s, d, (before, _) in zip(sizes, outputs, g.size, g.strides, g.dilation, g.padding, strict=True):
        last = (o - 1) * s - before
        for start in chain(range(-before, min(0, last), s), (last,)):
            first = start if start >= 0 else start % d
            if first >= size or first > start + d * (k - 1):
                raise ValueError(
                    f"padding must leave an input element in each window, got a window of {k} with dilation {d} "
                    f"at {start} for size {size}"
                )


@kept
def pool_geometry(
    x_shape: Shape,
    size: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    data_format: str,
) -> PoolGeometry:
    channels_last = is_channels_last(data_format)
    x_shape = checked_shape(x_shape, "x_shape")
    rank = image_rank(x_shape)
    size = per_axis(size, "size", rank)
    strides = size if strides is None else per_axis(strides, "strides", rank)
    dilation = per_axis(dilation, "dilation", rank)
    sizes = spatial(x_shape, channels_last)
    padding = resolve_padding(padding, sizes, dilated(size, dilation), strides)
    outputs = pool_sizes(sizes, size, strides, padding, dilation, bool(ceil_mode))
    c = x_shape[-1] if channels_last else x_shape[1]
    y_shape = checked_shape(image_shape(x_shape[0], outputs, c, channels_last), "y_shape")
    g = PoolGeometry(x_shape, y_shape, size, strides, padding, dilation, bool(count_include_pad), False, channels_last)
    refuse_empty_windows(sizes, outputs, g)
    return g


@kept
def adaptive_geometry(x_shape: Shape, output_size: Any, data_format: str) -> PoolGeometry:
    """A pooling to output_size; its windows follow from the sizes, so size, strides and dilation are ones."""
    channels_last = is_channels_last(data_format)
    x_shape = checked_shape(x_shape, "x_shape")
    rank = image_rank(x_shape)
    outputs = per_axis(output_size, "output_size", rank)
    c = x_shape[-1] if channels_last else x_shape[1]
    y_shape = checked_shape(image_shape(x_shape[0], outputs, c, channels_last), "y_shape")
    ones = (1,) * rank
    return PoolGeometry(x_shape, y_shape, ones, ones, ((0, 0),) * rank, ones, False, True, channels_last)
