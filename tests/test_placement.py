"""Models moved to a device and back. What computes there needs the emulated kernels: test_cuda_emulated.py builds them
and runs this file with them."""

import importlib

import numpy as np
import pytest

import tapwise
from device_arrays import DeviceArray, emulated_device
from tapwise import layers


@pytest.fixture
def memory():
    pytest.importorskip(
        "_tapwise_cuda_emulated",
        reason="the emulated kernels are built by tests/test_cuda_emulated.py, which runs this",
    )
    with emulated_device() as memory:
        yield memory


def model(**dense):
    tapwise.random.set_random_seed(1)
    made = tapwise.Sequential(
        [
            layers.Input((6, 6, 2)), layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization(),
            layers.ReLU(), layers.AveragePooling2D(), layers.Flatten(), layers.Dense(3, activation="softmax", **dense),
        ]
    )  # fmt: skip
    made.compile(tapwise.optimizers.Adam(0.01, global_clipnorm=1.0, use_ema=True), "sparse_categorical_crossentropy")
    return made


def examples(rng):
    return rng.standard_normal((8, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, 8)


def test_a_device_that_is_not_there_changes_nothing(rng):
    if importlib.util.find_spec("tapwise.backend._cuda"):
        pytest.skip("the kernels for NVIDIA devices are built here")
    made, (x, y) = model(), examples(rng)
    with pytest.raises(ValueError, match="device must be cpu or cuda, got 'tpu'"):
        made.to("tpu")
    with pytest.raises(ValueError, match="no kernels for NVIDIA devices"):
        made.to("cuda")
    assert np.isfinite(made.train_on_batch(x, y))


def test_to_the_cpu_is_where_it_is(rng):
    one, other, (x, y) = model(), model(), examples(rng)
    other.to("cpu")
    for _ in range(3):
        assert one.train_on_batch(x, y) == other.train_on_batch(x, y)


def test_steps_go_on_where_the_model_is(rng, memory):
    """With a regularizer, a constraint, clipping and averages; there, back and there again, with the state."""
    options = {"kernel_regularizer": "l2", "kernel_constraint": tapwise.constraints.UnitNorm()}
    one, other, (x, y) = model(**options), model(**options), examples(rng)
    for device in ("cuda", "cpu", "cuda"):
        other.to(device)
        assert {type(w.value) for w in other.weights} == {DeviceArray if device == "cuda" else np.ndarray}
        for _ in range(3):
            assert other.train_on_batch(x, y) == pytest.approx(one.train_on_batch(x, y), abs=1e-5)
        np.testing.assert_allclose(other.predict(x, verbose=0), one.predict(x, verbose=0), atol=1e-5)
        assert other.evaluate(x, y, verbose=0) == pytest.approx(one.evaluate(x, y, verbose=0), abs=1e-5)


def test_files_are_the_same_wherever_the_model_is(rng, memory, tmp_path):
    made, (x, y) = model(), examples(rng)
    made.to("cuda")
    made.train_on_batch(x, y)
    made.save(tmp_path / "model.tapwise")
    made.save_weights(tmp_path / "weights.tapwise")
    found = tapwise.models.load_model(tmp_path / "model.tapwise")
    assert all(map(np.array_equal, made.get_weights(), found.get_weights()))
    found.to("cuda")
    assert found.train_on_batch(x, y) == made.train_on_batch(x, y)
    found.load_weights(tmp_path / "weights.tapwise")
    made.set_weights(found.get_weights())
    assert made.evaluate(x, y, verbose=0) == found.evaluate(x, y, verbose=0)


def test_a_step_copies_a_batch_there_and_what_the_loss_needs_back(rng, memory):
    made, (x, y) = model(), examples(rng)
    made.to("cuda")
    made.train_on_batch(x, y)
    memory.puts = memory.gets = 0
    made.train_on_batch(x, y)
    assert (memory.puts, memory.gets) == (2, 2)  # x and the gradient of the logits; the outputs and their logits
