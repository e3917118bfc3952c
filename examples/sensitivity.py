"""How a score changes with single pixels, for a dense network and a CNN on digits, and why that isn't enough.

    pip install ".[demo,explain]" && python examples/sensitivity.py

Both networks read the same digits, in the middle of the picture or moved by two pixels. The dense network's sensitivity
lies where digits were in training, wherever this one is; the CNN's goes with the digit. But it is scattered over single
pixels: Grad-CAM's map, of the last maps that the CNN makes, is coarse and shows where to look.
"""

import argparse

import numpy as np

import tapwise
from tapwise import datasets, explain, layers
from tapwise.explain import draw

MARGIN, MOVE = 3, 2  # pixels around the 8x8 digits, and how far one is moved


def dense():
    rows = [layers.Flatten(), layers.Dense(30, activation="relu")]
    return tapwise.Sequential([tapwise.Input((14, 14, 1)), layers.Rescaling(1 / 8, -1), *rows, last()], name="dense")


def convolutional():
    rows = [layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in (14, 16, 22)]
    rows += [layers.GlobalMaxPooling2D(), layers.Dense(24, activation="relu")]
    return tapwise.Sequential([tapwise.Input((14, 14, 1)), layers.Rescaling(1 / 8, -1), *rows, last()], name="CNN")


def last():
    return layers.Dense(10, activation="softmax")


def near(x):
    """(n, h, w): where a pixel, or one beside it, is inked."""
    ink = np.pad(x[..., 0] > 0, ((0, 0), (1, 1), (1, 1)))
    return np.any([ink[:, i : i + 14, j : j + 14] for i in range(3) for j in range(3)], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="sensitivity.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    (x_train, y_train), (x_test, y_test) = datasets.load_digits(seed=0)
    sizes = (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)
    x_train, x_test = np.pad(x_train, sizes), np.pad(x_test, sizes)
    tests = {"centred": x_test, "moved": np.roll(x_test, (MOVE, MOVE), (1, 2))}
    pictures, titles = [], []
    print(f"{'network':<10}{'digits':<10}{'accuracy':>9}{'sensitivity on or beside the ink':>34}")
    for make in (dense, convolutional):
        tapwise.set_random_seed(0)
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x_train, y_train, epochs=5 if options.quick else 40, verbose=0)
        for name, x in tests.items():
            found = explain.saliency(model, x, classes=y_test[:, None])
            shares = [each.evidence()[ink].sum() for each, ink in zip(found, near(x), strict=True)]
            accuracy = model.evaluate(x, y_test, verbose=0)[1]
            print(f"{model.name:<10}{name:<10}{accuracy:>9.1%}{np.mean(shares):>34.1%}")
            shown = [found[3], *explain.saliency(model, x[3], classes=int(y_test[3]), kind="integrated")]
            if make is convolutional:
                shown += explain.grad_cam(model, x[3], classes=int(y_test[3]))
            pictures += [each.draw() for each in shown] + [np.full_like(shown[0].draw(), 255)] * (3 - len(shown))
            titles += [f"{model.name}, {name}\n{each.method}" for each in shown] + ["\n"] * (3 - len(shown))
    draw.save_png(options.figure, draw.grid(pictures, titles, columns=6))
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
