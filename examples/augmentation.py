"""Augmentation: each epoch sees every digit turned, shifted, zoomed, brighter or darker, and never twice the same.

pip install ".[demo,plots]" && python examples/augmentation.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import data, datasets, layers

matplotlib.use("Agg")
from matplotlib import pyplot

CHANGES = [
    layers.RandomRotation(0.03, "constant"),
    layers.RandomTranslation(0.12, 0.12, "constant"),
    layers.RandomZoom(0.1, 0.1, "constant"),
    layers.RandomContrast(0.2),
    layers.RandomBrightness(0.1),
]


def network():
    return tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="augmentation.png")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer epochs")
    options = parser.parse_args()
    seeds, epochs = (1, 4) if options.quick else (3, 60)
    figure = pyplot.figure(figsize=(11, 5))
    left, axis = figure.subfigures(1, 2)
    axis = axis.subplots()
    table = []
    for name, changes in (("as they are", []), ("augmented", CHANGES)):
        curves = []
        for seed in range(seeds):
            (x, y), (x_test, y_test) = datasets.load_digits(seed=seed)
            x, x_test = ((images.astype(np.uint16) * 255 // 16).astype(np.uint8) for images in (x[:300], x_test))
            tapwise.set_random_seed(seed)
            model = network()
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            augment = data.Augment(changes, seed=seed)
            batches = data.Batches(x, y[:300], seed=seed, augment=augment, workers=1)
            test = data.Augment([])(x_test), y_test
            curves.append(model.fit(batches, epochs=epochs, validation_data=test, verbose=0).history)
        training, tested = (np.mean([curve[key] for curve in curves], 0) for key in ("accuracy", "val_accuracy"))
        table.append(f"{name:<13}{training[-1]:>10.1%}{tested[-1]:>8.1%}")
        numbers = np.arange(1, epochs + 1)
        axis.plot(numbers, training, "--", color=f"C{len(table)}", label=f"{name}, training")
        axis.plot(numbers, tested, color=f"C{len(table)}", label=f"{name}, test")
    print(f"300 digits, mean of {seeds} runs\n{'digits':<13}{'training':>10}{'test':>8}", *table, sep="\n")
    axis.set(xlabel="epoch", ylabel="accuracy", ylim=(0.6, 1.01), title=f"300 digits, mean of {seeds} runs")
    axis.legend()
    shown = left.subplots(5, 6)
    for row, images in enumerate(shown):
        versions = [x[row : row + 1], *(augment(x[row : row + 1], epoch=epoch) for epoch in range(5))]
        for column, (place, image) in enumerate(zip(images, versions, strict=True)):
            place.imshow(image[0, :, :, 0], cmap="gray", vmin=-1 if column else 0, vmax=1 if column else 255)
            place.axis("off")
            if not row:
                place.set_title(f"epoch {column}" if column else "digit", fontsize=9)
    left.suptitle("five digits, and what each of five epochs sees")
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
