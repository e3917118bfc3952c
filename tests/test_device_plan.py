"""Plans for NVIDIA devices: what "auto" takes there, by its data sheet, and what tune measures and remembers.

The extension plans, so most of it needs the emulated kernels, which test_cuda_emulated.py builds; it runs this file.
"""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tapwise
from cuda_occupancy import DEVICES
from cuda_plans import LAYERS, Layer
from device_arrays import emulated_device

EMULATED = "_tapwise_cuda_emulated"
ROOT = Path(__file__).parents[1]
SHAPES = (1, 8, 9, 4), (3, 3, 4, 6)
PASSES = "forward", "grad_input", "grad_weight"


@pytest.fixture
def extension():
    return pytest.importorskip(
        EMULATED, reason="the emulated kernels are built by tests/test_cuda_emulated.py, which runs this"
    )


def test_without_the_kernels_the_reason_is_told():
    if find_spec(EMULATED) or find_spec("tapwise.backend._cuda"):
        pytest.skip("the kernels for NVIDIA devices are built here")
    with pytest.raises(ValueError, match=r"^device must be None here: .* wheels have none: pip install"):
        tapwise.plan(*SHAPES, device="A100")


def test_an_unknown_device_is_refused(extension):
    with pytest.raises(ValueError, match="device must be one of A100, H100, RTX 4090, got V100"):
        tapwise.plan(*SHAPES, device="V100")


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("accuracy", ["strict", "default", "fast"])
def test_auto_takes_the_candidate_expected_fastest(accuracy, direction, extension):
    """Of those that the accuracy admits; Winograd must win by a tenth. Nothing but Winograd passes the peak."""
    for layer in LAYERS:
        for device in DEVICES:
            plan = layer.plan(device.name, accuracy=accuracy, direction=direction)
            assert (plan.backend, plan.isa) == ("cuda", device.name)
            open_to_it = {c.algorithm: c.expected_seconds for c in plan.candidates if not c.refused}
            assert all(seconds > 0 for seconds in open_to_it.values())
            assert plan.algorithm in open_to_it
            if layer.groups == 1:
                assert open_to_it[plan.algorithm] <= 1.1 * min(open_to_it.values())
            assert accuracy != "strict" or not plan.algorithm.startswith("winograd")
            if accuracy == "strict":
                assert 0 < 1e9 * plan.expected_gflops < device.flops["fp32"]
            assert plan == layer.plan(device.name, accuracy=accuracy, direction=direction)


def test_a_plan_explains_itself(extension):
    plan = LAYERS[3].plan("H100")
    lines = str(plan).splitlines()
    assert lines[0].startswith(f"forward by {plan.algorithm} on cuda (H100), ")
    assert "GFLOP/s expected, computed, not measured" in lines[0]
    assert sum("us expected, computed, not measured" in line for line in lines) == len(plan.possible)
    assert "TF32" in LAYERS[1].plan("H100", accuracy="fast").tile
    assert "TF32" not in LAYERS[1].plan("H100").tile


@pytest.mark.parametrize("direction", PASSES)
def test_winograd_is_admitted_as_on_the_host(direction, extension):
    """The same points of interpolation have the same error: docs/numerics.md."""
    for size, ci, co in [(4, 4, 8), (7, 5, 5), (7, 6, 5), (8, 5, 6), (9, 64, 64)]:
        shapes = (1, size, size, ci), (3, 3, ci, co)
        options = {"padding": "same", "direction": direction}
        with tapwise.backend.use("native"):
            here = {c.algorithm: c.refused for c in tapwise.plan(*shapes, **options).candidates}
        for c in tapwise.plan(*shapes, device="A100", **options).candidates:
            if c.algorithm.startswith("winograd"):
                assert c.refused == here[c.algorithm], (c.algorithm, *shapes)


def test_tiles_are_paid_for_whole(extension):
    """One image more than fills every multiprocessor costs as much as many more."""

    def seconds(images):
        plan = tapwise.plan((images, 16, 8, 512), (1, 1, 512, 128), algorithm="im2col", device="A100")
        return plan.candidates[1].expected_seconds

    assert seconds(108 * 20) < seconds(108 * 20 + 1) <= seconds(108 * 21)
    assert seconds(108 * 20) / seconds(108 * 40) == pytest.approx(0.5, abs=0.05)


def test_a_device_with_more_units_is_faster(extension):
    layer = Layer("VGG16", 3, 256, 256, 56)
    a100, h100 = (layer.plan(name, accuracy="strict").expected_gflops for name in ("A100", "H100"))
    assert h100 > 2 * a100


def test_shares_of_multiply_adds_are_those_of_the_table():
    """What the cost model takes of main loops stands in docs/cuda.md, which nvcc's machine code made."""
    source = (ROOT / "csrc/cuda/cost.cu").read_text(encoding="utf-8")
    page = (ROOT / "docs/cuda.md").read_text(encoding="utf-8")
    kernels = {
        "kProduct": r"im2col_product<{0} x {0}, 4>", "kScalars": r"im2col_product<{0} x {0}, 1>",
        "kGradient": r"im2col_grad_product<{0} x {0}>", "kFrequency": r"winograd_product<{0} x {0}>",
        "kFused": r"winograd_2x2<{0} x {0}>",
    }  # fmt: skip
    compared = 0
    for name, kernel in kernels.items():
        listed = re.search(rf"{name}\{{\{{([^}}]*)", source)[1].split(", ")
        for rows, share in zip((16, 32, 64, 128), map(float, listed), strict=True):
            found = re.search(rf"`{kernel.format(rows)}`.* (\d+) % \|", page)
            if found:
                assert round(100 * share) == int(found[1]), kernel.format(rows)
                compared += 1
    assert compared == 17


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    module = sys.modules["tapwise.tune"]
    monkeypatch.setattr(module, "tuned_file", lambda: tmp_path / "tuned.json")
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.0)
    tapwise.forget_tuned()
    yield tmp_path / "tuned.json"
    tapwise.forget_tuned()


@pytest.mark.parametrize("direction", PASSES)
def test_tune_waits_for_the_device(direction, own_cache, extension):
    """Each timing ends when the stream has, and the winner holds for devices of that name alone."""
    with emulated_device() as memory, tapwise.backend.use("cuda"):
        tuned = tapwise.tune(*SHAPES, direction=direction)
        assert memory.puts == 3 * len(tuned.seconds)
        assert memory.waits >= (1 + 5) * len(tuned.seconds)
        plan = tapwise.plan(*SHAPES, direction=direction)
        assert (plan.algorithm, plan.isa) == (tuned.algorithm, "emulated")
        assert plan.reason == "the fastest that tune measured"
        tapwise.forget_tuned()
        content = json.loads(own_cache.read_text())
        assert [entry[4] for entry in content["winners"]] == ["emulated"]
        content["winners"][0][4] = "NVIDIA A100"
        own_cache.write_text(json.dumps(content))
        assert tapwise.load_tuned() == 1
        assert tapwise.plan(*SHAPES, direction=direction).reason != "the fastest that tune measured"
