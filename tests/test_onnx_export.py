"""Models of ours written as ONNX: onnx.checker accepts them, ONNX Runtime and tapwise.interop.onnx compute
the same, and layers are made of them again.

Budget: 30 s.
"""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')
engine = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

import tapwise  # noqa: E402
from tapwise import layers  # noqa: E402
from tapwise.interop.onnx import export, load, load_layers  # noqa: E402

pytestmark = pytest.mark.peers


def shaken(model, rng):
    """Every weight random, so that a lost bias or statistic shows; variances and gains stay positive."""
    for layer in model.layers:
        for weight in layer.weights:
            positive = weight.name.rpartition("/")[2] in ("gamma", "moving_variance", "variance", "alpha")
            low, high = (0.5, 1.5) if positive else (-0.3, 0.3)
            weight.value[...] = rng.uniform(low, high, weight.value.shape)
    return model


def check(model, rng, path, x=None, tolerance=1e-5, layered=True):
    shape = model.inputs[0].example
    x = rng.uniform(-1, 1, (2, *shape)).astype(np.float32) if x is None else x
    want = model(x)
    proto = export(model, path)
    session = engine.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    scale = max(float(np.abs(want).max()), 1e-3)
    ours = load(path)
    again = [load_layers(ours)(x)] if layered else []
    for got in (session.run(None, {name: x})[0], ours(x), ours(x), *again):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= tolerance * scale
    assert ours.report() == {}
    return proto


MAPS = [
    layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    layers.Conv2D(4, (3, 2), dilation_rate=2, groups=2, padding=((1, 2), (0, 1))),
    layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
    layers.SeparableConv2D(5, 3, padding="same", activation="gelu"),
    layers.Conv2DTranspose(3, 3, strides=2, padding="same"),
    layers.Conv2DTranspose(3, 2, strides=3, padding="valid", activation="tanh"),
    layers.Conv2DTranspose(3, 4, strides=2, padding=1, output_padding=1),
    layers.MaxPooling2D(3, 2, padding="same"),
    layers.AveragePooling2D(3, 2, padding="same"),
    layers.GlobalAveragePooling2D(),
    layers.GlobalMaxPooling2D(keepdims=True),
    layers.BatchNormalization(),
    layers.BatchNormalization(axis=1, scale=False),
    layers.LayerNormalization(axis=(2, 3)),
    layers.LayerNormalization(),
    layers.GroupNormalization(2),
    layers.GroupNormalization(7, axis=1, scale=False),
    layers.ZeroPadding2D(((1, 2), (0, 3))),
    layers.Cropping2D(((1, 0), (2, 1))),
    layers.UpSampling2D((2, 3)),
    layers.UpSampling2D(2, interpolation="bilinear"),
    layers.UpSampling2D(2, interpolation="bicubic"),
    layers.Resizing(5, 11, "nearest"),
    layers.Resizing(12, 5, "bilinear"),
    layers.PReLU(shared_axes=(1, 2)),
    layers.LeakyReLU(0.3),
    layers.ELU(0.7),
    layers.ReLU(3.0, 0.1),
    layers.Softmax(axis=1),
    layers.Permute((3, 1, 2)),
    layers.Reshape((7, 32)),
    layers.Rescaling(2.0, -1.0),
    layers.Normalization(mean=np.arange(4.0), variance=np.arange(1.0, 5.0)),
    layers.SpatialDropout2D(0.3),
    layers.GaussianNoise(0.1),
    layers.Conv2D(3, 3, activation="softmax"),
    layers.Conv2D(3, 3, data_format="channels_first", padding="same"),
    *(
        layers.Activation(kind)
        for kind in (
            "sigmoid", "softmax", "log_softmax", "silu", "mish", "hard_sigmoid", "hard_silu", "softplus", "softsign",
            "selu", "celu", "exponential", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "log_sigmoid",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MAPS)), ids=[f"{type(each).__name__}-{i}" for i, each in enumerate(MAPS)])
def test_each_layer_between_two_convolutions(number, rng, tmp_path):
    """Behind a convolution it gets ONNX' order, and what follows shows in which order it leaves its result."""
    tapwise.set_random_seed(number)
    layer = type(MAPS[number]).from_config(MAPS[number].get_config())
    x = tapwise.Input((7, 8, 4))
    y = layer(layers.Conv2D(4, 1)(x))
    if len(y.example) == 3:
        y = layers.Conv2D(2, 1)(y)
    model = tapwise.Model(x, layers.Dense(3)(layers.Flatten()(y)))
    check(shaken(model, rng), rng, tmp_path / "model.onnx", tolerance=1e-4)


def test_rows_sums_and_joints(rng, tmp_path):
    x = tapwise.Input((12, 3))
    a = layers.Conv1D(4, 3, padding="causal", activation="relu")(x)
    b = layers.MaxPooling1D(3, 1, padding="same")(layers.Conv1D(4, 1)(x))
    merged = [
        layers.Add()([a, b]), layers.Subtract()([a, b]), layers.Multiply()([a, b]), layers.Average()([a, b]),
        layers.Maximum()([a, b]), layers.Minimum()([a, b]), layers.Concatenate(axis=1)([a, b]), a,
    ]  # fmt: skip
    y = layers.Concatenate(axis=1)(merged)
    y = layers.Dense(5, activation="leaky_relu")(layers.Concatenate()([y, y]))
    model = tapwise.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    check(shaken(model, rng), rng, tmp_path / "model.onnx")


def test_volumes(rng, tmp_path):
    model = tapwise.Sequential(
        [
            layers.Input((5, 6, 7, 2)), layers.Conv3D(4, 3, padding="same", activation="elu"), layers.MaxPooling3D(2),
            layers.UpSampling3D(2), layers.Conv3DTranspose(3, 2, strides=2), layers.GlobalMaxPooling3D(),
        ]
    )  # fmt: skip
    check(shaken(model, rng), rng, tmp_path / "model.onnx")


def test_words(rng, tmp_path):
    model = tapwise.Sequential(
        [layers.Input((9,)), layers.Embedding(20, 4), layers.Conv1D(3, 3), layers.GlobalMaxPooling1D()]
    )
    x = rng.integers(0, 20, (2, 9)).astype(np.float32)
    check(shaken(model, rng), rng, tmp_path / "model.onnx", x, layered=False)  # text stays the executor's


def test_a_network_is_turned_once(rng, tmp_path):
    """MobileNetV2 to the logits: one Transpose, behind the input; the file is as large as its weights."""
    model = shaken(tapwise.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=10), rng)
    proto = check(model, rng, tmp_path / "model.onnx", tolerance=1e-4)
    assert [node.op_type for node in proto.graph.node].count("Transpose") == 1
    weights = sum(weight.value.nbytes for layer in model.layers for weight in layer.weights)
    assert weights < (tmp_path / "model.onnx").stat().st_size < 1.1 * weights


def test_what_cannot_be_said_is_refused_and_nothing_is_written(tmp_path):
    class Own(layers.Identity):
        pass

    path = tmp_path / "model.onnx"
    x = tapwise.Input((4, 4, 2))
    with pytest.raises(ValueError, match=r"own must be a layer that ONNX can say, got Own"):
        export(tapwise.Model(x, Own()(x)), path)
    with pytest.raises(ValueError, match=r"activation of \w+ must be one that ONNX can say, got 'sparsemax'"):
        export(tapwise.Model(x, layers.Activation("sparsemax")(x)), path)
    with (
        tapwise.backend.use("reference"),
        pytest.raises(TypeError, match=r"conv2d must compute in float32, got float64"),
    ):
        export(tapwise.Model(x, layers.Conv2D(2, 1, dtype="float64")(x)), path)
    assert list(tmp_path.iterdir()) == []
