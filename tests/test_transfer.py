"""Transfer learning: frozen networks, features kept in files, word vectors."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise import layers, optimizers
from tapwise.data import read_word_vectors
from tapwise.saving import features


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(5)


def base():
    x = tapwise.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(y))
    return tapwise.Model(x, layers.GlobalAveragePooling2D()(layers.ReLU()(y)), name="base")


def with_head(below):
    x = tapwise.Input((8, 8, 3))
    model = tapwise.Model(x, layers.Dense(3, activation="softmax", name="head")(below(x)))
    model.compile(optimizers.Adam(0.01, weight_decay=0.1), "sparse_categorical_crossentropy")
    return model


def data(rng, items=24):
    return rng.uniform(0, 1, (items, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, items)


def test_a_frozen_base_keeps_weights_and_statistics_and_costs_no_gradients(rng):
    below = base()
    below.trainable = False
    assert not below.trainable
    model = with_head(below)
    x, y = data(rng)
    statistics = below.get_weights()
    before = model.predict(x, verbose=0)
    with tapwise.trace() as ran:
        model.fit(x, y, epochs=3, verbose=0)
    for got, want in zip(below.get_weights(), statistics, strict=True):
        np.testing.assert_array_equal(got, want)  # no step, no decay, no moving average
    assert [w.name for w in model.trainable_weights] == ["kernel", "bias"]
    assert np.abs(model.predict(x, verbose=0) - before).max() > 0.01
    assert any(record.name == "conv" for record in ran.records)
    gradients = [record.shapes for record in ran.records if "grad" in record.name]
    assert gradients
    assert {shape for shapes in gradients for shape in shapes.values() if len(shape) > 3} == set()  # the head's alone


def test_a_frozen_base_gives_in_training_what_it_gives_in_prediction(rng):
    below = base()
    below.layers[3].set_weights([rng.uniform(0.5, 1.5, 4) for _ in range(4)])
    below.trainable = False
    x, _ = data(rng)
    model = with_head(below)
    np.testing.assert_allclose(model(x, training=True), model(x), rtol=0, atol=1e-6)
    below.trainable = True
    assert np.abs(model(x, training=True) - model(x)).max() > 1e-3


def test_fine_tuning_goes_on_from_the_frozen_weights(rng):
    """The lecture's two steps: the head alone, then everything at a low rate; statistics stay frozen."""
    below = base()
    below.trainable = False
    model = with_head(below)
    x, y = data(rng)
    model.fit(x, y, epochs=2, verbose=0)
    below.trainable = True
    for layer in below.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    model.compile(optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    before = [w.value.copy() for w in below.weights]
    model.fit(x, y, epochs=1, verbose=0)
    for layer, changed in ((below.layers[1], True), (below.layers[3], False)):
        for weight in layer.weights:
            same = any(weight.value.shape == b.shape and np.array_equal(weight.value, b) for b in before)
            assert same != changed
    assert max(np.abs(a - b).max() for a, b in zip((w.value for w in below.weights), before, strict=True)) < 0.02


def test_features_are_computed_once(tmp_path, rng, monkeypatch):
    model = base()
    x, _ = data(rng)
    want = model.predict(x, verbose=0)
    np.testing.assert_array_equal(features(model, x, tmp_path / "kept", verbose=0), want)
    (file,) = os.listdir(tmp_path / "kept")
    calls = []
    monkeypatch.setattr(model, "predict", lambda x, **how: calls.append(len(x)) or want + 1)
    np.testing.assert_array_equal(features(model, x, tmp_path / "kept"), want)
    assert calls == []
    features(model, x[:5], tmp_path / "kept")  # other images, then another weight, then a damaged file
    model.layers[1].kernel.value[0, 0, 0, 0] += 1
    features(model, x, tmp_path / "kept")
    model.layers[1].kernel.value[0, 0, 0, 0] -= 1
    assert len(os.listdir(tmp_path / "kept")) == 3
    path = tmp_path / "kept" / file
    path.write_bytes(path.read_bytes()[:-10])
    np.testing.assert_array_equal(features(model, x, tmp_path / "kept"), want + 1)
    assert calls == [5, 24, 24]


WORDS = {"the": [0.5, -1.0, 2.0], "new york": [1.5, 0.25, -3.0], "naïve": [0.0, 4.0, 1e-3]}


def lines(words):
    return "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in words.items()).encode()


def binary(words, end=b"\n"):
    return b"".join(word.encode() + b" " + np.array(row, "<f4").tobytes() + end for word, row in words.items())


@pytest.mark.parametrize(
    "content",
    [
        lines(WORDS),
        b"3 3\n" + lines(WORDS),
        b"3 3\n" + lines(WORDS).replace(b"\n", b" \r\n"),
        b"3 3\n" + binary({word.replace(" ", "_"): row for word, row in WORDS.items()}),
        b"3 3\n" + binary({word.replace(" ", "_"): row for word, row in WORDS.items()}, b""),
    ],
    ids=["GloVe", "word2vec text", "spaces at the end", "word2vec binary", "without new lines"],
)
def test_word_vectors(tmp_path, content):
    for number, stored in enumerate((content, gzip.compress(content))):
        path = tmp_path / f"{number}.vec"
        path.write_bytes(stored)
        got = read_word_vectors(path)
        assert [word.replace("_", " ") for word in got.words] == list(WORDS)
        np.testing.assert_array_equal(got.vectors, np.array(list(WORDS.values()), np.float32))
        assert read_word_vectors(path, most=2).words == got.words[:2]
        assert read_word_vectors(path, ["naïve", "missing"]).words == ["naïve"]


def test_word_vectors_fill_an_embedding(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(lines(WORDS))
    matrix = read_word_vectors(path).matrix(["", "The", "naïve", "unknown"], seed=1)
    np.testing.assert_array_equal(matrix[1:3], np.array([WORDS["the"], WORDS["naïve"]], np.float32))
    assert np.abs(matrix[[0, 3]]).min() > 0
    start = tapwise.initializers.Constant(matrix)
    model = tapwise.Sequential([layers.Input((2,)), layers.Embedding(4, 3, start, trainable=False)])
    np.testing.assert_array_equal(model(np.array([[2.0, 1.0]], np.float32))[0], matrix[[2, 1]])
    again = tapwise.Sequential.from_config(model.get_config())
    np.testing.assert_array_equal(again.get_weights()[0], matrix)
    with pytest.raises(ValueError, match=r"value must have the shape of the weights, \(5, 3\), got \(4, 3\)"):
        tapwise.Sequential([layers.Input((2,)), layers.Embedding(5, 3, start)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with the numbers of words and dimensions"),
        (b"\x00\x01\x02", "must begin with"),
        (b"3 0\n", "the dimensions must be 1 to 10000, got 0"),
        (b"3 99999999999\n", "the dimensions must be 1 to 10000, got 99999999999"),
        (b"3 3\n" + lines(WORDS)[:-7], "the vector of word 3, .* must have 3 numbers"),
        (lines(WORDS) + b"half 1.0 2.0\n", "the vector of word 4, .* must have 3 numbers"),
        (b"9000000000 3\n" + binary(WORDS), "truncated at word 4 of 9000000000"),
        (b"3 3\n" + binary(WORDS)[:-5], "truncated in the vector of word 3 of 3"),
        (b"0 3\n", "must hold a vector of one of the words, found none"),
        (gzip.compress(lines(WORDS) * 50, mtime=0)[:-20], "the gzip stream is truncated"),
    ],
)
def test_damaged_word_vectors_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.vec"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.vec: {message}"):
        read_word_vectors(path)


def test_the_examples_of_the_page_run(capsys):
    page = (Path(__file__).parents[1] / "docs" / "weights.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), {})
    told = capsys.readouterr().out
    assert (
        "doesn't fit the model, and nothing has changed; of another shape: conv2d/kernel must be (3, 3, 3, 8), got"
        in told
    )
