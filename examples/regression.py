"""Regression: a CNN tells by how many degrees a digit is turned. Targets are brought to [-1, 1], as inputs are.

pip install ".[demo,plots]" && python examples/regression.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import data, datasets, layers, optimizers

matplotlib.use("Agg")
from matplotlib import pyplot

LARGEST = 45.0  # degrees, to either side


def turned(images, angles):
    """Every digit by its own angle: a pipeline of one layer whose range is that angle."""
    x = (images.astype(np.uint16) * 255 // 16).astype(np.uint8)
    return np.concatenate(
        [
            data.Augment([layers.RandomRotation((angle / 360, angle / 360), "constant")])(x[i : i + 1])
            for i, angle in enumerate(angles)
        ]
    )


def network():
    return tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="regression.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    (x_train, _), (x_test, _) = datasets.load_digits()
    rng = np.random.default_rng(0)
    x, angles = np.repeat(x_train, 3, 0), rng.uniform(-LARGEST, LARGEST, (3 * len(x_train), 1))
    test_angles = rng.uniform(-LARGEST, LARGEST, (len(x_test), 1))
    x, x_test = turned(x, angles[:, 0]), turned(x_test, test_angles[:, 0])

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.5))
    print(f"mean error of the mean angle: {np.abs(test_angles - angles.mean()).mean():.1f} degrees")
    for axis, (name, scaler) in zip(axes, {"degrees": None, "[-1, 1]": tapwise.TargetScaler()}.items(), strict=True):
        tapwise.set_random_seed(0)
        model = network()
        model.compile(optimizers.SGD(0.01, momentum=0.9, clipnorm=10.0), "mse", target_scaler=scaler)
        model.fit(x, angles.astype(np.float32), epochs=2 if options.quick else 25, verbose=0)
        found = model.predict(x_test, verbose=0)  # in degrees, whatever it was trained on
        error = np.abs(found - test_angles).mean()
        print(f"targets in {name}: mean error on test digits {error:.1f} degrees")
        axis.plot(test_angles, found, ".", markersize=3)
        axis.plot([-LARGEST, LARGEST], [-LARGEST, LARGEST], "k:", label="as it is")
        title = f"targets in {name}: mean error {error:.1f} degrees"
        axis.set(xlabel="turned by, degrees", ylabel="found, degrees", title=title, ylim=(-60, 60))
        axis.legend()
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
