"""A data set whose bias is found by looking where the evidence lies: a mark in the corner goes with one class.

    pip install ".[demo,explain]" && python examples/planted_bias.py

Nearly every picture of a 3 has a small mark in its top left corner, as if one clinic of several stamped its pictures.
The network learns the mark, and its accuracy on pictures made the same way doesn't tell. The report does; without the
mark in the training pictures the network has to look at the digits.
"""

import argparse
from pathlib import Path

import numpy as np

import tapwise
from tapwise import datasets, explain, layers
from tapwise.explain import draw

SIDE, MARKED, SHARE = 20, 3, 0.95


def placed(digits, rng):
    """8x8 digits anywhere on a dark picture, but for the top rows."""
    pictures = np.zeros((len(digits), SIDE, SIDE, 1), np.float32)
    corners = np.stack([rng.integers(4, 13, len(digits)), rng.integers(0, 13, len(digits))], 1)
    for picture, digit, (i, j) in zip(pictures, digits, corners, strict=True):
        picture[i : i + 8, j : j + 8] = digit
    return pictures


def stamped(pictures, which):
    """Copies, with a mark of 2x2 pixels where `which` is true."""
    pictures = pictures.copy()
    pictures[which, 1:3, 1:3] = 16
    return pictures


def network():
    return tapwise.Sequential(
        [
            tapwise.Input((SIDE, SIDE, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(48, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )


def trained(x, y, epochs):
    tapwise.set_random_seed(0)
    model = network()
    model.compile(tapwise.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="planted_bias.png")
    parser.add_argument("--report", help="also write the report on the biased network to this .html file")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    (x_train, y_train), (x_test, y_test) = ((x[y < 5], y[y < 5]) for x, y in datasets.load_digits(seed=0))
    x_train, y_train, x_test = placed(np.repeat(x_train, 3, 0), rng), np.repeat(y_train, 3), placed(x_test, rng)
    where = {
        "as in training": (y_test == MARKED) & (rng.random(len(y_test)) < SHARE),
        "no mark": np.zeros(len(y_test), bool),
        "mark on the others": y_test != MARKED,
    }
    tests = {name: stamped(x_test, which) for name, which in where.items()}
    biased = stamped(x_train, (y_train == MARKED) & (rng.random(len(y_train)) < SHARE))

    shown, titles = [], []
    for name, x in (("trained with the mark", biased), ("mark painted over", x_train)):
        model = trained(x, y_train, 4 if options.quick else 12)
        scores = [f"{kind} {model.evaluate(test, y_test, verbose=0)[1]:.1%}" for kind, test in tests.items()]
        print(f"{name}: accuracy", ", ".join(scores))
        report = explain.bias_report(model, tests["as in training"], y_test, class_names=list("01234"))
        print(report, end="\n\n")
        if x is biased and options.report:
            report.save(options.report)
            print(f"report: {Path(options.report)}")
        three = int(np.flatnonzero(where["as in training"])[0])
        (one,) = explain.grad_cam(model, tests["as in training"][three], classes=MARKED)
        shown += [one.draw(), *(report.mean_picture(each) for each in report.classes[2:4])]
        titles += [f"{name}: a 3", "mean evidence of 2", "mean evidence of 3"]
    draw.save_png(options.figure, draw.grid(shown, titles, columns=3))
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
