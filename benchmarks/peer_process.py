"""The other end of peer_engines/worker.py: starts an engine's process, asks it, waits until all are asleep."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

PEERS = ("torch", "onnxruntime", "openvino", "ncnn", "jax")
# What caps an engine to AVX2; the others run as they are (JAX exceeds AVX2's peak under --xla_cpu_max_isa=AVX2 too).
CAPS = {
    "ours": {"TAPWISE_ISA": "avx2"},
    "torch": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "openvino": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}
IDLE_SHARE = 0.02  # of a CPU that sleeping processes may use between them
LONGEST_SETTLE = 1.0


class Process:
    """An engine in an interpreter of its own choice."""

    def __init__(self, name, python, settings, module="peer_engines.worker", extra=None):
        self.name, self.missing, self.facts = name, None, {}
        self.folder = tempfile.TemporaryDirectory()  # what tune() remembers stays here
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": self.folder.name,
            "JAX_PLATFORMS": "cpu",
            "OPENBLAS_NUM_THREADS": "1",
        }  # NumPy's products are no part of it; their threads would spin
        for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(variable, None)
        if settings["isa"]:
            environment |= CAPS.get(settings["engine"], {}) if settings["isa"] == "avx2" else {}
            environment |= {"TAPWISE_ISA": settings["isa"]} if settings["engine"] == "ours" else {}
        environment |= extra or {}
        self.process = subprocess.Popen(
            [python, "-m", module], cwd=Path(__file__).parent, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.tell(settings)

    def hello(self):
        """What the engine says of itself, or that it isn't installed."""
        answer = self.answer()
        self.facts, self.missing = answer.get("facts", {}), answer.get("missing", answer.get("error"))
        if self.missing:
            self.end()

    def ask(self, **message):
        self.tell(message)
        return self.answer()

    def tell(self, message):
        if self.process.poll() is None:
            print(json.dumps(message), file=self.process.stdin, flush=True)

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"ended with status {self.process.wait()}"}

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()

    def cpu_seconds(self):
        """Of all its threads so far, where the system counts them in nanoseconds."""
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:  # a thread that ended meanwhile
                continue
        return total / 1e9


def settle(engines):
    """Wait until no engine's threads spin any more: some do for up to 0.2 s after a call."""
    if not Path("/proc/self/task/self/schedstat").exists() and not Path("/proc/self/schedstat").exists():
        time.sleep(0.25)
        return
    end = time.perf_counter() + LONGEST_SETTLE
    before, start = sum(engine.cpu_seconds() for engine in engines), time.perf_counter()
    while time.perf_counter() < end:
        time.sleep(0.005)
        now, after = time.perf_counter(), sum(engine.cpu_seconds() for engine in engines)
        if after - before < IDLE_SHARE * (now - start):
            return
        before, start = after, now
