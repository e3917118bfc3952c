"""L1 and L2: weights cost something, so that few or small ones are left; L1 prunes, L2 shrinks.

pip install ".[demo,plots]" && python examples/regularization.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers, regularizers

matplotlib.use("Agg")
from matplotlib import pyplot

RUNS = {
    "none": None,
    "L1 0.0003": regularizers.L1(3e-4),
    "L1 0.001": regularizers.L1(1e-3),
    "L2 0.001": regularizers.L2(1e-3),
    "L2 0.01": regularizers.L2(1e-2),
    "L1 0.0003 + L2 0.001": regularizers.L1L2(3e-4, 1e-3),
}


def trained(x, y, test, regularizer, epochs):
    tapwise.set_random_seed(0)
    model = tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu", kernel_regularizer=regularizer),
            layers.Flatten(),
            layers.Dense(64, activation="relu", kernel_regularizer=regularizer),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=epochs, validation_data=test, verbose=0).history
    return model, history


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="regularization.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    (x, y), test = datasets.load_digits()
    x, y = x[:300], y[:300]  # few examples for many weights
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    print(f"{'regularizer':<22}{'training':>10}{'test':>8}{'weights below 0.001':>21}{'rms weight':>12}")
    for name, regularizer in RUNS.items():
        model, history = trained(x, y, test, regularizer, 3 if options.quick else 60)
        kernel = model.layers[3].get_weights()[0].ravel()
        small, size = np.mean(np.abs(kernel) < 1e-3), np.sqrt(np.mean(kernel**2))
        scores = history["accuracy"][-1], history["val_accuracy"][-1]
        print(f"{name:<22}{scores[0]:>10.1%}{scores[1]:>8.1%}{small:>21.1%}{size:>12.4f}")
        left.plot(np.arange(1, len(history["loss"]) + 1), history["val_accuracy"], label=name)
        right.hist(np.abs(kernel), np.logspace(-5, 0, 60), histtype="step", label=name)
    left.set(xlabel="epoch", ylabel="test accuracy", ylim=(0.8, 0.92), title="300 digits to train on")
    right.set(xlabel="|weight| of the first dense layer", ylabel="weights", xscale="log", title="L1 prunes, L2 shrinks")
    right.axvline(1e-3, color="gray", linestyle=":")
    left.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
