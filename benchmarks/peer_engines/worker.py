"""One engine in a process: prepares rows and times them when it is told, and sleeps in a read otherwise.

Messages are lines of JSON over standard input and output; what the engine's libraries print goes to standard error.
"""

import gc
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from statistics import median

WARM_SHARE = 0.2


def main():
    answer = answering()
    settings = json.loads(sys.stdin.readline())
    cpus = limit(settings["threads"])
    try:
        engine = import_module(f"peer_engines.{settings['engine']}")
        answer(facts=engine.start(settings))
    except ImportError as error:
        answer(missing=str(error))
        return
    calls = []
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if message["do"] == "prepare":
                calls = None  # frees what the last row held
                gc.collect()
                calls, ways = prepare(engine, message, cpus)
                answer(ways=ways)
            elif message["do"] == "time":
                answer(seconds=round_seconds(calls[message["way"]].run, message["seconds"]))
            else:
                answer(value=getattr(engine, message["do"])())
        except Exception as error:
            calls = []
            answer(error=f"{type(error).__name__}: {error}")


def answering():
    """answer(**message) writes a line to standard output, which from here on is standard error to everybody else."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**message):
        print(json.dumps(message), file=answers, flush=True)

    return answer


def limit(threads):
    """Keep the process to as many CPUs as it may have threads: some engines can't be told otherwise."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cpus)
    return cpus


def spread(run, cpus):
    """Pin the threads that do the work to a CPU each, if there are as many.

    Woken threads were seen to share a CPU for whole rounds, at half the speed, in every third process.
    """
    before = thread_nanoseconds()
    for thread in before:
        os.sched_setaffinity(thread, cpus)
    round_seconds(run, 0.01)
    spent = {thread: after - before.get(thread, 0) for thread, after in thread_nanoseconds().items()}
    busiest = sorted(spent, key=spent.get, reverse=True)[: len(cpus)]
    if len(busiest) == len(cpus) and all(spent[thread] > 0.7 * sum(spent.values()) / len(cpus) for thread in busiest):
        for cpu, thread in zip(cpus, sorted(busiest), strict=True):
            os.sched_setaffinity(thread, [cpu])


def thread_nanoseconds():
    """CPU time of each thread of this process, where the system tells."""
    files = Path("/proc/self/task").glob("*/schedstat")
    return {int(file.parent.name): int(file.read_text().split()[0]) for file in files}


def prepare(engine, message, cpus):
    """The calls of a row, checked against float64 and tried: of those in one column the slow ones are dropped."""
    import numpy as np

    from peer_rows import row_from_json

    row = row_from_json(message["row"])
    arrays = {path.stem: np.load(path) for path in Path(message["folder"]).glob("*.npy")}
    want = arrays.pop("want")
    found = []
    for call in engine.calls(row, arrays):
        start = time.perf_counter()
        got = call.run()
        first = time.perf_counter() - start
        spread(call.run, cpus)
        errors = error(np.asarray(call.result(got)), want)
        found.append((call, {"column": call.column, "first": first, "try": round_seconds(call.run, 0.01), **errors}))
    best = {}
    for _, way in found:
        best[way["column"]] = min(way["try"], best.get(way["column"], way["try"]))
    kept = [(call, way) for call, way in found if way["try"] <= 1.3 * best[way["column"]]]
    return [call for call, _ in kept], [way for _, way in kept]


def error(got, want):
    """Largest and rms difference, over the largest and the rms value."""
    import numpy as np

    if got.shape != want.shape:
        raise ValueError(f"the result must have shape {want.shape}, got {got.shape}")
    difference = got - want
    rms = np.sqrt(np.mean(want**2))
    return {
        "max_error": float(np.abs(difference).max() / np.abs(want).max()),
        "rms_error": float(np.sqrt(np.mean(difference**2)) / rms),
    }


def round_seconds(run, seconds):
    """The median of the calls that fit into so many seconds after a warm-up, one at least."""
    clock = time.perf_counter
    end = clock() + WARM_SHARE * seconds
    run()
    while clock() < end:
        run()
    times, end = [], clock() + seconds
    while not times or clock() < end:
        start = clock()
        run()
        times.append(clock() - start)
    return median(times)


if __name__ == "__main__":
    main()
