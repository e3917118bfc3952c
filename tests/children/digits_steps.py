"""Losses of 20 steps of a small CNN on digits, on the native backend and on cuda-emulated, must agree to 1e-4.

And so on a device, where its arrays stay: what is copied are a batch there, and what the loss needs back.
"""

import sys
from pathlib import Path

import numpy as np

import tapwise
from tapwise import layers

sys.path.insert(0, str(Path(__file__).parents[1]))
from device_arrays import DeviceArray, emulated_device

STEPS, BATCH = 20, 32


def losses(backend, device="cpu"):
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
        model.to(device)
        batches = [slice(i * BATCH, (i + 1) * BATCH) for i in range(STEPS)]
        found = np.array([model.train_on_batch(x[at], y[at]) for at in batches], np.float64)
        kind = DeviceArray if device == "cuda" else np.ndarray
        arrays = [weight.value for weight in model.weights] + [weight.gradient for weight in model.trainable_weights]
        states = [array for state in model.optimizer.state.values() for array in state.values()]
        assert {type(array) for array in (*arrays, *states)} == {kind}
        assert model.predict(x[:40], verbose=0).shape == (40, 10)
        weights = model.get_weights()
        model.to("cpu")
        assert all(map(np.array_equal, weights, model.get_weights()))
        return found


native, emulated = losses("native"), losses("cuda-emulated")
assert native[-1] < native[0]
np.testing.assert_allclose(emulated, native, rtol=0, atol=1e-4)
with emulated_device() as memory:
    on_device = losses("native", "cuda")
np.testing.assert_allclose(on_device, native, rtol=0, atol=1e-4)
print(f"{native[0]:.4f} to {native[-1]:.4f}, at most {np.abs(emulated - native).max():.1e} apart")
