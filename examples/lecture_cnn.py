"""The lecture's convolution by hand, then a dense network and a CNN of the same size on handwritten digits.

pip install "tapwise[demo]" && python examples/lecture_cnn.py
"""

import numpy as np

import tapwise
from tapwise import datasets, layers


def worked_example():
    """A kernel that looks for vertical lines slides over the image of a T; ReLU and pooling keep what it finds."""
    image = np.zeros((7, 7), np.float32)
    image[1, 2:5] = 1
    image[2:6, 3] = 1
    kernel = np.array([[-1, 2, 0]] * 3, np.float32)

    model = tapwise.Sequential([tapwise.Input((7, 7, 1)), layers.Conv2D(1, 3), layers.ReLU(), layers.MaxPooling2D()])
    model.set_weights([kernel[:, :, None, None], np.zeros(1)])
    x = image[None, :, :, None]
    print("image\n", image.astype(int), "\nkernel\n", kernel.astype(int), sep="")
    for layer in model.layers:
        x = layer(x)
        print(f"{layer.name}\n{x[0, :, :, 0].astype(int)}")


def dense_network():
    return tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),  # pixels 0..16 to [-1, 1]
            layers.Flatten(),
            layers.Dense(70, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="dense",
    )


def convolutional_network():
    return tapwise.Sequential(
        [
            tapwise.Input((8, 8, 1)),
            layers.Rescaling(1 / 8, -1),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(28, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
        name="convolutional",
    )


def compare_on_digits():
    (x_train, y_train), (x_test, y_test) = datasets.load_digits()
    shifted = np.roll(x_test, 1, axis=2)  # one pixel to the right; the outer columns are nearly always empty
    accuracies = {}
    for model in (dense_network(), convolutional_network()):
        model.summary()
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x_train, y_train, batch_size=16, epochs=15, validation_split=0.1, verbose=2)
        accuracies[model.name] = [model.evaluate(x, y_test, verbose=0)[1] for x in (x_test, shifted)]
    print(f"\n{'network':<15}{'test digits':>12}{'shifted by one pixel':>22}")
    for name, (plain, moved) in accuracies.items():
        print(f"{name:<15}{plain:>12.1%}{moved:>22.1%}")


if __name__ == "__main__":
    tapwise.set_random_seed(0)
    worked_example()
    compare_on_digits()
