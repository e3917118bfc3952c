"""Prints the page faults of 20 steps of a residual network after the first ones, and by how much memory has grown."""

import gc
import resource
from pathlib import Path

import numpy as np

import tapwise
from tapwise import layers

tapwise.set_random_seed(0)
x = inputs = tapwise.Input((32, 32, 3))
x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
y = layers.Conv2D(16, 3, padding="same")(x)
y = layers.Multiply()([layers.Maximum()([x, y]), layers.Subtract()([y, layers.Average()([x, y])])])
x = layers.Concatenate()([x, y])
x = layers.Dropout(0.25)(layers.Flatten()(x))
model = tapwise.Model(inputs, layers.Dense(10, activation="softmax")(x))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(0)
images, labels = rng.random((64, 32, 32, 3), np.float32), rng.integers(0, 10, 64)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(10):
    model.train_on_batch(images, labels)
gc.collect()
before = faults(), resident()
for _ in range(20):
    model.train_on_batch(images, labels)
after = faults(), resident()
print(after[0] - before[0], after[1] - before[1])
