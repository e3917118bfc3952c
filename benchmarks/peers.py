"""Tapwise beside PyTorch, ONNX Runtime, OpenVINO, ncnn and JAX: a process each, taking turns, the others asleep.

python benchmarks/peers.py [-k VGG] [--threads 1] [--isa avx2] [--direction grad_weight] [--json FILE]
    [--python torch,jax=/path/to/python] ...          what runs where: benchmarks/README.md
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import peer_rows
import tapwise
from peer_process import PEERS, Process, settle
from peer_table import TUNED, US, line, means, ratio
from tapwise import bench

CSV = peer_rows.from_csv


def main(arguments=None):
    options = parse(arguments)
    rows = selected(options)
    if options.list:
        print("\n".join(row.name for row in rows))
        return
    engines = start(options)
    run = {"settings": settings(options), "engines": {e.name: e.facts for e in engines}, "rows": []}
    run["copy_rate"] = copy_rate(options.threads)
    print(headline(run))
    try:
        for row in rows:
            run["rows"].append(measure(row, engines, options))
            print(line(run["rows"][-1]), flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps(run, indent=1) + "\n")
    finally:
        for engine in engines:
            engine.end()
    print(means(run["rows"]))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", action="append", metavar="WORD", help="rows whose name contains it; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--threads", type=int, default=tapwise.threads.get())
    parser.add_argument("--isa", help="cap Tapwise to it, and the peers that can be capped, to avx2 only")
    parser.add_argument("--direction", choices=peer_rows.CONV, default="forward")
    what = parser.add_mutually_exclusive_group()
    for name, text in SUITES.items():
        what.add_argument(f"--{name}", action="store_true", help=text)
    what.add_argument("--more", metavar="CSV", help="further networks: a table of shapes")
    parser.add_argument("--engines", default=",".join(PEERS), help="peers to measure, separated by commas")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINES=PATH",
                        help="the interpreter that has these engines (all=PATH for every peer)")  # fmt: skip
    parser.add_argument("--algorithm", action="append", default=[], help="measure this one of ours too")
    parser.add_argument("--tune", action="store_true", help="measure Tapwise after tune() too, in a process of its own")
    parser.add_argument("--quick", action="store_true", help="two short rounds, and only the fastest peers of a row")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if unknown := set(filter(None, options.engines.split(","))) - set(PEERS):
        parser.error(f"engines must be some of {', '.join(PEERS)}, got {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


SUITES = {
    "pool": "pooling and its gradients",
    "tiny": "whole calls that take microseconds",
    "cold": "chains of layers whose weights exceed the L3 cache",
}


def selected(options):
    if options.pool:
        rows = peer_rows.pooling()
    elif options.tiny:
        rows = peer_rows.TINY
    elif options.cold:
        rows = peer_rows.cold()
    elif options.more:
        rows = CSV(options.more, options.direction)
    elif options.direction != "forward":
        rows = peer_rows.gradients(options.direction)
    else:
        rows = peer_rows.FORWARD
    rows = [row for row in rows if not options.k or any(word in row.name for word in options.k)]
    if not rows:
        sys.exit("peers.py: no row's name contains what -k asks for; --list prints them")
    return rows


def settings(options):
    suite = next((name for name in SUITES if getattr(options, name)), options.direction)
    command = " ".join(["python benchmarks/peers.py", *map(shown, sys.argv[1:])])
    given = {name: getattr(options, name) for name in ("threads", "isa", "rounds", "quick")}
    return {"suite": "more" if options.more else suite, **given, "command": command}


def shown(argument):
    """Without the user's own paths."""
    name, equals, path = argument.partition("=")
    if equals and os.sep in path:
        return f"{name}=PATH"
    return f'"{argument}"' if " " in argument else Path(argument).name


def start(options):
    """The processes of Tapwise and of every peer that its interpreter has; prints which are missing."""
    pythons = {}
    for given in options.python:
        names, _, path = given.partition("=")
        pythons |= dict.fromkeys(PEERS if names == "all" else names.split(","), path)
    common = {"threads": options.threads, "isa": options.isa}
    ours = {**common, "engine": "ours", "algorithms": options.algorithm}
    found = [Process(US, pythons.get(US, sys.executable), {**ours, "column": US})]
    if options.tune:
        found.append(Process(TUNED, pythons.get(US, sys.executable), {**ours, "column": TUNED, "tune": True}))
    wanted = [name for name in options.engines.split(",") if name]
    found += [Process(name, pythons.get(name, sys.executable), {**common, "engine": name}) for name in wanted]
    for engine in found:
        engine.hello()
        if engine.missing:
            print(f"{engine.name} is left out: {engine.missing}")
    if found[0].missing:
        sys.exit("peers.py: install Tapwise for this interpreter, or name one that has it: --python tapwise=PATH")
    return [engine for engine in found if not engine.missing]


def headline(run):
    facts = run["engines"]
    peers = ", ".join(f"{name} {fact['version']}" for name, fact in facts.items() if name not in (US, TUNED))
    return f"{facts[US]['machine']}\n{peers}\ncopy {run['copy_rate']:.0f} GB/s; `{run['settings']['command']}`\n"


def measure(row, engines, options):
    """A row of the report: seconds of the best round of every engine, errors, the FMA peak of each round."""
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(row, Path(folder))
        ways = prepare(row, engines, Path(folder))
    if options.quick:
        ways = contenders(ways, 1.6)
    peaks = []
    for number in range(options.rounds):
        settle(engines)
        peaks.append(engines[0].ask(do="fma_peak")["value"])
        for engine, way in ways:
            settle(engines)
            answer = engine.ask(do="time", way=way["number"], seconds=0.03 if options.quick else 0.06)
            if "error" in answer:
                refuse(engine, row, answer)
            way.setdefault("rounds", []).append(answer.get("seconds", np.inf))
        if number == 0:
            ways = contenders(ways, 4.0) if options.quick else ways
    return report(row, ways, peaks, options.isa)


def prepare(row, engines, folder):
    """(engine, way) for each way of each engine that can do the row."""
    found = []
    for engine in engines:
        settle(engines)
        answer = engine.ask(do="prepare", row=row.as_json(), folder=str(folder))
        if "error" in answer:
            refuse(engine, row, answer)
        found += [(engine, {**way, "number": n}) for n, way in enumerate(answer.get("ways", ()))]
    return found


def refuse(engine, row, answer):
    """A peer that fails on a row is left out of it; we may not fail."""
    text = f"{engine.name} on {row.name}: {answer['error']}"
    if engine.name not in PEERS:
        sys.exit(f"peers.py: {text}")
    print(f"  {text}", file=sys.stderr)


def contenders(ways, times):
    """Ours, and the peers whose trial was at most so many times the fastest peer's."""
    peers = [way["try"] for engine, way in ways if engine.name in PEERS]
    return [pair for pair in ways if pair[0].name not in PEERS or pair[1]["try"] <= times * min(peers)]


def report(row, ways, peaks, isa):
    columns = {}
    for _, way in sorted(ways, key=lambda pair: min(pair[1]["rounds"])):
        if np.inf in way["rounds"]:
            continue
        columns.setdefault(way["column"], {
            "seconds": min(way["rounds"]) / row.chain, "rounds": way["rounds"], "first": way["first"],
            "max_error": way["max_error"], "rms_error": way["rms_error"],
        })  # fmt: skip
    made = {**row.as_json(), "flops": row.flops, "bytes": row.bytes, "isa": isa, "peaks": peaks, "columns": columns}
    return {**made, **ratio(made)}


def write_arrays(row, folder):
    """The inputs, the same for every engine, and the float64 result."""
    rng = np.random.default_rng(0)
    pool = row.operation in peer_rows.POOL
    shapes = {"x": row.x_shape, "dy": row.y_shape}
    shapes |= {} if pool else {"w": row.w_shape, "b": row.y_shape[-1:]}
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    if row.chain > 1:
        arrays["w"] *= np.float32(row.terms**-0.5)  # keeps the size of the values from layer to layer
        arrays["b"] *= np.float32(0.01)
    for name, a in arrays.items():
        np.save(folder / f"{name}.npy", a)
    np.save(folder / "want.npy", wanted(row, {name: a.astype(np.float64) for name, a in arrays.items()}))


def wanted(row, a):
    geometry = {"strides": row.strides, "padding": row.padding, "dilation": row.dilation}
    with tapwise.backend.use("reference"):
        if row.operation == "forward":
            y = a["x"]
            for _ in range(row.chain):
                y = tapwise.conv(y, a["w"], a["b"], **geometry)
            return y
        if row.operation == "grad_input":
            return tapwise.conv_grad_input(a["dy"], a["w"], row.x_shape, **geometry)
        if row.operation == "grad_weight":
            return tapwise.conv_grad_weight(a["x"], a["dy"], row.w_shape, **geometry)
        if row.operation == "average_pool":
            return tapwise.average_pool(a["x"], row.kernel, strides=row.strides)
        if row.operation == "average_pool_grad":
            return tapwise.average_pool_grad(a["dy"], row.x_shape, row.kernel, strides=row.strides)
        y, indices = tapwise.max_pool(a["x"], row.kernel, strides=row.strides, return_indices=True)
        return y if row.operation == "max_pool" else tapwise.max_pool_grad(a["dy"], indices, row.x_shape)


def copy_rate(threads):
    """GB/s of copying memory on so many threads, read and written bytes: the slope of the roofline."""
    from concurrent.futures import ThreadPoolExecutor

    source, target = np.ones(1 << 27, np.uint8), np.zeros(1 << 27, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), parts))
            seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds) / 1e9


if __name__ == "__main__":
    for variable in bench.BLAS_VARIABLES:  # set in some environments; they slow NumPy, and so the reference
        os.environ.pop(variable, None)
    main()
