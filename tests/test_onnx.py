"""ONNX models: what is joined, layouts, shapes that change, real networks against ONNX Runtime.

Budget: 20 s.
"""

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')

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
