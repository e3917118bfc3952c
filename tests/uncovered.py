"""What a run can not cover on this machine, listed at its end with the command that would help."""

import platform
from importlib.util import find_spec

from engines import ENGINES

LEVELS = {"x86_64": ("baseline", "avx2", "avx512"), "AMD64": ("baseline", "avx2", "avx512"), "aarch64": ("neon",)}
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow", "threadpoolctl": "threadpoolctl"}


def on_this_machine():
    backends = {engine.backend for engine in ENGINES}
    if "native" not in backends:
        yield "native: the extension is not built: pip install -e . (needs a C++20 compiler)"
    else:
        have = {engine.isa for engine in ENGINES}
        for level in LEVELS.get(platform.machine(), ()):
            if level not in have:
                yield f"native-{level}: this CPU does not run it; another machine or an emulator does"
    if platform.machine() != "aarch64":
        yield "native-neon: needs an Arm CPU, or qemu-user: see .ci/run"
    if "numba" not in backends:
        yield "numba: pip install numba"
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            yield f"{package}: pip install {package}"
