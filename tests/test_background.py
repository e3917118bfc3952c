"""Batches made in the background: the same for any number of threads, in order, and nothing is left running."""

import signal
import threading
import time
import traceback

import numpy as np
import pytest

import tapwise
from small_model import X, Y, assert_same, compiled
from tapwise import data, layers
from tapwise.data.ahead import ahead

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 9, 8, 3)).astype(np.uint8)
LABELS = np.arange(50) % 3
AUGMENT = data.Augment([layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.3)], seed=4)


def ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tapwise-data")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert ours() == []


def bits(batches, epoch=1):
    return [(x.tobytes(), y.tobytes()) for x, y in batches.epoch(epoch)]


@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_batches_are_the_same_for_any_number_of_workers(augment):
    make = [data.Batches(IMAGES, LABELS, batch_size=7, seed=2, augment=augment, workers=n) for n in (0, 1, 2, 4)]
    first, *others = map(bits, make)
    assert len(first) == 8
    assert all(other == first for other in others)
    assert bits(make[2], 2) != first


def test_augmented_batches_are_those_images_of_that_epoch():
    batches = data.Batches(IMAGES, LABELS, batch_size=7, seed=2, augment=AUGMENT, workers=2)
    whole = AUGMENT(IMAGES, epoch=3)
    order = batches.order(3)
    got = list(batches.epoch(3))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in got]), whole[order])
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), LABELS[order])


def test_masks_follow_their_images():
    masks = IMAGES[..., :1]
    crop = data.Augment([layers.RandomCrop(5, 5), layers.RandomFlip()], scale=1.0, offset=0.0)
    batches = data.Batches(IMAGES, masks, augment=crop, target="segmentation_masks", workers=1)
    for x, y in batches.epoch(0):
        assert (y.dtype, y.shape[1:]) == (np.uint8, (5, 5, 1))
        np.testing.assert_array_equal(x[..., :1], y)
    assert [each.shape for each in batches.like()] == [(50, 5, 5, 3), (50, 5, 5, 1)]


def test_a_model_fits_augmented_batches():
    results = []
    for workers in (0, 2):
        tapwise.set_random_seed(1)
        model = tapwise.Sequential([tapwise.Input((6, 6, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        augment = data.Augment([layers.RandomCrop(6, 6), layers.MixUp()], seed=1)
        batches = data.Batches(IMAGES, np.eye(3, dtype=np.float32)[LABELS], augment=augment, workers=workers)
        history = model.fit(batches, epochs=2, verbose=0)
        results.append([*model.get_weights(), *history.history.values()])
    assert_same(*results)


def test_work_goes_on_ahead_of_the_caller_but_not_further():
    begun = []
    drawn = ahead(lambda i: begun.append(i) or i, 20, workers=2, prefetch=3)
    assert next(drawn) == 0
    deadline = time.monotonic() + 10
    while len(begun) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert sorted(begun) == [0, 1, 2, 3, 4]
    assert list(drawn) == list(range(1, 20))


def test_workers_work_at_the_same_time():
    """Each of two batches waits for the other to have begun."""
    barrier = threading.Barrier(2, timeout=10)
    assert len(list(ahead(lambda i: barrier.wait(), 4, workers=2))) == 4


def broken(i):
    if i == 3:
        raise OSError("image 3 can't be read")
    return i


def test_an_exception_in_a_worker_comes_with_its_traceback():
    drawn = ahead(broken, 10, workers=2)
    assert [next(drawn) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="image 3 can't be read") as caught:
        next(drawn)
    assert "broken" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert ours() == []


def test_a_model_goes_on_after_a_broken_epoch():
    model = compiled()

    def batches():
        yield X[:5], Y[:5]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        model.fit(batches(), steps_per_epoch=3, verbose=0)
    assert ours() == []
    model.fit(X, Y, verbose=0)


def test_closing_stops_the_threads():
    drawn = data.Batches(IMAGES, LABELS, batch_size=1, workers=2, augment=AUGMENT).epoch(0)
    next(drawn)
    assert ours()
    drawn.close()
    assert ours() == []


def test_ctrl_c_stops_the_threads():
    """While the caller waits for a worker that takes its time. A job in the background would ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    drawn = ahead(lambda i: time.sleep(0.4), 100, workers=2)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(drawn)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 5
    assert ours() == []


class Sequence:
    """As keras.utils.PyDataset."""

    def __init__(self):
        self.ends = 0

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return X[6 * i : 6 * i + 6], Y[6 * i : 6 * i + 6]

    def on_epoch_end(self):
        self.ends += 1


def generator():
    while True:
        yield from (Sequence()[i] for i in range(4))


def test_fit_takes_generators_and_sequences():
    results = []
    source = Sequence()
    for given in (
        {"x": data.Batches(X, Y, batch_size=6, shuffle=False)},
        {"x": generator(), "steps_per_epoch": 4},
        {"x": source},
        {"x": data.Stream(generator(), 4, workers=0)},
    ):
        tapwise.set_random_seed(2)
        model = compiled()
        history = model.fit(**given, epochs=3, validation_data=(X, Y), verbose=0)
        assert history.params["steps"] == 4
        results.append([*model.get_weights(), *history.history.values()])
    for other in results[1:]:
        assert_same(results[0], other)
    assert source.ends == 3


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (ValueError, lambda: data.Stream(generator()), "steps_per_epoch must be given for a generator"),
        (ValueError, lambda: data.Stream(Sequence(), 5), "an epoch must have steps >= 1 and at most 4, got 5"),
        (ValueError, lambda: data.Stream(iter(()), 2), "the generator gave no batch"),
        (TypeError, lambda: data.Stream(7), "source must be an iterator or have __len__ and __getitem__, got int"),
        (TypeError, lambda: data.Stream(iter([X]), 1), r"must be \(x, y\) or \(x, y, sample_weight\), got ndarray"),
        (TypeError, lambda: data.Stream(iter([(X,)]), 1), r"a batch must be \(x, y\) or .*, got 1 parts"),
        (
            ValueError,
            lambda: compiled().fit(iter([(X, Y)] * 5), epochs=3, steps_per_epoch=2, verbose=0),
            "the generator ended after 1 of 2 steps of epoch 3",
        ),
        (ValueError, lambda: compiled().fit(iter([(X, Y + 90)]), steps_per_epoch=1, verbose=0), "y must"),
        (ValueError, lambda: compiled().fit(generator(), Y, steps_per_epoch=1), "y and validation_split must be left"),
        (ValueError, lambda: data.Batches(IMAGES, LABELS, workers=-1), "workers and prefetch must be >= 0, got -1"),
        (
            ValueError,
            lambda: data.Batches(IMAGES, LABELS, augment=AUGMENT, scale=2.0),
            "augment needs one array of items and one of targets; scale and dtype are its own",
        ),
        (ValueError, lambda: data.Batches(IMAGES[0], LABELS[:9], augment=AUGMENT), "images must be uint8 or float"),
        (ValueError, lambda: data.Batches(IMAGES, LABELS, augment=AUGMENT, target="depth"), "images may come with"),
        (
            ValueError,
            lambda: data.Batches(IMAGES, LABELS, augment=data.Augment([layers.MixUp()])),
            r"labels must be one-hot \(n, classes\)",
        ),
    ],
)  # fmt: skip
def test_rejects(error, make, message):
    with pytest.raises(error, match=message):
        make()
