"""Fixtures for every test, the option --shapes, and the list of what a run could not cover."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from engines import ENGINES
from shape_lists import read
from uncovered import on_this_machine

settings.register_profile("tapwise", deadline=None, derandomize=True)
settings.load_profile("tapwise")


def pytest_addoption(parser):
    parser.addoption(
        "--shapes",
        type=Path,
        metavar="DIR",
        help="check every row of the shape lists in DIR: networks.csv, complaints.csv, mlperf_tiny.csv",
    )


def pytest_ignore_collect(collection_path, config):
    """The shape lists are no part of the repository, so their tests exist only when a folder is given."""
    return True if collection_path.name == "test_shapes.py" and config.getoption("shapes") is None else None


def pytest_collection_modifyitems(items):
    """What may take longest begins first: no process waits for it at the end of pytest -n --no-loadscope-reorder."""
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0))


@pytest.fixture
def rng(request):
    """Seeded by the test's name: the same numbers alone, in any order and on any machine."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=ENGINES, ids=str)
def engine(request):
    """One backend, capped to one instruction set, for the length of a test."""
    with request.param.use():
        yield request.param


def pytest_terminal_summary(terminalreporter, config):
    folder = config.getoption("shapes")
    notes = ["shape lists: pytest --shapes DIR tests/test_shapes.py"] if folder is None else read(folder)[1]
    lines = [*on_this_machine(), *notes]
    terminalreporter.section("not covered by this run")
    for line in lines:
        terminalreporter.line(line)
