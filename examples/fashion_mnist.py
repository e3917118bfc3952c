"""Clothes: 60,000 pictures, augmentation and batch normalization, 289,066 parameters.

apt-get install dataset-fashion-mnist && pip install ".[plots]" && python examples/fashion_mnist.py

Trains on 55,000 of the training images and measures on the other 5,000, by which the choices below were made. --test
trains on all 60,000 and looks at the test images, once.
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


def block(channels):
    for _ in range(2):
        yield layers.Conv2D(channels, 3, padding="same", use_bias=False)
        yield layers.BatchNormalization()
        yield layers.ReLU()


def network():
    parts = [tapwise.Input((28, 28, 1)), *block(32), layers.MaxPooling2D(), *block(64), layers.MaxPooling2D()]
    parts += [*block(128), layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(10, activation="softmax")]
    return tapwise.Sequential(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", default="fashion_mnist.png")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="train on all training images, measure on the test images")
    parser.add_argument("--quick", action="store_true", help="2,000 images, one epoch")
    options = parser.parse_args()
    (x, y), test = datasets.load_fashion_mnist()
    held_out = np.arange(len(x)) % 12 == 0
    judged = test if options.test else (x[held_out], y[held_out])
    if not options.test:
        x, y = x[~held_out], y[~held_out]
    if options.quick:
        x, y, options.epochs = x[:2000], y[:2000], 1

    tapwise.set_random_seed(options.seed)
    model = network()
    steps = options.epochs * -(-len(x) // BATCH)
    rate = tapwise.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=0.004, warmup_steps=steps // 10
    )
    optimizer = tapwise.optimizers.AdamW(rate, weight_decay=0.02, use_ema=False)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = data.Batches(x, y, batch_size=BATCH, seed=options.seed, augment=data.Augment(CHANGES), workers=1)
    images = data.Augment([])(judged[0])
    start = time.perf_counter()
    shown = {} if options.test else {"validation_data": (images, judged[1])}
    history = model.fit(batches, epochs=options.epochs, **shown)
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(images, judged[1], verbose=0)
    print(f"{model.count_params():,} parameters, {options.epochs} epochs, {seconds:.0f} s")
    print(f"{accuracy:.2%} of {len(images):,} {'test' if options.test else 'held-out'} images")
    history.plot(options.figure)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
