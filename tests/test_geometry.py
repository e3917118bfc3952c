"""Sizes and padding: hand-derived tables, the frameworks' formulas, and enumeration of windows."""

import itertools
import math

import numpy as np
import pytest

from tapwise.geometry import adaptive_geometry, conv_geometry, conv_transpose_geometry, pool_geometry

CHAINS = list(itertools.product(range(1, 8), range(1, 5), range(1, 5), range(1, 4)))  # size, k, stride, dilation


def conv(size, k, stride=1, padding="valid", dilation=1):
    return conv_geometry((1, size, 1), (k, 1, 1), stride, padding, dilation, None, "channels_last")


@pytest.mark.parametrize(
    ("size", "k", "stride", "dilation", "padding", "pair", "output"),
    [
        (5, 3, 1, 1, "valid", (0, 0), 3),
        (5, 3, 1, 1, "same", (1, 1), 5),
        (6, 3, 2, 1, "same", (0, 1), 3),
        (6, 3, 2, 1, "same_lower", (1, 0), 3),
        (5, 4, 1, 1, "same", (1, 2), 5),
        (5, 4, 1, 1, "same_lower", (2, 1), 5),
        (7, 1, 3, 1, "same", (0, 0), 3),
        (5, 3, 1, 2, "same", (2, 2), 5),
        (5, 3, 1, 2, "causal", (4, 0), 5),
        (5, 3, 2, 1, "causal", (2, 0), 3),
        (5, 3, 1, 1, 2, (2, 2), 7),
        (5, 3, 1, 1, (1,), (1, 1), 5),
        (5, 3, 1, 1, [[0, 3]], (0, 3), 6),
        (5, 3, 1, 1, ((1, -2),), (1, -2), 2),
        (5, 3, 1, 1, np.array([[2, 1]]), (2, 1), 6),
    ],
)
def test_padding_by_hand(size, k, stride, dilation, padding, pair, output):
    g = conv(size, k, stride, padding, dilation)
    assert (g.padding, g.y_shape) == ((pair,), (1, output, 1))


@pytest.mark.parametrize("rule", ["same", "same_lower"])
def test_same_is_tensorflows(rule):
    """tf.nn.convolution: the total from the stride's remainder, the smaller half first ("same_lower": the larger)."""
    for size, k, stride, dilation in CHAINS:
        extent = (k - 1) * dilation + 1
        total = max(extent - (stride if size % stride == 0 else size % stride), 0)
        halves = (total // 2, total - total // 2)
        g = conv(size, k, stride, rule, dilation)
        assert g.padding == (halves if rule == "same" else halves[::-1],)
        assert g.y_shape[1] == math.ceil(size / stride)


def test_outputs_are_the_windows_that_fit():
    for (size, k, stride, dilation), before, after in itertools.product(CHAINS, (0, 2), (-1, 0, 3)):
        extent = (k - 1) * dilation + 1
        starts = range(-before, size + after - extent + 1, stride)
        if starts:
            assert conv(size, k, stride, ((before, after),), dilation).y_shape[1] == len(starts)
        else:
            with pytest.raises(ValueError, match="kernel must not be larger than the padded input"):
                conv(size, k, stride, ((before, after),), dilation)


def test_both_layouts_and_every_rank():
    last = conv_geometry((2, 5, 6, 7, 4), (1, 2, 3, 2, 8), (1, 2, 3), 1, 1, None, "channels_last")
    first = conv_geometry((2, 4, 5, 6, 7), (8, 2, 1, 2, 3), [1, 2, 3], 1, 1, 2, "channels_first")
    assert (last.y_shape, last.groups, last.channels_last) == ((2, 7, 4, 3, 8), 2, True)
    assert (first.y_shape, first.groups, first.channels_last) == ((2, 8, 7, 4, 3), 2, False)
    assert last.padding == first.padding == ((1, 1),) * 3
    assert last.rank == first.rank == 3


def keras_transpose(size, k, stride, dilation, padding, output_padding):
    """(output, padding on the left of x dilated by the stride) as keras.src.backend.common.backend_utils has them."""
    extent = (k - 1) * dilation + 1
    if padding == "valid":
        more = max(extent, stride) - extent if output_padding is None else output_padding
        return (size - 1) * stride + extent + more, extent - 1
    if output_padding is None:
        length, output = stride + extent - 2, size * stride
    else:
        length, output = extent + extent % 2 - 2 + output_padding, (size - 1) * stride + extent % 2 + output_padding
    return output, min(length // 2 + length % 2, extent - 1)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("output_padding", [None, 0, 1])
def test_transpose_is_keras(padding, output_padding):
    for size, k, stride, dilation in CHAINS:
        output, left = keras_transpose(size, k, stride, dilation, padding, output_padding)
        if output < 1:
            continue  # Keras gives an empty output, which is refused here
        g = conv_transpose_geometry(
            (1, size, 1), (k, 1, 1), stride, padding, output_padding, dilation, None, "channels_last"
        )
        assert g.x_shape[1] == output
        assert g.padding[0][0] == (k - 1) * dilation - left


def test_transpose_is_pytorchs_and_inverts_a_convolution():
    """out = (in - 1) * stride - before - after + dilation * (k - 1) + output_padding + 1."""
    for (size, k, stride, dilation), before, after, more in itertools.product(CHAINS, (0, 1), (0, 2), (0, 1)):
        output = (size - 1) * stride - before - after + dilation * (k - 1) + more + 1
        arguments = (1, size, 1), (k, 1, 1), stride, ((before, after),), more, dilation, None, "channels_last"
        if output < 1:
            with pytest.raises(ValueError, match="padding must leave an output"):
                conv_transpose_geometry(*arguments)
            continue
        g = conv_transpose_geometry(*arguments)
        assert g.x_shape[1] == output
        assert conv(output, k, stride, g.padding, dilation).y_shape == (1, size, 1)


def test_transpose_groups():
    """Keras' (k, co // groups, ci) and PyTorch's (ci, co // groups, k)."""
    last = conv_transpose_geometry((1, 5, 6), (3, 2, 6), 2, "same", None, 1, 3, "channels_last")
    first = conv_transpose_geometry((1, 6, 5), (6, 2, 3), 2, 1, 1, 1, 3, "channels_first")
    assert (last.x_shape, first.x_shape) == ((1, 10, 6), (1, 6, 10))
    assert last.groups == first.groups == 3


def windows(size, k, stride, dilation, before, after, ceil_mode):
    """The positions of each window that fits, or with ceil_mode overhangs by less than a stride; PyTorch then drops
    the last one if it starts behind the input."""
    end = size + after + (stride - 1 if ceil_mode else 0)
    starts = list(range(-before, end - dilation * (k - 1), stride))
    if ceil_mode and starts and starts[-1] >= size:
        starts.pop()
    return [range(start, start + k * dilation, dilation) for start in starts]


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pool_windows(ceil_mode):
    """The outputs are the windows, and one without an element of the input is refused."""
    for (size, k, stride, dilation), before, after in itertools.product(CHAINS, (0, 1, 3), (0, 2)):
        found = windows(size, k, stride, dilation, before, after, ceil_mode)
        arguments = (1, size, 1), k, stride, ((before, after),), dilation, ceil_mode, False, "channels_last"
        if found and all(any(0 <= i < size for i in window) for window in found):
            assert pool_geometry(*arguments).y_shape == (1, len(found), 1)
        else:
            with pytest.raises(ValueError, match=r"input element in each window|must not (exceed|be larger)"):
                pool_geometry(*arguments)


def test_pool_strides_are_the_size_unless_given():
    assert pool_geometry((1, 6, 9, 2), (2, 3), None, "valid", 1, False, False, "channels_last").strides == (2, 3)
    assert pool_geometry((1, 6, 9, 2), (2, 3), 1, "valid", 1, False, False, "channels_last").y_shape == (1, 5, 7, 2)


def test_adaptive_output_is_what_was_asked():
    assert adaptive_geometry((2, 7, 5, 3), (3, 9), "channels_last").y_shape == (2, 3, 9, 3)
    assert adaptive_geometry((2, 3, 7, 5), 1, "channels_first").y_shape == (2, 3, 1, 1)


def test_geometries_are_kept_and_bounded():
    """The same arguments give the same object, lists count as tuples, and many other shapes push it out (gate 7)."""
    g = conv(9, 3, [2])
    assert g is conv(9, 3, (2,))
    for size in range(1, 5001):
        conv(size, 1)
    assert conv(9, 3, (2,)) == g
    assert conv(9, 3, (2,)) is not g
