"""A process in which NumPy's BLAS runs at full speed, and the machine in every report."""

import os
import sys
import time

import pytest

# OpenBLAS reads them when NumPy is imported; they slow it down where an environment sets them.
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    if os.environ.pop(variable, None) and "numpy" in sys.modules:
        raise pytest.UsageError(f"{variable} is set and NumPy is imported already: unset it")

from tapwise import bench  # noqa: E402


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["tapwise"] = bench.machine()


@pytest.fixture
def peak(benchmark):
    """Puts the FMA peak of this moment, GFLOP/s on all threads, into the report; NaN without the extension."""
    if benchmark.enabled:
        time.sleep(bench.SETTLE_SECONDS)
        benchmark.extra_info["peak"] = bench.fma_peak()
