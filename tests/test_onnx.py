"""ONNX models: what is joined, layouts, shapes that change, real networks against ONNX Runtime, files that lie.

Budget: 20 s.
"""

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import tapwise  # noqa: E402
from onnx_models import FLOAT, model, node  # noqa: E402
from tapwise.interop.onnx import load  # noqa: E402

pytestmark = pytest.mark.peers


def runtime():
    return pytest.importorskip("onnxruntime", reason="pip install onnxruntime")


def theirs(proto, feeds):
    """ONNX Runtime's outputs for the bytes or path of a model."""
    engine = runtime()
    options = engine.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = engine.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def residual_block(rng):
    """Pad, convolution, scale, normalization, a sum with the input, ReLU: one call of the engine."""
    c = 8
    constants = {
        "w": rng.standard_normal((c, c, 3, 3), np.float32) / 9,
        "gain": rng.uniform(0.5, 2, (1, c, 1, 1)).astype(np.float32),
        **{name: rng.uniform(0.5, 2, c).astype(np.float32) for name in ("gamma", "beta", "mean", "variance")},
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }
    nodes = [
        node("Pad", "x pads", "p"),
        node("Conv", "p w", "y0"),
        node("Mul", "y0 gain", "y1"),
        node("BatchNormalization", "y1 gamma beta mean variance", "y2"),
        node("Add", "x y2", "y3"),
        node("Relu", "y3", "y"),
    ]
    return model(nodes, {"x": ["n", c, "h", "w"]}, {"y": ["n", c, "h", "w"]}, constants)


def test_a_residual_block_is_one_convolution(rng):
    proto = residual_block(rng)
    x = rng.standard_normal((2, 8, 9, 7), np.float32)
    (want,) = theirs(proto.SerializeToString(), {"x": x})
    ours = load(proto)
    for _ in range(3):
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    with tapwise.trace() as seen:
        ours(x)
    assert [record.name for record in seen.records] == ["conv"]
    assert ours.report() == {}


def test_layouts_meet_at_borders_alone(rng):
    """From (n, h, w, c) through convolutions and back: the two Transposes cost nothing."""
    constants = {"w": rng.standard_normal((4, 3, 3, 3), np.float32), "v": rng.standard_normal((5, 4, 1, 1), np.float32)}
    nodes = [
        node("Transpose", "x", "a", perm=(0, 3, 1, 2)),
        node("Conv", "a w", "b"),
        node("Relu", "b", "c"),
        node("Conv", "c v", "d"),
        node("Transpose", "d", "y", perm=(0, 2, 3, 1)),
    ]
    proto = model(nodes, {"x": [1, 8, 8, 3]}, {"y": [1, 6, 6, 5]}, constants)
    x = rng.standard_normal((1, 8, 8, 3), np.float32)
    (want,) = theirs(proto.SerializeToString(), {"x": x})
    ours = load(proto)
    np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    with tapwise.trace() as seen:
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    assert [record.name for record in seen.records] == ["conv", "conv"]
    assert len(ours.plans[0].steps) == 2


def test_a_normalization_in_four_nodes_is_one_pass(rng):
    """As exporters write it that keep channels last: minus, times, plus, ReLU; and a mean over the maps."""
    constants = {name: rng.uniform(0.5, 2, (1, 1, 1, 6)).astype(np.float32) for name in ("mean", "gain", "shift")}
    nodes = [
        node("Sub", "x mean", "a"),
        node("Mul", "gain a", "b"),
        node("Add", "b shift", "c"),
        node("Relu", "c", "d"),
        node("ReduceMean", "d", "y", axes=[1, 2], keepdims=0),
    ]
    proto = model(nodes, {"x": [2, 5, 4, 6]}, {"y": [2, 6]}, constants)
    x = rng.standard_normal((2, 5, 4, 6), np.float32)
    (want,) = theirs(proto.SerializeToString(), {"x": x})
    ours = load(proto)
    for _ in range(3):
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-6)
    with tapwise.trace() as seen:
        ours(x)
    assert [record.name for record in seen.records] == ["batch_norm", "average_pool"]


def test_a_depthwise_and_a_pointwise_convolution_are_one_call(rng):
    """As in MobileNetV2: normalization and ReLU6 between the two, a shortcut around both."""
    c = 64
    constants = {
        "d": rng.standard_normal((c, 1, 3, 3), np.float32),
        "p": rng.standard_normal((c, c, 1, 1), np.float32) / 8,
        "low": np.float32(0),
        "high": np.float32(6),
        **{name: rng.uniform(0.5, 2, c).astype(np.float32) for name in ("gamma", "beta", "mean", "variance")},
    }
    nodes = [
        node("Conv", "x d", "y0", group=c, pads=[1, 1, 1, 1]),
        node("BatchNormalization", "y0 gamma beta mean variance", "y1"),
        node("Clip", "y1 low high", "y2"),
        node("Conv", "y2 p", "y3"),
        node("Add", "y3 x", "y"),
    ]
    constants = {name: np.asarray(value) for name, value in constants.items()}
    proto = model(nodes, {"x": [1, c, 28, 28]}, {"y": [1, c, 28, 28]}, constants)
    x = rng.standard_normal((1, c, 28, 28), np.float32)
    (want,) = theirs(proto.SerializeToString(), {"x": x})
    ours = load(proto)
    for _ in range(3):
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-4)
    with tapwise.trace() as seen:
        ours(x)
    plan = tapwise.plan_separable((1, 28, 28, c), (3, 3, 1, c), (1, 1, c, c), padding=1)
    assert len(seen.records) == (1 if plan.fused else 2)


def test_what_two_read_is_not_joined(rng):
    """The convolution's own result is an output too, so the ReLU stays apart, and the sum reads it before the ReLU."""
    constants = {"w": rng.standard_normal((3, 3, 1, 1), np.float32)}
    nodes = [node("Conv", "x w", "y"), node("Relu", "y", "r"), node("Add", "y r", "z")]
    proto = model(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4], "z": [1, 3, 4, 4]}, constants)
    x = rng.standard_normal((1, 3, 4, 4), np.float32)
    ours = load(proto)
    for _ in range(3):
        for got, want in zip(ours.run({"x": x}), theirs(proto.SerializeToString(), {"x": x}), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_shapes_change_and_plans_are_bounded(rng):
    proto = residual_block(rng)
    ours, content = load(proto), proto.SerializeToString()
    for size in (*range(3, 12), 5, 4):
        x = rng.standard_normal((1, 8, size, size + 1), np.float32)
        want = theirs(content, {"x": x})[0]
        for _ in range(3):
            np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    assert len(ours.plans) <= 4


def test_results_are_the_callers_own(rng):
    ours = load(residual_block(rng))
    xs = [rng.standard_normal((1, 8, 6, 6), np.float32) for _ in range(3)]
    ours(xs[0])
    ours(xs[0])
    kept = ours(xs[1])
    copy = kept.copy()
    ours(xs[2])
    np.testing.assert_array_equal(kept, copy)


def test_threads_share_a_model(rng):
    ours = load(residual_block(rng))
    xs = [rng.standard_normal((1, 8, 6 + i % 2, 6), np.float32) for i in range(8)]
    want, got = [ours(x) for x in xs], {}

    def work(i):
        for _ in range(20):
            got[i] = ours(xs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, y in enumerate(want):
        np.testing.assert_array_equal(got[i], y)


def test_another_instruction_set_makes_another_plan(rng):
    ours = load(residual_block(rng))
    x = rng.standard_normal((1, 8, 6, 6), np.float32)
    want = [ours(x) for _ in range(3)][-1]
    with tapwise.backend.use("reference"), tapwise.trace():
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    with tapwise.backend.use("reference"):
        np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours(x), want)


def test_what_is_not_ours_is_reported(rng):
    proto = model([node("Det", "x", "d", "determinant"), node("Relu", "d", "y")], {"x": [2, 3, 3]}, {"y": [2]})
    ours = load(proto)
    assert list(ours.report()) == ["Det determinant"]
    x = rng.standard_normal((2, 3, 3), np.float32)
    np.testing.assert_allclose(ours(x), np.maximum(np.linalg.det(x), 0), rtol=1e-5, atol=1e-6)


def test_data_decides_shapes(rng):
    """NonZero's result has another shape each time: computed node by node, never by a plan of other sizes."""
    nodes = [node("NonZero", "x", "at"), node("Cast", "at", "f", to=FLOAT), node("Relu", "f", "y")]
    ours = load(model(nodes, {"x": [2, 3]}, {"y": [2, "found"]}))
    for x in (np.eye(2, 3, dtype=np.float32), np.ones((2, 3), np.float32), np.eye(2, 3, dtype=np.float32)):
        np.testing.assert_array_equal(ours(x), np.array(np.nonzero(x), np.float32))


def packaged(package, *path):
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"pip install --no-deps {package.replace('_', '-')}")
    return Path(found.submodule_search_locations[0], *path)


def test_basic_pitch_gives_onnx_runtimes_numbers(rng):
    path = packaged("basic_pitch", "saved_models", "icassp_2022", "nmp.onnx")
    seconds = np.arange(43844) / 22050
    x = sum(np.sin(2 * np.pi * hz * seconds) for hz in (220, 277.18, 329.63)) / 6 + rng.normal(0, 0.01, 43844)
    feeds = {"serving_default_input_2:0": x.reshape(1, -1, 1).astype(np.float32)}
    ours = load(path)
    for _ in range(2):
        for got, want in zip(ours.run(feeds), theirs(str(path), feeds), strict=True):
            assert want.max() > 0.1
            assert np.abs(got - want).max() < 1e-4
    assert ours.report() == {}


def test_swift_f0_gives_onnx_runtimes_numbers(rng):
    path = packaged("swift_f0", "model.onnx")
    seconds = np.arange(16000) / 16000
    x = np.sin(2 * np.pi * 220 * seconds * (1 + 0.1 * np.sin(seconds))) / 2 + rng.normal(0, 0.01, 16000)
    feeds = {"audio": x[None].astype(np.float32), "fmin": np.float32(46.875), "fmax": np.float32(2093.75)}
    feeds = {name: np.asarray(value) for name, value in feeds.items()}
    ours = load(path)
    for _ in range(2):
        pitch, confidence = ours.run(feeds)
        want_pitch, want_confidence = theirs(str(path), feeds)
        assert np.abs(pitch - want_pitch).max() < 1e-4  # Hz
        assert np.abs(confidence - want_confidence).max() < 1e-4
    assert 200 < np.median(pitch) < 260
    assert ours.report() == {}


def conv_model(rng):
    return model(
        [node("Conv", "x w", "y", "first")], {"x": [1, 2, 4, 4]}, {"y": [1, 3, 4, 4]},
        {"w": rng.standard_normal((3, 2, 1, 1), np.float32)},
    )  # fmt: skip


REFUSED = [
    ("not a model", r"model must be an ONNX file, got bytes"),
    ("nothing", r"model must be an ONNX file with a graph"),
    ("cut", r"model must be an ONNX file"),
    ("cycle", r"the graph must have no cycle, got one through node Relu a"),
    ("no initializer", r"each value must be an input, an initializer or made by a node, got 'w'"),
    ("two makers", r"each value must be made once, got 'y' twice, by node Relu again"),
    ("unknown operator", r"node Teleport #0 must be of an operator that Tapwise or onnx.reference has"),
    ("unknown domain", r"node Relu #0 must be of a domain that the model imports, got 'com.evil'"),
    ("version", r"the operators' version must be >= 1 and <= \d+, which the package onnx knows, got 9999"),
    ("tensor type", r"initializer 'w' must be of a type that ONNX has, got number 77"),
    ("tensor too short", r"initializer 'w' must hold the values of shape"),
    ("negative size", r"initializer 'w' must have sizes >= 0"),
    ("external", r"initializer 'w' must be in the model where that isn't a file"),
]


def broken(kind, rng):
    proto = conv_model(rng)
    w = proto.graph.initializer[0]
    if kind == "not a model":
        return b"\x00\xff" * 40
    if kind == "nothing":
        return b""
    if kind == "cut":
        return proto.SerializeToString()[:-20]
    if kind == "cycle":
        return model([node("Relu", "b", "a", "a"), node("Relu", "a", "b", "b")], {"x": [1]}, {"b": [1]})
    if kind == "no initializer":
        del proto.graph.initializer[:]
    if kind == "two makers":
        proto.graph.node.append(node("Relu", "x", "y", "again"))
    if kind == "unknown operator":
        return model([node("Teleport", "x", "y")], {"x": [1]}, {"y": [1]})
    if kind == "unknown domain":
        return model([node("Relu", "x", "y", domain="com.evil")], {"x": [1]}, {"y": [1]})
    if kind == "version":
        proto.opset_import[0].version = 9999
    if kind == "tensor type":
        w.data_type = 77
    if kind == "tensor too short":
        w.dims[0] = 10**12
    if kind == "negative size":
        w.dims[0] = -3
    if kind == "external":
        make_external(w, "weights.bin")
    return proto


def make_external(tensor, location, **more):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


@pytest.mark.parametrize(("kind", "message"), REFUSED)
def test_broken_models_are_refused(kind, message, rng):
    with pytest.raises(ValueError, match=message):
        load(broken(kind, rng))


def test_weights_lie_in_the_models_folder_alone(tmp_path, rng):
    inside, outside = tmp_path / "model", tmp_path / "secret.bin"
    inside.mkdir()
    proto = conv_model(rng)
    w = numpy_helper.to_array(proto.graph.initializer[0])
    (inside / "weights.bin").write_bytes(b"\0" * 8 + w.tobytes())
    outside.write_bytes(w.tobytes())
    (inside / "link.bin").symlink_to(outside)
    make_external(proto.graph.initializer[0], "weights.bin", offset=8, length=w.nbytes)
    onnx.save(proto, inside / "model.onnx")
    x = rng.standard_normal((1, 2, 4, 4), np.float32)
    np.testing.assert_array_equal(load(inside / "model.onnx")(x), load(conv_with(w))(x))
    for location, more, message in (
        ("../secret.bin", {}, r"must lie in a file in the model's folder, got '../secret.bin'"),
        (str(outside), {}, r"must lie in a file in the model's folder"),
        ("link.bin", {}, r"must lie in a file in the model's folder, got 'link.bin'"),
        ("weights.bin", {"offset": 9}, r"must be 24 bytes within weights.bin, got 24 at 9 of 32"),
        ("weights.bin", {"length": 4}, r"must be 24 bytes within weights.bin, got 4 at 0"),
        ("weights.bin", {"offset": "x"}, r"must have whole numbers as offset and length"),
    ):
        del proto.graph.initializer[0].external_data[:]
        make_external(proto.graph.initializer[0], location, **more)
        (inside / "bad.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(ValueError, match=message):
            load(inside / "bad.onnx")


def conv_with(w):
    return model([node("Conv", "x w", "y")], {"x": [1, 2, 4, 4]}, {"y": [1, 3, 4, 4]}, {"w": w})


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", "shape", "y")],
        [node("Add", "x x", "z"), node("Expand", "z shape", "y")],
        [node("Add", "x x", "z"), node("Tile", "z shape", "y")],
        [node("Pad", "x pads", "y")],
    ],
    ids=["ConstantOfShape", "Expand", "Tile", "Pad"],
)
def test_memory_is_bounded(nodes):
    constants = {"shape": np.array([10**6, 10**7]), "pads": np.array([0, 0, 10**6, 10**7])}
    proto = model(nodes, {"x": [1, 1]}, {"y": ["a", "b"]}, constants)
    with pytest.raises(ValueError, match=r"node \w+ #\d: a value must have at most \d+ bytes, got \d+ for shape"):
        load(proto)(np.ones((1, 1), np.float32))


def test_a_tensor_that_claims_more_than_it_has_takes_no_memory():
    proto = model([node("Relu", "x", "y")], {"x": [1]}, {"y": [1]})
    proto.graph.initializer.append(TensorProto(name="w", dims=[2**40], data_type=FLOAT, raw_data=b"1234"))
    with pytest.raises(ValueError, match=r"initializer 'w' must hold the values of shape"):
        load(proto)


def test_inputs_are_checked(rng):
    ours = load(conv_model(rng))
    x = rng.standard_normal((1, 2, 4, 4), np.float32)
    with pytest.raises(TypeError, match=r"input x must be float32, got float64"):
        ours(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"input x \(1x2x4x4, float32\) must have that shape, got \(1, 2, 5, 4\)"):
        ours(np.zeros((1, 2, 5, 4), np.float32))
    with pytest.raises(ValueError, match=r"inputs must be \['x'\], got \['y'\]"):
        ours.run({"y": x})
    with pytest.raises(TypeError, match=r"model must be a path, bytes or a ModelProto, got int"):
        load(3)


def test_a_node_that_fails_is_named(rng):
    proto = conv_model(rng)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, [1, "c", 4, 4]))
    with pytest.raises(ValueError, match=r"node Conv first: w must have ci // groups = 5 input channels"):
        load(proto)(np.zeros((1, 5, 4, 4), np.float32))


def test_one_node_runs_through_the_backend(rng):
    from tapwise.interop.onnx import Backend

    x, w = rng.standard_normal((1, 2, 5, 5), np.float32), rng.standard_normal((3, 2, 3, 3), np.float32)
    (y,) = Backend.run_node(node("Conv", "x w", "y"), [x, w])
    want = tapwise.conv(x, w, data_format="channels_first")
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-5)
    assert not Backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="device must be CPU, got CUDA:1"):
        Backend.prepare(conv_model(rng), "CUDA:1")
