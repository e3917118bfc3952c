"""ResNet-20 from the same weights on the same batches as PyTorch in float64: gradients, and how far 20 steps drift."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tapwise

torch = pytest.importorskip("torch", reason="pip install torch")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import networks  # noqa: E402
import torch_networks  # noqa: E402

pytestmark = pytest.mark.peers  # half a minute on two free cores
STEPS, RATE, MOMENTUM = 20, 0.001, 0.9
SEEDS = range(5)


class Torch:
    """The network in PyTorch, in float32 or float64."""

    def __init__(self, weights, dtype, name="ResNet-20"):
        self.dtype = dtype
        self.model = torch_networks.NETWORKS[name]().to(dtype)
        torch_networks.take_weights(self.model, weights)
        self.optimizer = torch.optim.SGD(self.model.parameters(), RATE, momentum=MOMENTUM)

    def step(self, x, y):
        self.optimizer.zero_grad()
        images = torch.from_numpy(x).permute(0, 3, 1, 2).to(self.dtype)
        torch.nn.functional.cross_entropy(self.model(images), torch.from_numpy(y)).backward()
        self.optimizer.step()

    def trained(self):
        return [pair for pair in torch_networks.weights_of(self.model) if pair[0].requires_grad]

    def gradients(self):
        return [keras_order(tensor.grad, axes) for tensor, axes in self.trained()]

    def weights(self):
        return [keras_order(tensor.detach(), axes) for tensor, axes in self.trained()]


def keras_order(tensor, axes):
    return (tensor if axes is None else tensor.permute(axes)).double().numpy().copy()


class Ours:
    def __init__(self):
        self.model = networks.resnet20(tapwise)
        self.model.compile(tapwise.optimizers.SGD(RATE, MOMENTUM), "sparse_categorical_crossentropy")

    def step(self, x, y):
        self.model.train_on_batch(x, y)

    def gradients(self):
        return [w.gradient.astype(np.float64) for w in self.model.trainable_weights]

    def weights(self):
        return [w.value.astype(np.float64) for w in self.model.trainable_weights]


def start(seed, batch):
    """Ours, PyTorch's float32 and float64, and the batches: smooth images, whose classes are their colours."""
    tapwise.set_random_seed(seed)
    ours = Ours()
    weights = ours.model.get_weights()
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, (STEPS, batch))
    colours = rng.standard_normal((10, 1, 1, 3))
    x = colours[y] + rng.standard_normal((STEPS, batch, 8, 8, 3)).repeat(4, 2).repeat(4, 3)
    return (ours, Torch(weights, torch.float32), Torch(weights, torch.float64)), x.astype(np.float32), y


def norm(arrays):
    return np.sqrt(sum((a**2).sum() for a in arrays))


def far(one, other):
    return norm([a - b for a, b in zip(one, other, strict=True)])


def test_the_first_gradients_are_pytorchs_in_float64():
    """Each parameter's, in the median of seeds: where a ReLU's input is within rounding of 0, the mask is anyone's."""
    found = []
    for seed in SEEDS:
        engines, x, y = start(seed, 8)
        for engine in engines:
            engine.step(x[0], y[0])
        *floats, exact = (engine.gradients() for engine in engines)
        worst = [max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(g, exact, strict=True)) for g in floats]
        found.append(worst)
        print(f"seed {seed}: largest relative error {worst[0]:.1e}, PyTorch's float32 {worst[1]:.1e}")
    assert np.median(found, 0)[0] <= 1e-4


@pytest.mark.parametrize("name", ["ResNet-20", "MobileNetV2"])
def test_in_float64_the_first_gradients_are_pytorchs(name):
    """So what float32 finds otherwise is its rounding: of MobileNetV2's 52 layers on 4 images, 1 % in either engine."""
    tapwise.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 4)
    with tapwise.backend.use("reference"):
        tapwise.mixed_precision.set_global_policy("float64")
        try:
            ours = networks.TASKS[name].make(tapwise)
        finally:
            tapwise.mixed_precision.set_global_policy("float32")
        ours.set_weights([weight.astype(np.float32) for weight in ours.get_weights()])
        exact = Torch(ours.get_weights(), torch.float64, name)
        ours.compile("sgd", "sparse_categorical_crossentropy")
        ours.train_on_batch(x, y)
    exact.step(x, y)
    found = [weight.gradient for weight in ours.trainable_weights]
    wanted = [want.reshape(got.shape) for want, got in zip(exact.gradients(), found, strict=True)]
    assert far(found, wanted) <= 1e-11 * norm(wanted)


def test_twenty_steps_drift_as_pytorchs_float32_does():
    ratios = []
    for seed in SEEDS[:3]:
        engines, x, y = start(seed, 32)
        for images, labels in zip(x, y, strict=True):
            for engine in engines:
                engine.step(images, labels)
        ours, theirs, exact = (engine.weights() for engine in engines)
        ratios.append(far(ours, exact) / far(theirs, exact))
        print(f"seed {seed}: {far(ours, exact):.2e} of {norm(exact):.0f}, PyTorch's float32 {far(theirs, exact):.2e}")
    assert np.median(ratios) <= 3
