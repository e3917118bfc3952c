"""Dropout at rates of 0 to 0.7: the network can't lean on single neurons, up to where too few are left.

pip install ".[demo,plots]" && python examples/dropout.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers

matplotlib.use("Agg")
from matplotlib import pyplot

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def trained(rate, seed, epochs):
    (x, y), test = datasets.load_digits(seed=seed)
    tapwise.set_random_seed(seed)
    model = tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(rate),
            layers.Dense(128, activation="relu"),
            layers.Dropout(rate),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:200], y[:200], epochs=epochs, verbose=0)
    return [model.evaluate(*each, verbose=0) for each in ((x[:200], y[:200]), test)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="dropout.png")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer epochs")
    options = parser.parse_args()
    seeds, epochs = (1, 3) if options.quick else (5, 100)
    print(f"200 digits, mean of {seeds} runs\n{'rate':>5}{'cost: training':>16}{'test':>8}{'accuracy: test':>16}")
    costs, accuracies = [], []
    for rate in RATES:
        means = np.mean([trained(rate, seed, epochs) for seed in range(seeds)], 0)
        costs.append(means[:, 0])
        accuracies.append(means[1, 1])
        print(f"{rate:>5}{means[0, 0]:>16.4f}{means[1, 0]:>8.3f}{means[1, 1]:>16.1%}")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(RATES, costs, "o-", label=["training", "test"])
    left.set(xlabel="dropout rate", ylabel="cost", yscale="log", title=f"200 digits, mean of {seeds} runs")
    left.legend()
    right.plot(RATES, accuracies, "o-")
    right.set(xlabel="dropout rate", ylabel="test accuracy", title=f"after {epochs} epochs")
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
