"""docs/pytorch.md runs as it stands and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install torch")

pytestmark = pytest.mark.peers


def test_the_example_of_the_page_prints_what_it_says():
    page = (Path(__file__).parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")
    example, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", page, re.S).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, {})
    assert printed.getvalue() == output
