"""docs/onnx.md runs as it stands and prints what it should."""

import contextlib
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason='pip install "tapwise[onnx]"')

pytestmark = pytest.mark.peers


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), {})
    model, same, rebuilt, report, relu, refused = printed.getvalue().splitlines()
    assert model.startswith("<ONNX model of ")
    assert "nx32x32x3, float32" in model
    assert same == "True {}"
    assert rebuilt == "True"
    assert report in page
    assert relu == "True"
    assert refused.startswith("model must be an ONNX file, got bytes")
