"""Batches, the pass that gathers them, and the split into training and test images."""

import numpy as np
import pytest

from tapwise import data
from tapwise.data.gather import gather, gather_numpy


def numbers(dtype, shape):
    return np.random.default_rng(0).integers(0, 120, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(50,), (50, 7), (50, 9, 9, 3), (50, 0)], ids=str)
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8", "i2"])
def test_gather_is_numpy_to_the_bit(dtype, shape):
    x = numbers(dtype, shape) + np.dtype(dtype).type(0.3 if dtype[0] == "f" else 0)
    rows = np.random.default_rng(1).integers(0, 50, 33).astype(np.intp)
    want = x[rows].astype(np.float32) * np.float32(1 / 255) + np.float32(-0.1307)
    for got in (gather(x, rows, 1 / 255, -0.1307), gather_numpy(x, rows, 1 / 255, -0.1307)):
        assert got.dtype == np.float32
        assert got.shape == want.shape
        assert got.tobytes() == want.tobytes()
    double = gather(x, rows, 1 / 255, -0.1307, np.float64)
    assert double.tobytes() == (x[rows].astype(np.float64) * (1 / 255) - 0.1307).tobytes()


def test_gather_takes_views_and_read_only_arrays():
    x = numbers("u1", (20, 6, 6))
    rows = np.array([3, 0, 3], np.intp)
    np.testing.assert_array_equal(gather(x[::2, :, 1:4], rows), x[::2, :, 1:4][rows])
    x.flags.writeable = False
    np.testing.assert_array_equal(gather(x, rows), x[rows])
    assert gather(x, rows[:0]).shape == (0, 6, 6)


@pytest.mark.parametrize("row", [-1, 20])
@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_gather_refuses_rows_outside(dtype, row):
    with pytest.raises(IndexError, match=rf"rows must be in \[0, 20\), got {row}"):
        gather(numbers(dtype, (20, 4)), np.array([0, row], np.intp), 1.0, 0.0)


def test_batches_cover_every_item_once_in_the_order_of_seed_and_epoch():
    x, y = np.arange(103, dtype=np.float32)[:, None], np.arange(103)
    batches = data.Batches(x, y, batch_size=10, seed=5, scale=2.0, offset=1.0)
    first = list(batches.epoch(0))
    assert len(batches) == len(first) == 11
    assert [len(labels) for _, labels in first] == [10] * 10 + [3]
    order = np.concatenate([labels for _, labels in first])
    np.testing.assert_array_equal(np.sort(order), y)
    for images, labels in first:
        np.testing.assert_array_equal(images[:, 0], 2 * labels + 1)
    again = np.concatenate([labels for _, labels in data.Batches(x, y, batch_size=7, seed=5).epoch(0)])
    np.testing.assert_array_equal(again, order)
    assert not np.array_equal(batches.order(1), order)
    assert not np.array_equal(data.Batches(x, y, seed=6).order(0), order)
    np.testing.assert_array_equal(data.Batches(x, y, shuffle=False).order(3), y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(3)}, "x and y must have the same number of items >= 1, got 4 and 3"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "x and y must have the same number of items >= 1, got 0 and 0"),
        ({"x": np.array(["a"] * 4)}, "x must be of integers or floats, got <U1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_batches_reject(change, message):
    with pytest.raises(ValueError, match=message):
        data.Batches(**{"x": np.zeros((4, 2)), "y": np.zeros(4)} | change)


def test_stratified_split():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    x = np.arange(100)
    (x_train, y_train), (x_test, y_test) = data.stratified_split(x, y, test_size=0.2, seed=3)
    assert np.bincount(y_test).tolist() == [10, 6, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate([x_train, x_test])), x)
    np.testing.assert_array_equal(y[x_train], y_train)
    assert not np.array_equal(data.stratified_split(x, y, seed=4)[1][0], x_test)
    with pytest.raises(ValueError, match="test_size must be between 0 and 1, got 1"):
        data.stratified_split(x, y, test_size=1)
    with pytest.raises(ValueError, match="class 2 has 1 items, 0 of them would be in the test part"):
        data.stratified_split(x[:81], y[:81])
