"""Clothes: 60,000 pictures, augmentation and batch normalization.

apt-get install dataset-fashion-mnist && pip install ".[plots]" && python examples/fashion_mnist.py

Six convolutions, 289,066 parameters; --residual takes eight with two residual blocks, 1,063,738 parameters.
Trains on 55,000 of the training images and measures on the other 5,000, by which the choices below were made. --test
looks at the test images at the end, once. An image's scores are the mean of its own and its mirror image's.
"""

import argparse
import time

import matplotlib
import numpy as np

import tapwise
from tapwise import data, datasets, layers

matplotlib.use("Agg")

BATCH = 128
CHANGES = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.08, 0.08, "constant"), layers.RandomErasing(0.5)]


def normalized(x, channels):
    return layers.BatchNormalization()(layers.Conv2D(channels, 3, padding="same", use_bias=False)(x))


def unit(x, channels):
    return layers.ReLU()(normalized(x, channels))


def block(x, channels):
    return layers.ReLU()(layers.Add()([x, normalized(unit(x, channels), channels)]))


def network(width, residual):
    images = tapwise.Input((28, 28, 1))
    x = unit(unit(images, width), width)
    for channels in (2 * width, 4 * width):
        x = unit(layers.MaxPooling2D()(x), channels)
        x = block(x, channels) if residual else unit(x, channels)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return tapwise.Model(images, layers.Dense(10, activation="softmax")(x))


def accuracy(model, images, labels):
    scores = model.predict(images, verbose=0) + model.predict(images[:, :, ::-1], verbose=0)
    return np.mean(np.argmax(scores, axis=1) == labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="fashion_mnist.png")
    parser.add_argument("--epochs", type=int, help="24, with --residual 36")
    parser.add_argument("--residual", action="store_true", help="the larger network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="look at the test images too")
    parser.add_argument("--backup", metavar="FOLDER", help="keep each epoch's state there, and go on from it")
    parser.add_argument("--quick", action="store_true", help="2,000 images, one epoch")
    options = parser.parse_args()
    (x, y), test = datasets.load_fashion_mnist()
    held_out = np.arange(len(x)) % 12 == 0
    judged = {"held-out": (x[held_out], y[held_out])}
    x, y = x[~held_out], y[~held_out]
    if options.test:
        judged["test"] = test
    judged = {name: (data.Augment([])(images), labels) for name, (images, labels) in judged.items()}
    epochs = options.epochs or (36 if options.residual else 24)
    if options.quick:
        x, y, epochs = x[:2000], y[:2000], 1

    tapwise.set_random_seed(options.seed)
    model = network(48 if options.residual else 32, options.residual)
    steps = epochs * -(-len(x) // BATCH)
    rate = tapwise.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=0.004, warmup_steps=steps // 10
    )
    optimizer = tapwise.optimizers.AdamW(rate, weight_decay=0.02, use_ema=False)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = data.Batches(x, y, batch_size=BATCH, seed=options.seed, augment=data.Augment(CHANGES), workers=1)
    start = time.perf_counter()
    backup = [tapwise.callbacks.BackupAndRestore(options.backup)] if options.backup else []
    history = model.fit(batches, epochs=epochs, validation_data=judged["held-out"], callbacks=backup)
    print(f"{model.count_params():,} parameters, {epochs} epochs, {time.perf_counter() - start:.0f} s")
    for name, (images, labels) in judged.items():
        print(f"{accuracy(model, images, labels):.2%} of {len(images):,} {name} images")
    history.plot(options.figure)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
