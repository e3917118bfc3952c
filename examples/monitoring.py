"""Monitoring: cost and accuracy on training and validation data, epoch by epoch; where they part, overfitting begins.

pip install ".[demo,plots]" && python examples/monitoring.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers

matplotlib.use("Agg")
from matplotlib import pyplot


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="monitoring.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    tapwise.set_random_seed(0)
    (x, y), test = datasets.load_digits()
    x, y = x[:400], y[:400].copy()
    noisy = np.random.default_rng(0).permutation(len(y))[:40]
    y[noisy] = (y[noisy] + 1) % 10  # some labels are wrong, as in life: they can only be learned by heart
    model = tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.summary()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=4 if options.quick else 60, validation_data=test, verbose=2).history
    best = int(np.argmin(history["val_loss"]))
    costs = history["val_loss"]
    print(f"lowest validation cost {costs[best]:.3f} in epoch {best + 1}, {costs[-1]:.3f} at last")

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    for axis, (key, name) in zip(axes, {"loss": "cost", "accuracy": "accuracy"}.items(), strict=True):
        epochs = np.arange(1, len(history[key]) + 1)
        axis.plot(epochs, history[key], label="training")
        axis.plot(epochs, history[f"val_{key}"], label="validation")
        axis.axvline(best + 1, color="gray", linestyle=":", label="lowest validation cost")
        axis.set(xlabel="epoch", ylabel=name, title=f"{name}: 400 digits, a tenth of the labels wrong")
        axis.legend()
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
