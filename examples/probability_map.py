"""Probability map: where in a section of tissue are stained glands? A classifier of patches, moved over all of it.

The network sees grey patches of the left half; a patch's label is whether it holds brown stain. The map is of the whole
section, and its right half is held against the stain there.

pip install ".[explain]" scikit-image && python examples/probability_map.py
"""

import argparse

import numpy as np
from skimage import color, data

import tapwise
from tapwise import explain, layers, optimizers

PATCH, STAINED = 32, 0.035  # pixels; the stain's mean concentration


def network():
    """Valid padding and strides of 4 in all: patches 4 pixels apart share their work and lose nothing."""
    return tapwise.Sequential(
        [
            tapwise.Input((PATCH, PATCH, 1)),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(32, activation="relu"),
            layers.Dense(2, activation="softmax"),
        ]
    )


def stained(stain, step):
    """Whether each patch is, step pixels apart: (rows, columns)."""
    windows = np.lib.stride_tricks.sliding_window_view(stain, (PATCH, PATCH))[::step, ::step]
    return windows.mean((2, 3)) > STAINED


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="probability_map.png")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args()
    tapwise.set_random_seed(0)
    section = data.immunohistochemistry()
    grey = (color.rgb2gray(section) * 255).astype(np.uint8)
    stain = color.rgb2hed(section)[..., 2]
    half = grey.shape[1] // 2

    labels = stained(stain[:, :half], 4)
    windows = np.lib.stride_tricks.sliding_window_view(grey[:, :half], (PATCH, PATCH))[::4, ::4]
    x, y = windows.reshape(-1, PATCH, PATCH, 1), labels.reshape(-1).astype(np.int32)
    model = network()
    model.compile(optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=1 if options.quick else 8, verbose=2)

    found = explain.probability_map(model, grey, stride=4)
    print(found)
    print(f"{found.seconds:.2f} s; a patch by itself differs by {found.deviation:.1e} at most")
    right = slice(-(-half // 4), None)  # patches that begin in the other half
    told = found.of_class(1)[:, right] > 0.5
    truth = stained(stain, 4)[:, right]
    print(f"right half: {(told == truth).mean():.1%} of {truth.size:,} patches as the stain has it")
    found.save(options.figure, section, 1, label="gland")
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
