"""NumPy's BLAS at full speed, the machine in every report, and the rows of a run that times nothing."""

import os
import sys
import time

import pytest

# OpenBLAS reads them when NumPy is imported; they slow it down where an environment sets them.
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    if os.environ.pop(variable, None) and "numpy" in sys.modules:
        raise pytest.UsageError(f"{variable} is set and NumPy is imported already: unset it")

from tapwise import bench  # noqa: E402

SMALL = 4 << 20  # bytes of a row's arrays


def pytest_collection_modifyitems(config, items):
    """Where nothing is timed the benchmarks are only tried, on their small rows: the tests have large ones."""
    if config.getoption("benchmark_enable") or not config.getoption("benchmark_disable"):
        return
    large = {item for item in items if bytes_of(item) > SMALL}
    config.hook.pytest_deselected(items=sorted(large, key=items.index))
    items[:] = [item for item in items if item not in large]


def bytes_of(item):
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return max((getattr(parameter, "bytes", 0) for parameter in parameters), default=0)


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["tapwise"] = bench.machine()


@pytest.fixture
def peak(benchmark):
    """Puts the FMA peak of this moment, GFLOP/s on all threads, into the report; NaN without the extension."""
    if benchmark.enabled:
        time.sleep(bench.SETTLE_SECONDS)
        benchmark.extra_info["peak"] = bench.fma_peak()
