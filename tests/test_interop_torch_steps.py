"""A training loop of ResNet-20 in PyTorch with and without interop.torch: first gradients, and 20 steps' drift."""

import sys
from pathlib import Path

import pytest

from tapwise import interop

torch = pytest.importorskip("torch", reason="pip install torch")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from torch_interop import LAYOUTS, STEPS, Training, far, norm  # noqa: E402

pytestmark = pytest.mark.peers  # half a minute
BATCH = 4


def trainings(layout, seed, activation=None):
    """In float64, in float32, and in float32 for our kernels."""
    types = torch.float64, torch.float32, torch.float32
    made = [Training("ResNet-20", BATCH, layout, dtype, seed) for dtype in types]
    for training in made if activation else ():
        for module in list(training.model.modules()):
            for name, child in module.named_children():
                if isinstance(child, torch.nn.ReLU):
                    setattr(module, name, activation())
    return made


def median(values):
    return sorted(values)[len(values) // 2]


def first_gradients(layout, seed, activation=None):
    """The largest relative difference of a parameter's, with and without us."""
    _, theirs, ours = trainings(layout, seed, activation)
    theirs.step()
    with interop.torch.enable():
        ours.step()
        report = interop.torch.report()
    assert report.ran == {"convolution": 21, "convolution_backward": 21}
    assert report.fell_back == report.copied == {}
    return max(far([a], [b]) / norm([b]) for a, b in zip(ours.gradients(), theirs.gradients(), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_gradients_are_pytorchs(layout):
    """With ReLU where no input is within rounding of 0, which in some seeds one is: its mask is anyone's then."""
    smooth = [first_gradients(layout, seed, torch.nn.GELU) for seed in range(3)]
    found = [first_gradients(layout, seed) for seed in range(5)]
    print(layout, "GELU", *(f"{error:.1e}" for error in smooth), "ReLU", *(f"{error:.1e}" for error in found))
    assert max(smooth) <= 1e-4
    assert min(found) <= 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_twenty_steps_drift_as_pytorchs_float32_does(layout):
    ratios = []
    for seed in range(3):
        exact, theirs, ours = trainings(layout, seed)
        for i in range(STEPS):
            exact.step(i)
            theirs.step(i)
        with interop.torch.enable():
            for i in range(STEPS):
                ours.step(i)
        want = exact.weights()
        ratios.append(far(ours.weights(), want) / far(theirs.weights(), want))
    print(layout, *(f"{ratio:.2f}" for ratio in ratios))
    assert median(ratios) <= 3
