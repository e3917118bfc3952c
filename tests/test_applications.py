"""The networks of tapwise.applications: sizes, arguments, preprocessing, and that they learn and are saved."""

import json

import numpy as np
import pytest

import tapwise
from tapwise import applications, initializers

# Keras' count_params where Keras has the network; LeNet5 and AlexNet as PyTorch's tutorials and torchvision count them.
PARAMETERS = {
    "LeNet5": 61_706, "AlexNet": 61_100_840, "VGG16": 138_357_544, "VGG19": 143_667_240, "ResNet18": 11_183_562,
    "ResNet20": 274_042, "ResNet50": 25_636_712, "ResNet101": 44_707_176, "ResNet152": 60_419_944,
    "ResNet50V2": 25_613_800, "ResNet101V2": 44_675_560, "ResNet152V2": 60_380_648, "InceptionV3": 23_851_784,
    "InceptionResNetV2": 55_873_736, "Xception": 22_910_480, "MobileNet": 4_253_864, "MobileNetV2": 3_538_984,
    "DenseNet121": 8_062_504, "DenseNet169": 14_307_880, "DenseNet201": 20_242_984, "NASNetMobile": 5_326_716,
    "NASNetLarge": 88_949_818, "EfficientNetB0": 5_330_571, "EfficientNetLite0": 4_694_024,
}  # fmt: skip
SIZES = {"NASNetLarge": 331, "InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299, "LeNet5": 28}


@pytest.fixture(autouse=True)
def _seeded():
    tapwise.set_random_seed(11)


@pytest.mark.parametrize("name", applications.__all__)
def test_parameters_are_as_published(name):
    with initializers.postponed():
        model = getattr(applications, name)()
    assert model.count_params() == PARAMETERS[name]
    small = name in ("LeNet5", "ResNet18", "ResNet20")
    size = SIZES.get(name, 32 if small else 224)
    assert model.input_shape == (None, size, size, 1 if name == "LeNet5" else 3)
    assert model.output_shape == (None, 10 if small else 1000)


def test_postponed_weights_are_zeros_and_only_those():
    with initializers.postponed():
        model = applications.LeNet5()
    assert not any(w.any() for w in model.get_weights())
    assert applications.LeNet5().get_weights()[0].any()


def test_alexnet_ends_in_256_maps_of_13_by_13():
    with initializers.postponed():
        model = applications.AlexNet()
    assert model.get_layer("conv5").output.shape == (None, 13, 13, 256)


@pytest.mark.parametrize(("pooling", "shape"), [(None, (2, 4, 4, 512)), ("avg", (2, 512)), ("max", (2, 512))])
def test_features_without_top(pooling, shape, rng):
    model = applications.ResNet18(include_top=False, pooling=pooling)
    x = rng.standard_normal((2, 32, 32, 3)).astype(np.float32)
    y = model(x)
    maps = applications.ResNet18(include_top=False)
    maps.set_weights(model.get_weights())
    pooled = {None: lambda m: m, "avg": lambda m: m.mean((1, 2)), "max": lambda m: m.max((1, 2))}[pooling](maps(x))
    assert y.shape == shape
    np.testing.assert_allclose(y, pooled, rtol=1e-5, atol=1e-6)


def test_a_network_continues_a_tensor_and_takes_other_classes():
    x = tapwise.Input((40, 48, 1))
    scaled = tapwise.layers.Rescaling(1 / 255)(x)
    tail = applications.MobileNetV2(alpha=0.35, input_tensor=scaled, classes=7, classifier_activation=None)
    model = tapwise.Model(x, tail(scaled))
    assert model.output_shape == (None, 7)
    assert tail.name == "mobilenetv2_0.35_40"
    assert tail.get_layer("Conv1").weights[0].shape == (3, 3, 1, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"weights": "imagenet"},
            r"weights must be None or the path of a file, as nothing is downloaded, got 'imagenet'",
        ),
        ({"pooling": "mean"}, r"pooling must be None, avg or max, got 'mean'"),
        ({"classes": 0}, r"classes must be >= 1, got 0"),
        ({"input_shape": (31, 64, 3)}, r"input_shape must be \(height, width, channels\), .* >= 32, got \(31, 64, 3\)"),
        ({"input_shape": (64, 64)}, r"input_shape must be \(height, width, channels\), .*, got \(64, 64\)"),
        ({"classifier_activation": "softmaxx"}, r"activation must be None, linear, .*, got 'softmaxx'"),
    ],
)
def test_refuses(arguments, message):
    for network in (applications.EfficientNetB0, applications.MobileNet):
        with pytest.raises(ValueError, match=message):
            network(**arguments)


def test_weights_come_from_a_file_and_models_are_saved(tmp_path, rng):
    model = applications.ResNet20()
    x = rng.standard_normal((3, 32, 32, 3)).astype(np.float32)
    model.save_weights(tmp_path / "weights.npz")
    again = applications.ResNet20(weights=tmp_path / "weights.npz", name="again")
    np.testing.assert_array_equal(again(x), model(x))
    features = applications.ResNet20(weights=tmp_path / "weights.npz", include_top=False, pooling="avg")
    np.testing.assert_array_equal(features(x), tapwise.Model(model.input, model.get_layer("avg_pool").output)(x))
    with pytest.raises(ValueError, match=r"weights.npz doesn.t fit the model, and nothing has changed; missing: conv5"):
        applications.ResNet18(weights=tmp_path / "weights.npz", include_top=False)
    with pytest.raises(ValueError, match=r"nothing has changed; of another shape: predictions/kernel"):
        applications.ResNet20(weights=tmp_path / "weights.npz", classes=3)
    model.save(tmp_path / "model.tapwise")
    np.testing.assert_array_equal(tapwise.load_model(tmp_path / "model.tapwise")(x), model(x))


def test_efficientnets_published_deviations_become_variances(tmp_path):
    model = applications.EfficientNetB0(include_top=False)
    mean, variance, _ = model.get_layer("normalization").weights
    mean.value[...], variance.value[...] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model.save_weights(tmp_path / "weights.npz")
    loaded = applications.EfficientNetB0(include_top=False, weights=tmp_path / "weights.npz")
    pixel = np.array([[[[255.0, 0.0, 127.5]]]], np.float32)
    got = loaded.get_layer("normalization")(pixel / 255)
    np.testing.assert_allclose(got[0, 0, 0], [0.515 / 0.229, -0.456 / 0.224, 0.094 / 0.225], rtol=1e-5)
    variance.value[...] = (0.052, 0.05, 0.051)  # of data, by adapt
    model.save_weights(tmp_path / "weights.npz")
    loaded = applications.EfficientNetB0(include_top=False, weights=tmp_path / "weights.npz")
    np.testing.assert_array_equal(loaded.get_layer("normalization").weights[1].value, variance.value)


@pytest.mark.parametrize("name", ["ResNet20", "MobileNetV2", "EfficientNetB0", "DenseNet121"])
def test_it_learns(name, rng):
    """Bright images from dark ones, in a few steps."""
    model = getattr(applications, name)(input_shape=(32, 32, 3), classes=2)
    model.compile(tapwise.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    y = np.arange(16) % 2
    x = (rng.standard_normal((16, 32, 32, 3)) + 2.0 * (y[:, None, None, None] - 0.5)).astype(np.float32)
    x = 50 * x + 127 if name == "EfficientNetB0" else x
    steps = 25 if name == "EfficientNetB0" else 10  # it leaves out blocks at random
    losses = [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(steps)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_preprocessing_by_hand():
    image = np.zeros((2, 1, 1, 3), np.uint8)
    image[0, 0, 0], image[1, 0, 0] = (10, 20, 30), (255, 0, 127)
    caffe = applications.vgg16.preprocess_input(image)
    np.testing.assert_allclose(caffe[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)
    torch = applications.densenet.preprocess_input(image)
    np.testing.assert_allclose(torch[1, 0, 0, 0], (1 - 0.485) / 0.229, rtol=1e-6)
    first = np.moveaxis(image, -1, 1)
    np.testing.assert_array_equal(
        applications.vgg19.preprocess_input(first, "channels_first")[:, :, 0, 0], caffe[:, 0, 0]
    )
    np.testing.assert_allclose(applications.xception.preprocess_input(image)[1, 0, 0], [1, -1, -1 / 255], atol=1e-6)
    np.testing.assert_array_equal(applications.efficientnet.preprocess_input(image), image)
    np.testing.assert_array_equal(applications.efficientnet_lite.preprocess_input(image)[1, 0, 0], [1, -127 / 128, 0])
    assert image.dtype == np.uint8
    assert caffe.dtype == torch.dtype == np.float32
    with pytest.raises(
        ValueError, match=r"x must be an image or a batch of images with 3 channels, got shape \(4, 4\)"
    ):
        applications.resnet.preprocess_input(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"data_format must be channels_last or channels_first, got 'nhwc'"):
        applications.resnet.preprocess_input(image, "nhwc")


def test_predictions_are_named(tmp_path):
    preds = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32)
    decode = applications.resnet_v2.decode_predictions
    assert [[(i, n) for i, n, _ in row] for row in decode(preds, 2, ["cat", "dog", "cup"])] == [
        [("1", "dog"), ("2", "cup")],
        [("0", "cat"), ("2", "cup")],
    ]
    text, index = tmp_path / "names.txt", tmp_path / "imagenet_class_index.json"
    text.write_text("cat\ndog\ncup\n")
    index.write_text(json.dumps({"0": ["n0", "cat"], "1": ["n1", "dog"], "2": ["n2", "cup"]}))
    assert decode(preds, 1, text) == [[("1", "dog", float(preds[0, 1]))], [("0", "cat", 0.5)]]
    assert decode(preds, 1, index)[0] == [("n1", "dog", float(preds[0, 1]))]
    with pytest.raises(ValueError, match=r"class_names must be as many as the classes of preds, 3, got 2"):
        decode(preds, 1, ["cat", "dog"])
    with pytest.raises(ValueError, match=r"preds must have shape \(n, classes\), got \(3,\)"):
        decode(preds[0], 1, text)
    index.write_text('["cat"]')
    with pytest.raises(ValueError, match=r"imagenet_class_index.json: must hold"):
        decode(preds, 1, index)


def test_packed_weights_predict_the_same_and_changes_show_behind_them(rng):
    model = applications.ResNet20()
    x = rng.standard_normal((5, 32, 32, 3)).astype(np.float32)
    want = model.predict(x, verbose=0)
    with model.prepared(packed=True):
        np.testing.assert_allclose(model.predict(x, 2, verbose=0), want, rtol=1e-4, atol=1e-6)
        with tapwise.trace() as traced:
            again = model.predict(x, verbose=0)
        assert {record.copied_bytes for record in traced.records if record.name != "pack"} == {0}
        model.get_layer("conv1_conv").weights[0].value[...] = 0
        np.testing.assert_array_equal(model.predict(x, verbose=0), again)
    assert not np.allclose(model.predict(x, verbose=0), want)
    assert all(step.call.place.weights is None for step in model.plan(5, training=False).steps)
