"""Whole training steps of Tapwise beside PyTorch, TensorFlow and JAX: a process each, taking turns, the others asleep.

python benchmarks/train_peers.py [-k ResNet-20] [--threads 1] [--rounds 3] [--json FILE]
    --python torch=/path/to/python --python keras=/path/to/python        what runs where: benchmarks/README.md
"""

import argparse
import json
import sys
from pathlib import Path

import tapwise
from networks import TASKS
from peer_process import Process, settle

JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"  # Debian's libjemalloc2
KEPT_PAGES = {"LD_PRELOAD": JEMALLOC, "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"}
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GLOG_minloglevel": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
}
# column: (module, settings, environment)
ENGINES = {
    "Tapwise": ("ours", {}, {}),
    "torch": ("torch", {"channels_last": False}, {}),
    "torch_cl": ("torch", {"channels_last": True}, {}),
    "torch + jemalloc": ("torch", {"channels_last": False}, KEPT_PAGES),
    "torch_cl + jemalloc": ("torch", {"channels_last": True}, KEPT_PAGES),
    "TensorFlow": ("keras", {"xla": False}, QUIET),
    "torch_cl compiled": ("torch", {"channels_last": True, "compiled": True}, KEPT_PAGES),
    "JAX": ("jax", {}, {"JAX_PLATFORMS": "cpu"}),
    "TensorFlow XLA": ("keras", {"xla": True}, QUIET),
}
HEAD = f"{'':<20} {'ms':>9} {'images/s':>9} {'ratio':>7} {'peak MB':>9} {'beyond import':>14} {'first s':>8}"


def main(arguments=None):
    options = parse(arguments)
    run = {"threads": options.threads, "rounds": options.rounds, "networks": {}}
    for network in TASKS:
        if not options.k or any(word in network for word in options.k):
            run["networks"][network] = measure(network, options)
            print(table(network, run["networks"][network]), flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps(run, indent=1) + "\n")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", action="append", metavar="WORD", help="networks whose name contains it; may be repeated")
    parser.add_argument("--engines", default=",".join(list(ENGINES)[:6]), help="columns, separated by commas")
    parser.add_argument("--python", action="append", default=[], metavar="MODULE=PATH",
                        help="the interpreter that has torch, jax or keras")  # fmt: skip
    parser.add_argument("--threads", type=int, default=tapwise.threads.get())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of steps in a round")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if unknown := set(options.engines.split(",")) - set(ENGINES):
        parser.error(f"--engines must be of {', '.join(ENGINES)}, got {', '.join(sorted(unknown))}")
    return options


def measure(network, options):
    """column -> seconds of the best round's median step, peak memory, and so on."""
    pythons = dict(given.split("=", 1) for given in options.python)
    engines, found = [], {}
    for column in options.engines.split(","):
        module, settings, environment = ENGINES[column]
        settings = {"engine": module, "network": network, "threads": options.threads, "isa": None, **settings}
        python = pythons.get(module, sys.executable)
        engine = Process(column, python, settings, "train_engines.worker", environment)
        engine.hello()
        if engine.missing:
            print(f"{column} is left out: {engine.missing}")
            continue
        engines.append(engine)
        found[column] = {**engine.facts, "rounds": []}
    for _ in range(options.rounds):
        settle(engines)
        found[engines[0].name].setdefault("fma_peak", []).append(engines[0].ask(do="fma_peak")["value"])
        for engine in engines:
            settle(engines)
            answer = engine.ask(do="time", seconds=options.seconds)
            found[engine.name]["rounds"].append(answer["seconds"])
            found[engine.name]["peak_mb"] = answer["peak_mb"]
    for engine in engines:
        engine.end()
    return {column: {**facts, "seconds": min(facts["rounds"])} for column, facts in found.items()}


def table(network, found):
    """Times over ours: the ratio that a peer's row shows is how many times Tapwise is faster."""
    batch, ours = TASKS[network].batch, found["Tapwise"]["seconds"]
    lines = [f"\n{network}, {batch} images, {TASKS[network].optimizer}", HEAD]
    for column, facts in found.items():
        seconds = facts["seconds"]
        beyond = facts["peak_mb"] - facts["imported_mb"]
        lines.append(
            f"{column:<20} {seconds * 1e3:>9.1f} {batch / seconds:>9,.0f} {seconds / ours:>7.2f} "
            f"{facts['peak_mb']:>9.0f} {beyond:>14.0f} {facts['first_seconds']:>8.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
