"""Class activation maps and saliency against plain PyTorch, from the same weights: residual, depthwise and plain."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise import explain

torch = pytest.importorskip("torch", reason="pip install torch")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import networks  # noqa: E402
import torch_networks  # noqa: E402

pytestmark = pytest.mark.peers  # a few seconds
MAKERS = {"ResNet-20": networks.resnet20, "MobileNetV2": networks.mobilenet_v2, "VGG-11": networks.vgg11}
CLASSES = [0, 3, 9]


@pytest.fixture(scope="module", params=MAKERS)
def pair(request):
    """The network in both, with weights and moving statistics that aren't those of a start."""
    tapwise.set_random_seed(5)
    rng = np.random.default_rng(5)
    model = MAKERS[request.param](tapwise)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.value[...] = rng.uniform(0.7, 1.3, weight.shape)
        elif weight.name != "kernel":
            weight.value[...] = 0.1 * rng.standard_normal(weight.shape)
    other = torch_networks.NETWORKS[request.param]()
    torch_networks.take_weights(other, model.get_weights())
    return model, other.double().eval(), rng.standard_normal((3, 32, 32, 3)).astype(np.float32)


def by_torch(other, x, number):
    """Maps, their gradients (n, c, h, w) and the input's (n, 3, h, w)."""
    x = torch.from_numpy(x).permute(0, 3, 1, 2).double().requires_grad_()
    maps = other[:-3](x)
    scores = other[-3:](maps)
    found = torch.autograd.grad(scores[:, number].sum(), [maps, x])
    return scores.detach().numpy(), maps.detach(), *found


def drawn(raw):
    raw = torch.relu(raw)
    raw = raw / raw.amax((1, 2), keepdim=True)
    full = torch.nn.functional.interpolate(raw[:, None], (32, 32), mode="bilinear", align_corners=False)
    return raw.numpy(), full[:, 0].numpy()


def test_grad_cam_and_its_kin(pair):
    model, other, x = pair
    for number in CLASSES:
        scores, maps, g, _ = by_torch(other, x, number)
        below = 2 * g**2 + g**3 * maps.sum((2, 3), keepdim=True)
        alpha = torch.where(below == 0, 0, g**2 / below)
        wanted = {
            explain.grad_cam: (maps * g.mean((2, 3), keepdim=True)).sum(1),
            explain.layer_cam: (maps * torch.relu(g)).sum(1),
            explain.grad_cam_plus_plus: (maps * (alpha * torch.relu(g)).sum((2, 3), keepdim=True)).sum(1),
        }
        for method, raw in wanted.items():
            small, full = drawn(raw)
            for i, each in enumerate(method(model, x, classes=number)):
                np.testing.assert_allclose(each.score, scores[i, number], atol=1e-4 * np.abs(scores).max())
                if np.isfinite(small[i]).all():  # a map with no evidence is 0 here
                    np.testing.assert_allclose(each.raw, small[i], atol=1e-4)
                    np.testing.assert_allclose(each.map, full[i], atol=1e-4)


def test_saliency(pair):
    model, other, x = pair
    for number in CLASSES:
        dx = by_torch(other, x, number)[3].abs().amax(1).numpy()
        for i, each in enumerate(explain.saliency(model, x, classes=number)):
            np.testing.assert_allclose(each.map, dx[i], atol=1e-4 * dx.max())
