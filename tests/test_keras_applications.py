"""Every network that Keras has, against Keras itself on its torch backend: names and order of weights, and logits.

Weights, biases and statistics of normalization are random, so that nothing can be left out or exchanged unseen. Two
minutes, half of it for the three in the slow tier, and 2 GB.
"""

import os

import numpy as np
import pytest

import tapwise
from tapwise import applications, initializers, layers

torch = pytest.importorskip("torch", reason="pip install torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="pip install keras")
pytest.importorskip("h5py", reason="pip install h5py")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = [name for name in applications.__all__ if hasattr(keras.applications, name)]
KINDS = (".weights.h5", ".keras", ".h5")
SIZES = {"InceptionV3": 107, "InceptionResNetV2": 107, "Xception": 95}
NASNET = {"NASNetMobile": (1056, 4, 32, False, 2, 224), "NASNetLarge": (4032, 6, 96, True, 2, 331)}


def randomize(model, rng):
    """Kernels that keep the size of signals, and no bias or statistic of 0 or 1."""
    for layer in model.layers:
        for weight in layer.weights:
            v = weight.value
            if weight.name in ("gamma", "moving_variance", "variance"):
                v[...] = rng.uniform(0.5, 1.5, v.shape)
            elif v.ndim < 2:
                v[...] = 0.2 * rng.standard_normal(v.shape)
            else:
                by_depth = isinstance(layer, layers.DepthwiseConv2D) or weight.name == "depthwise_kernel"
                rng.standard_normal(v.shape, np.float32, out=v)
                v *= np.float32(np.sqrt(2 / (v.shape[0] * v.shape[1] if by_depth else v.size // v.shape[-1])))


def tier(name):
    return "slow" if name in ("NASNetLarge", "ResNet152", "ResNet152V2") else "peers"


def of_keras(name, size):
    shape = (size, size, 3)
    if name in NASNET:  # keras.applications refuses NASNetMobile on torch, though what it is made of works
        from keras.src.applications.nasnet import NASNet

        *sizes, default = NASNET[name]
        return NASNet(shape, *sizes, weights=None, default_size=default, classifier_activation=None)
    return getattr(keras.applications, name)(weights=None, input_shape=shape, classifier_activation=None)


@pytest.mark.parametrize("name", [pytest.param(n, marks=getattr(pytest.mark, tier(n))) for n in NAMES])
def test_logits_are_keras(name, rng, tmp_path):
    """With the weights in a file that Keras has written."""
    size = SIZES.get(name, 64)
    keras.backend.clear_session()
    theirs = of_keras(name, size)
    given = {"input_shape": (size, size, 3), "classifier_activation": None}
    with initializers.postponed():
        ours = getattr(applications, name)(**given)
    assert ours.count_params() == theirs.count_params()
    named = [f"{layer.name}/{weight.name}" for layer in ours.layers for weight in layer.weights]
    assert named == ["/".join(weight.path.split("/")[-2:]) for weight in theirs.weights]
    randomize(ours, rng)
    theirs.set_weights(ours.get_weights())
    file = tmp_path / f"network{KINDS[NAMES.index(name) % 3]}"
    (theirs.save_weights if file.name.endswith(".weights.h5") else theirs.save)(file)
    ours = getattr(applications, name)(weights=file, **given)
    file.unlink()
    x = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    x = 127.5 * (x + 1) if name.startswith("Efficient") else x
    with torch.no_grad():
        want = theirs(torch.from_numpy(x), training=False).numpy()
    deviation = want.std()
    assert np.abs(want[0] - want[1]).max() > 100 * 1e-4 * deviation
    np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-4 * deviation)


@pytest.mark.peers
@pytest.mark.parametrize("family", ["vgg16", "resnet", "resnet_v2", "inception_v3", "xception", "densenet", "nasnet"])
def test_preprocessing_is_keras(family, rng):
    x = rng.integers(0, 256, (2, 5, 4, 3), np.uint8)
    want = getattr(keras.applications, family).preprocess_input(x.copy())
    np.testing.assert_allclose(getattr(applications, family).preprocess_input(x), want, rtol=1e-6, atol=1e-5)


@pytest.mark.peers
def test_weights_of_branches_are_in_keras_order():
    """Names are numbered as layers were made; weights come by the longest way to an output."""

    def made(layers, Input, Model):
        x = Input((8, 8, 2))
        late, shared = layers.Conv2D(3, 3), layers.Dense(3)
        early = layers.Conv2D(3, 3)(x)
        other = layers.Dense(3)(layers.Activation("relu")(late(x)))
        y = layers.Add()([shared(other), shared(early)])
        z = layers.Concatenate()([layers.Dense(2)(early), y])
        model = Model(x, [layers.Flatten()(z), layers.Dense(4)(early)])
        return [(layer.name, layer.count_params()) for layer in model.layers][1:]

    keras.backend.clear_session()
    assert made(layers, tapwise.Input, tapwise.Model) == made(keras.layers, keras.Input, keras.Model)


@pytest.mark.peers
def test_alexnet_is_pytorchs_of_one_column(tmp_path, rng):
    """Read from a state dict in torchvision's order; its first linear module reads maps channel by channel."""
    nn = torch.nn
    convolutions = [
        (3, 64, 11, 4, 2),
        (64, 192, 5, 1, 2),
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
    ]
    features = []
    for number, (ci, co, kernel, strides, padding) in enumerate(convolutions):
        features += [nn.Conv2d(ci, co, kernel, strides, padding), nn.ReLU()]
        features += [nn.MaxPool2d(3, 2)] if number in (0, 1, 4) else []
    dense = [nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    theirs = nn.Sequential(
        nn.Sequential(*features), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Sequential(*dense, nn.Linear(4096, 50))
    ).eval()
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    ours = applications.AlexNet(classes=50, classifier_activation=None, weights=tmp_path / "alexnet.pth")
    (tmp_path / "alexnet.pth").unlink()
    assert ours.count_params() == sum(p.numel() for p in theirs.parameters())
    x = rng.standard_normal((2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        want = theirs(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-4 * want.std())
