"""Early stopping: training ends when the validation cost stagnates, and the weights of the best epoch come back.

pip install ".[demo,plots]" && python examples/early_stopping.py
"""

import argparse

import numpy as np

import tapwise
from tapwise import callbacks, datasets, layers


def network():
    return tapwise.Sequential(
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="early_stopping.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    (x, y), test = datasets.load_digits()
    x, y = x[:400], y[:400].copy()
    wrong = np.random.default_rng(0).permutation(300)[:40]
    y[wrong] = (y[wrong] + 1) % 10  # wrong labels among the training digits: they can only be learned by heart
    stop = callbacks.EarlyStopping(monitor="val_loss", patience=8, restore_best_weights=True)
    for name, chosen in (("to the end", []), ("stopped early", [stop])):
        tapwise.set_random_seed(0)
        model = network()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(
            x, y, epochs=4 if options.quick else 100, validation_split=0.25, callbacks=chosen, verbose=0
        )
        cost, accuracy = model.evaluate(*test, verbose=0)
        print(f"{name}: {len(history.epoch)} epochs, test cost {cost:.3f}, accuracy {accuracy:.1%}")
        if not chosen:
            figure = history.plot()
    for axes, name in zip(figure.axes, ("cost", "accuracy"), strict=True):
        axes.axvline(len(history.epoch), color="crimson", linestyle="--", label="stopped early")
        axes.set(title=f"{name}: 300 digits, 13 % of the labels wrong")
        axes.legend()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
