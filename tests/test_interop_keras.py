"""interop.keras: Keras on its NumPy backend gives JAX's results on our kernels; on PyTorch it is interop.torch's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tapwise import interop

torch = pytest.importorskip("torch", reason="pip install torch")
pytest.importorskip("jax", reason="pip install jax")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="pip install keras")

# half a minute
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


@pytest.fixture(scope="module")
def cases():
    """What the program found: Keras' backend is chosen once in a process, and this one's is PyTorch."""
    program = Path(__file__).with_name("keras_on_numpy.py")
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_operations_and_networks_on_numpy_are_keras(cases):
    compared = {name: case for name, case in cases.items() if isinstance(case, dict) and name != "float16"}
    assert len(compared) > 150
    for name, case in compared.items():
        assert case["same"], name
        assert case["fell_back"] == [], name
        assert case["error"] <= 4e-6, name
    ran = compared["a network's predict"]["ran"]
    assert ran == {
        "conv": 1, "depthwise_conv": 1, "separable_conv": 1, "conv_transpose": 1, "max_pool": 1, "average_pool": 1,
    }  # fmt: skip
    assert compared["MobileNetV2"]["ran"] == {"conv": 35, "depthwise_conv": 17}


def test_what_is_not_ours_is_keras_and_counted(cases):
    assert cases["float16"]["error"] == 0
    assert cases["float16"]["fell_back"] == ["conv: float16"]
    assert "float16" in cases["float16"]["text"]
    theirs, ours = cases["refusal"]
    assert theirs is not None
    assert ours == theirs
    assert cases["restored"]


def test_another_backend_is_refused():
    with pytest.raises(ValueError, match=r"must be numpy .KERAS_BACKEND=numpy., got torch: interop.torch.enable"):
        interop.keras.enable()
    assert not interop.keras.enabled()


def small_network():
    keras.utils.set_random_seed(2)
    k = keras.layers
    layers = [
        keras.Input((16, 16, 3)),
        k.Conv2D(8, 3, padding="same", activation="relu"),
        k.MaxPooling2D(2),
        k.SeparableConv2D(12, 3, padding="same", activation="relu"),
        k.Conv2DTranspose(6, 3, strides=2, padding="same"),
        k.AveragePooling2D(2),
        k.Flatten(),
        k.Dense(4, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def fitted(x, y):
    model = small_network()
    before = model.predict(x, verbose=0)
    loss = model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0).history["loss"]
    return [before, np.array(loss), *model.get_weights()]


def test_keras_on_pytorch_predicts_and_fits_on_our_kernels(rng):
    x, y = rng.standard_normal((16, 16, 16, 3)).astype(np.float32), rng.integers(0, 4, 16)
    theirs = fitted(x, y)
    with interop.torch.enable():
        ours = fitted(x, y)
        report = interop.torch.report()
    assert report.share == 1
    assert {"convolution", "convolution_backward", "max_pool2d_with_indices_backward"} <= set(report.ran)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * max(1, np.abs(want).max()))
