"""docs/interop.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest


def test_the_examples_of_the_page_run():
    pytest.importorskip("sklearn", reason="pip install scikit-learn>=1.6", minversion="1.6")
    page = (Path(__file__).parents[1] / "docs" / "interop.md").read_text(encoding="utf-8")
    made = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), made)
    assert made["best"] > 0.8
    assert made["out"].dtype == np.float64
    assert np.isfinite(made["memory"]).all()
