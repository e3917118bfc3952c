"""Compilers and other programs that tests run."""

import shutil
import subprocess

import pytest


def need(tool, package):
    """Skip where the tool isn't installed."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing: apt-get install {package}")


def output(*command, errors_too=False, **options):
    """What it prints; what it says of a failure fails the test."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, f"{command} gave {result.returncode}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stderr + result.stdout if errors_too else result.stdout
