"""ONNX files that lie: refused with a message before anything is computed; memory is bounded, weights stay in reach.

Budget: 5 s.
"""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import tapwise  # noqa: E402
from onnx_models import FLOAT, model, node  # noqa: E402
from tapwise.interop.onnx import load  # noqa: E402

pytestmark = pytest.mark.peers


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
