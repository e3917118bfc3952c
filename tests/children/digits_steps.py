"""Losses of 20 steps of a small CNN on digits, on the native backend and on cuda-emulated, must agree to 1e-4."""

import numpy as np

import tapwise
from tapwise import layers

STEPS, BATCH = 20, 32


def losses(backend):
    with tapwise.backend.use(backend):
        tapwise.random.set_random_seed(0)
        (x, y), _ = tapwise.datasets.load_digits(seed=0)
        model = tapwise.Sequential(
            [
                layers.Input(x.shape[1:]),
                layers.Conv2D(8, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 3, padding="same", activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dropout(0.1),
                layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        batches = [slice(i * BATCH, (i + 1) * BATCH) for i in range(STEPS)]
        return np.array([model.train_on_batch(x[at], y[at]) for at in batches], np.float64)


native, emulated = losses("native"), losses("cuda-emulated")
assert native[-1] < native[0]
np.testing.assert_allclose(emulated, native, rtol=0, atol=1e-4)
print(f"{native[0]:.4f} to {native[-1]:.4f}, at most {np.abs(emulated - native).max():.1e} apart")
