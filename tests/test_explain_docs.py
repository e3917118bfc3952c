"""docs/explain.md runs as it stands, and says what is so."""

import re
from pathlib import Path

import numpy as np
import pytest


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    for module in ("sklearn", "matplotlib", "PIL"):
        pytest.importorskip(module, reason='pip install "tapwise[demo,explain]"')
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[1]
    page = (root / "docs" / "explain.md").read_text(encoding="utf-8")
    made = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(snippet, made)
    assert made["model"].evaluate(made["images"], made["labels"], verbose=0)[1] > 0.95
    assert made["hits"] > 0.9
    assert made["gone"].area < made["come"].area
    assert made["table"].shape == (3, 3)
    assert [name for name, _ in made["layer_by_layer"]] == ["dense", "last", "conv2d"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digit.png", "report.html"]
    assert made["gradient"].shape == (2, 10, 10, 32)
    assert np.abs(made["dx"]).max() > 0
    one, image = made["falls"][0], made["images"][0, ..., 0]
    lost = made["other"].coef_[one.class_index].reshape(20, 20) * (image - image.mean())
    windows = np.lib.stride_tricks.sliding_window_view(lost, (3, 3)).sum((2, 3))
    np.testing.assert_allclose(one.raw, windows, atol=1e-4)  # the scores are linear in the pixels
    for name in re.findall(r"\(images/(\S+)\)", page):
        assert (root / "docs" / "images" / name).stat().st_size < 150_000
    assert "class" not in capsys.readouterr().err
