"""Why inputs are normalized: the same network on the same digits, whose pixels come in five ranges.

pip install ".[demo,plots]" && python examples/normalization.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import datasets, layers, optimizers

matplotlib.use("Agg")
from matplotlib import pyplot

RANGES = {"[-1, 1]": (-1, 1), "[0, 1]": (0, 1), "[0, 16]": (0, 16), "[0, 255]": (0, 255), "[999, 1001]": (999, 1001)}


def trained(x, y, epochs, *first):
    tapwise.set_random_seed(0)
    model = tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            *first,
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(x, y, epochs=epochs, validation_split=0.2, verbose=0).history


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="normalization.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    epochs = 3 if options.quick else 30
    (digits, y), _ = datasets.load_digits()
    figure, axis = pyplot.subplots(figsize=(8, 4.5))
    for name, (low, high) in RANGES.items():
        x = low + digits.astype(np.float32) * np.float32((high - low) / 16)
        runs = {name: ()}
        if high > 16:
            normalization = layers.Normalization(axis=None)
            normalization.adapt(x)
            runs[f"{name}, Normalization layer"] = (normalization,)
        for label, first in runs.items():
            history = trained(x, y, epochs, *first)
            print(f"pixels in {label}: validation accuracy {history['val_accuracy'][-1]:.1%}")
            style = "--" if first else ":" if high > 255 else "-"  # dotted over a line that it coincides with
            axis.plot(np.arange(1, epochs + 1), history["val_accuracy"], style, label=label)
    axis.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1), title="SGD, the same learning rate for all")
    axis.legend(title="pixels in")
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
