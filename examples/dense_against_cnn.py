"""Why convolution: a dense network and a CNN of as many parameters on digits, and on digits shifted by up to 3 pixels.

    pip install ".[demo,plots]" && python examples/dense_against_cnn.py

Both train on centred digits. The dense network learns which pixels are dark; the CNN finds strokes wherever they are
and, with the maximum of each map instead of flattening, hardly notices where.
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers

matplotlib.use("Agg")
from matplotlib import pyplot

MARGIN = 3  # pixels around the 8x8 digits


def dense():
    return tapwise.Sequential(
        [
            tapwise.Input((14, 14, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Flatten(),
            layers.Dense(30, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="dense",
    )


def convolutional():
    return tapwise.Sequential(
        [
            tapwise.Input((14, 14, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(14, 3, padding="same", activation="relu"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(22, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(24, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="convolutional",
    )


def shifted(x, distance, rng):
    """Each digit moved by distance pixels, in one of eight directions."""
    if not distance:
        return x
    directions = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    moves = rng.integers(0, 8, len(x))
    steps = np.multiply(directions, distance)[moves]
    return np.stack([np.roll(image, step, (0, 1)) for image, step in zip(x, steps, strict=True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="dense_against_cnn.png")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer epochs")
    options = parser.parse_args()
    seeds, epochs = (1, 4) if options.quick else (5, 40)
    sizes = (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)
    accuracies = {"dense": [], "convolutional": []}
    counts = {}
    for seed in range(seeds):
        (x_train, y_train), (x_test, y_test) = datasets.load_digits(seed=seed)
        x_train, x_test = np.pad(x_train, sizes), np.pad(x_test, sizes)
        for make in (dense, convolutional):
            tapwise.set_random_seed(seed)
            model = make()
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            model.fit(x_train, y_train, epochs=epochs, verbose=0)
            moved = [shifted(x_test, d, np.random.default_rng(d)) for d in range(MARGIN + 1)]
            accuracies[model.name].append([model.evaluate(x, y_test, verbose=0)[1] for x in moved])
            counts[model.name] = model.count_params()

    columns = ["centred", *(f"shifted by {d}" for d in range(1, MARGIN + 1))]
    print(f"accuracy on test digits, mean of {seeds} runs")
    print(f"{'network':<15}{'parameters':>11}", *(f"{column:>13}" for column in columns))
    figure, axis = pyplot.subplots(figsize=(6, 4))
    for name, runs in accuracies.items():
        means = np.mean(runs, 0)
        print(f"{name:<15}{counts[name]:>11,}", *(f"{mean:>13.1%}" for mean in means))
        axis.plot(means, "o-", label=f"{name}, {counts[name]:,} parameters")
    axis.axhline(0.1, color="gray", linestyle=":", label="guessing")
    axis.set(xlabel="shift of the test digits, pixels", ylabel="accuracy", ylim=(0, 1), xticks=range(MARGIN + 1))
    axis.set(title="trained on centred digits alone")
    axis.legend()
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
