"""docs/probability_maps.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    pytest.importorskip("PIL", reason="pip install pillow")
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    page = (Path(__file__).parents[1] / "docs" / "probability_maps.md").read_text(encoding="utf-8")
    made = {}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), made)
    assert f"{made['found'].values.shape}" in page
    np.testing.assert_array_equal(np.load("map.npy"), made["found"].values)
    assert made["found"].deviation < 1e-5
