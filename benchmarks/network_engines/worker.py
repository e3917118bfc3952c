"""One engine in a process: loads the ONNX file it is told, checks its result, times it, sleeps in a read otherwise."""

import json
import sys
import time

from peer_engines.worker import answering, error, limit, round_seconds, spread


def main():
    answer = answering()
    settings = json.loads(sys.stdin.readline())
    cpus = limit(settings["threads"])
    try:
        load, facts = ENGINES[settings["engine"]](settings["threads"])
        answer(facts=facts)
    except ImportError as missing:
        answer(missing=str(missing))
        return
    run = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if message["do"] == "prepare":
                run = None  # frees the network before
                run, told = prepare(load, message, cpus)
                answer(**told)
            else:
                answer(seconds=round_seconds(run, message["seconds"]))
        except Exception as failed:
            answer(error=f"{type(failed).__name__}: {failed}")


def prepare(load, message, cpus):
    """The call of a network, and what it took to load and to run first."""
    import numpy as np

    x, want = np.load(message["x"]), np.load(message["want"])
    start = time.perf_counter()
    run = load(message["path"], x)
    loaded = time.perf_counter()
    got = np.array(run())
    first = time.perf_counter()
    for _ in range(3):
        again = np.array(run())
    assert np.abs(again - got).max() <= 1e-4 * np.abs(want).max()
    spread(run, cpus)
    return run, {"load": loaded - start, "first": first - loaded, **error(got, want)}


def ours(threads):
    import tapwise
    from tapwise import bench
    from tapwise.interop import onnx

    tapwise.backend.use("native")
    tapwise.threads.set(threads)

    def load(path, x):
        model = onnx.load(path)
        return lambda: model(x)

    return load, {"machine": bench.machine(), "version": tapwise.__version__}


def onnxruntime(threads):
    import onnxruntime as engine

    def load(path, x):
        options = engine.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = engine.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x}
        return lambda: session.run(None, feed)[0]

    return load, {"version": engine.__version__}


def openvino(threads):
    import openvino as engine

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }

    def load(path, x):
        core = engine.Core()
        network = core.read_model(path)
        network.reshape(list(x.shape))
        request = core.compile_model(network, "CPU", options).create_infer_request()
        given = engine.Tensor(x, shared_memory=True)
        request.set_input_tensor(given)

        def run(_=given):
            request.infer()
            return request.get_output_tensor().data

        return run

    return load, {"version": engine.__version__.partition("-")[0]}


ENGINES = {"tapwise": ours, "onnxruntime": onnxruntime, "openvino": openvino}


if __name__ == "__main__":
    main()
