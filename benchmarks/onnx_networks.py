"""Inference of whole networks from ONNX files beside ONNX Runtime and OpenVINO, batch 1: a process each, taking turns.

python benchmarks/onnx_networks.py [-k ResNet50] [--threads 2] [--rounds 5] [--json FILE] [--folder DIR]
    [--python onnxruntime,openvino=/path/to/python] [--profile]

The networks are tapwise.applications with random weights and statistics, written by tapwise.interop.onnx.export into
--folder, where they stay for the next run, or files of your own: --file net.onnx.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import tapwise
from peer_process import Process, settle
from tapwise.interop import onnx

NETWORKS = ("ResNet50", "VGG16", "MobileNetV2", "DenseNet121", "InceptionV3", "Xception")
ENGINES = ("tapwise", "onnxruntime", "openvino")
MODULE = "network_engines.worker"


def main(arguments=None):
    options = parse(arguments)
    folder = Path(options.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    paths = [Path(path).resolve() for path in options.file] or [
        written(name, folder) for name in NETWORKS if not options.k or any(word in name for word in options.k)
    ]
    if not paths:
        sys.exit("onnx_networks.py: no network's name contains what -k asks for")
    if options.profile:
        for path in paths:
            profile(path)
        return
    engines = start(options)
    print(engines[0].facts["machine"])
    print(", ".join(f"{engine.name} {engine.facts['version']}" for engine in engines), f"{options.threads} threads\n")
    rows = []
    try:
        for path in paths:
            rows.append(measure(path, folder, engines, options))
            print(line(rows[-1]), flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")
    finally:
        for engine in engines:
            engine.end()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", action="append", metavar="WORD", help="networks whose name contains it; may be repeated")
    parser.add_argument("--file", action="append", default=[], help="an ONNX file instead of our networks")
    parser.add_argument("--folder", help="where the networks' files are kept; a temporary one otherwise")
    parser.add_argument("--threads", type=int, default=tapwise.threads.get())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each engine in each round")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINES=PATH",
                        help="the interpreter that has these engines (all=PATH for both peers)")  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="print what takes our time instead, call by call")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args(arguments)


def written(name, folder):
    """The network's file, made unless it is there; statistics are random too, so that nothing of it is the identity."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        tapwise.set_random_seed(0)
        rng = np.random.default_rng(0)
        model = getattr(tapwise.applications, name)(weights=None, classifier_activation=None)
        for layer in model.layers:
            if isinstance(layer, tapwise.layers.BatchNormalization):
                for weight in layer.weights:
                    low, high = (-0.2, 0.2) if weight.name.endswith("mean") else (0.5, 1.5)
                    weight.value[...] = rng.uniform(low, high, weight.shape)
        onnx.export(model, path)
    return path


def start(options):
    pythons = {}
    for given in options.python:
        names, _, path = given.partition("=")
        pythons |= dict.fromkeys(ENGINES[1:] if names == "all" else names.split(","), path)
    common = {"threads": options.threads, "isa": None}
    found = [
        Process(name, pythons.get(name, sys.executable), {**common, "engine": name}, module=MODULE) for name in ENGINES
    ]
    for engine in found:
        engine.hello()
        if engine.missing:
            print(f"{engine.name} is left out: {engine.missing}")
    if found[0].missing:
        sys.exit("onnx_networks.py: install Tapwise for this interpreter")
    return [engine for engine in found if not engine.missing]


def measure(path, folder, engines, options):
    """Seconds of the best round of every engine, each round's too, and how far each is from the first run's result."""
    model = onnx.load(path)
    shape = [1, *model.inputs[0].shape[1:]]
    x = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    files = {name: str(folder / f"{name}.npy") for name in ("x", "want")}
    np.save(files["x"], x)
    np.save(files["want"], model(x))
    del model
    row = {"network": path.stem, "shape": shape, "engines": {}}
    for engine in engines:
        settle(engines)
        answer = engine.ask(do="prepare", path=str(path), **files)
        if "error" in answer:
            sys.exit(f"onnx_networks.py: {engine.name} on {path.stem}: {answer['error']}")
        row["engines"][engine.name] = {**answer, "rounds": []}
    for _ in range(options.rounds):
        for engine in engines:
            settle(engines)
            answer = engine.ask(do="time", seconds=options.seconds)
            row["engines"][engine.name]["rounds"].append(answer["seconds"])
    for found in row["engines"].values():
        found["seconds"] = min(found["rounds"])
    return row


def line(row):
    """Milliseconds of each engine and the fastest peer's over ours."""
    engines = row["engines"]
    times = "  ".join(f"{name} {found['seconds'] * 1e3:.2f} ms" for name, found in engines.items())
    peers = {name: found["seconds"] for name, found in engines.items() if name != "tapwise"}
    fastest = min(peers, key=peers.get, default=None)
    verdict = f"{peers[fastest] / engines['tapwise']['seconds']:.2f} x {fastest}" if fastest else "no peer"
    ours = engines["tapwise"]
    largest = max(found["max_error"] for found in engines.values())
    rest = f"load {ours['load']:.2f} s, first run {ours['first']:.2f} s, largest difference {largest:.0e}"
    return f"{row['network']}: {verdict}; {times}; {rest}"


def profile(path):
    """Each kind of call with its share of the time of a traced run, and NumPy's steps between the kernels."""
    model = onnx.load(path)
    x = np.random.default_rng(1).uniform(-1, 1, [1, *model.inputs[0].shape[1:]]).astype(np.float32)
    for _ in range(3):
        model(x)
    (plan,) = model.plans
    print(f"{path.stem}: {len(plan.steps)} steps, {plan.peak_bytes:,} bytes")
    for text, seconds in plan.profile([x]):
        print(f"  {seconds * 1e6:9.1f} us  {text}")


if __name__ == "__main__":
    main()
