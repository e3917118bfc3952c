"""interop.torch where PyTorch isn't installed, or is too old: an error that says how to get it, and nothing else."""

import sys

import pytest

from tapwise import interop


def test_enable_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torch.library", None)
    with pytest.raises(ImportError, match=r'needs PyTorch 2.10 or later: pip install "tapwise\[torch\]"'):
        interop.torch.enable()
    assert not interop.torch.enabled()
    interop.torch.disable()
    report = interop.torch.report()
    assert report.share == 1
    assert "100.0% of the calls" in str(report)
