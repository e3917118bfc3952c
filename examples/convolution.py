"""A convolution by hand: a kernel that looks for vertical lines slides over the image of a T; ReLU and pooling follow.

pip install ".[plots]" && python examples/convolution.py
"""

import argparse

import matplotlib
import numpy as np

import tapwise
from tapwise import layers

matplotlib.use("Agg")
from matplotlib import pyplot


def by_hand(image, kernel):
    """y[i, j] = the sum of kernel times the image's window at (i, j)."""
    size = len(image) - len(kernel) + 1
    y = np.zeros((size, size), np.float32)
    for i in range(size):
        for j in range(size):
            y[i, j] = (image[i : i + len(kernel), j : j + len(kernel)] * kernel).sum()
    return y


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="convolution.png")
    parser.add_argument("--quick", action="store_true", help="no difference here")
    options = parser.parse_args()

    image = np.zeros((7, 7), np.float32)
    image[1, 2:5] = image[2:6, 3] = 1
    kernel = np.array([[-1, 2, 0]] * 3, np.float32)
    model = tapwise.Sequential([tapwise.Input((7, 7, 1)), layers.Conv2D(1, 3), layers.ReLU(), layers.MaxPooling2D()])
    model.set_weights([kernel[:, :, None, None], np.zeros(1)])

    maps = {"image": image, "kernel": kernel}
    x = image[None, :, :, None]
    for layer in model.layers:
        x = layer(x)
        maps[layer.name] = x[0, :, :, 0].copy()
    np.testing.assert_array_equal(maps["conv2d"], by_hand(image, kernel))

    titles = {
        "image": "image", "kernel": "kernel", "conv2d": "convolution", "re_lu": "ReLU: negatives become 0",
        "max_pooling2d": "max pooling: the largest of 2x2",
    }  # fmt: skip
    figure, axes = pyplot.subplots(1, len(maps), figsize=(14, 3.2))
    for axis, (name, values) in zip(axes, maps.items(), strict=True):
        print(f"{name}\n{values.astype(int)}")
        axis.imshow(values, cmap="coolwarm", vmin=-6, vmax=6)
        for (i, j), value in np.ndenumerate(values):
            axis.text(j, i, f"{value:.0f}", ha="center", va="center")
        axis.set(title=titles[name], xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(options.figure, dpi=80)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
