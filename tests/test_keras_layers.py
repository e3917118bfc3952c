"""Every layer of layer_cases against Keras itself, on its torch backend in float64: outputs, weights, gradients."""

import inspect
import os

import numpy as np
import pytest

import tapwise
from layer_cases import CASES, inputs
from tapwise import layers

torch = pytest.importorskip("torch", reason="pip install torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="pip install keras")

# ten seconds
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


@pytest.fixture(autouse=True)
def _reference():
    tapwise.set_random_seed(3)
    with tapwise.backend.use("reference"):
        yield


def close(got, want):
    """Several of Keras' layers compute in float32 whatever they are given: the differences test has the exact bound."""
    np.testing.assert_allclose(got, want, rtol=0, atol=20 * np.finfo(np.float32).eps * max(1, np.abs(want).max()))


def tensor(array, wanted):
    return torch.tensor(array, requires_grad=wanted)


# Keras 3.15's sparsemax adds cumulative sums up: its results aren't of sum 1.
@pytest.mark.parametrize("case", [case for case in CASES if case.arguments.get("activation") != "sparsemax"], ids=str)
def test_output_and_gradients_are_keras(case, rng):
    ours = getattr(layers, case.name)(**case.arguments, dtype="float64")
    theirs = getattr(keras.layers, case.name)(**case.arguments, dtype="float64")
    x = inputs(case, rng)
    many = isinstance(x, list)
    ours(x, training=True)
    given = [tensor(a, case.name != "Embedding") for a in (x if many else [x])]
    theirs.build([a.shape for a in given] if many else tuple(given[0].shape))
    weights = [w.value + 0.1 * rng.standard_normal(w.shape) if w.trainable else w.value for w in ours.weights]
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    y = ours(x, training=True)
    want = theirs(given if many else given[0], training=True)
    close(y, want.detach().numpy())
    dy = rng.standard_normal(y.shape)
    dx = ours.backward(dy)
    if any(a.requires_grad for a in given) or theirs.trainable_weights:
        want.backward(torch.tensor(dy))
    for mine, a in zip(dx if many else [dx], given, strict=True):
        if a.requires_grad:
            close(mine, a.grad.numpy())
    for weight, w in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        close(weight.gradient, w.value.grad.numpy())
    for mine, w in zip(ours.get_weights(), theirs.get_weights(), strict=True):  # moving statistics too
        close(mine, w)


LEFT_OUT = {  # of Keras' arguments: what the specification doesn't teach
    "renorm", "renorm_clipping", "renorm_momentum", "synchronized", "lora_rank", "lora_alpha", "quantization_config",
    "weights", "antialias",
}  # fmt: skip
OURS = {"data_format": "channels_last"}


def listed(cls):
    """Positional arguments with their defaults; a default for all axes is the number that they share."""

    def one(value):
        return value[0] if isinstance(value, tuple) and value and len(set(value)) == 1 else value

    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    found = [(p.name, one(p.default)) for p in inspect.signature(cls.__init__).parameters.values() if p.kind in kinds]
    return [pair for pair in found if pair[0] not in ("self", "name", "dtype")]


def is_augmentation(name):
    """Those take what a fused pass over bytes can use, less than Keras' layers do."""
    return ".augment" in getattr(layers, name).__module__


@pytest.mark.parametrize(
    "name", sorted(n for n in layers.__all__ if hasattr(keras.layers, n) and not is_augmentation(n))
)
def test_arguments_and_defaults_are_keras(name):
    if name in ("Input", "InputLayer", "Layer"):
        return
    mine = listed(getattr(layers, name))
    theirs = [(n, d) for n, d in listed(getattr(keras.layers, name)) if n not in LEFT_OUT]
    if name == "Conv3DTranspose":  # alone there data_format stands before output_padding
        mine[4:6] = mine[5], mine[4]
    assert [n for n, _ in mine] == [n for n, _ in theirs]
    for (argument, got), (_, want) in zip(mine, theirs, strict=True):
        if want is inspect.Parameter.empty:
            continue  # we may have a default where Keras has none
        assert one_name(got) == one_name(OURS.get(argument, want)), argument


def one_name(value):
    """Keras takes class names and snake names alike."""
    return value.lower() if isinstance(value, str) else value
