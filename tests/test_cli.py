"""The command line: what it prints, what it writes, and one line for each mistake."""

import csv
import gzip
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tapwise
from tapwise import bench, callbacks, cli, data, demo, profile, recipe
from tapwise.saving import load_weights


@pytest.fixture(autouse=True)
def restored():
    """Commands choose backend and threads for the whole process."""
    with tapwise.backend.use(tapwise.backend.name()), tapwise.threads.set(tapwise.threads.get()):
        yield


@pytest.fixture
def digits():
    pytest.importorskip("sklearn", reason='pip install "tapwise[demo]"')


@pytest.fixture
def short(monkeypatch):
    """One tiny layer in the table, timed for an instant; one seed and one epoch in the demo."""
    monkeypatch.setattr(bench, "LAYERS", (bench.Layer("tiny 3x3 8-8 @6", (1, 6, 6, 8), (3, 3, 8, 8)),))
    monkeypatch.setattr(bench, "ROUND_SECONDS", 1e-4)
    monkeypatch.setattr(demo, "SEEDS", 1)
    monkeypatch.setattr(demo, "EPOCHS", 1)


def refused(arguments, capsys):
    """The one line on stderr of a command that exits with 2 and prints nothing else."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err.rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "tapwise: the following arguments are required: train | "),
        (["fly"], "tapwise: argument train | "),
        (["train", "--epochs", "0"], "tapwise train: argument --epochs: must be >= 1, got 0"),
        (["train", "--batch-size", "x"], "tapwise train: argument --batch-size: invalid int value: 'x'"),
        (["train", "--learning-rate", "nan"], "tapwise train: argument --learning-rate: must be >= 0, got nan"),
        (["train", "--seed", "-1"], "tapwise train: argument --seed: must be >= 0, got -1"),
        (["train", "--seed", 2**64], f"tapwise: seed must be in [0, 2**64), got {2**64}"),
        (
            ["train", "--data", "/nowhere"],
            "tapwise: --data must be digits, fashion-mnist or a path that exists, got /now",
        ),
        (["train", "--save", "/nowhere/w"], "tapwise: --save must name a file in a folder that exists, got /nowhere/w"),
        (["train", "--save", "/"], "tapwise: --save must name a file that can be written, got /"),
        (["train", "--image-size", "8"], "tapwise: --image-size belongs to a folder of images, got --data digits"),
        (["bench", "--backend", "cuda"], "tapwise: backend must be one of "),
        (["info", "--threads", "0"], "tapwise info: argument --threads: must be >= 1, got 0"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_mistakes(arguments, message, capsys):
    assert refused(arguments, capsys).startswith(message)


def test_bad_data_is_named(tmp_path, capsys):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    (tmp_path / "train-labels-idx1-ubyte").touch()
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes([0, 0, 0, 9] * 3)))
    want = f"tapwise: {path}: truncated: the header declares 729 bytes of data, found 0"
    assert refused(["train", "--data", tmp_path], capsys) == want


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    want = 'tapwise: the digits come with scikit-learn: pip install "tapwise[demo]"'
    assert refused(["train"], capsys) == want
    assert refused(["demo"], capsys) == want


def test_train_saves_what_it_tested(digits, tmp_path, capsys):
    path = tmp_path / "weights.npz"
    assert cli.main(["train", "--epochs", "1", "--seed", "3", "--threads", "1", "--save", str(path)]) == 0
    out = capsys.readouterr().out
    backend = tapwise.backend.name()
    assert f"digits: 1,438 training and 359 test images of 8x8x1, 10 classes; backend {backend}, 1 threads\n" in out
    assert out.endswith(f"weights saved to {path}\n")
    shown = re.search(r"^test accuracy (\d+\.\d\d)% of 359 images; trained [\d,]+ images/s$", out, re.MULTILINE)
    dataset = cli.load("digits", None, 3)
    model = recipe.network(dataset)
    load_weights(path, model)
    right = model.predict(dataset.x_test, verbose=0).argmax(1) == dataset.y_test
    assert shown.group(1) == f"{100 * right.mean():.2f}"


def test_a_seed_repeats_a_run_to_the_bit(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 6, 6, 1), np.uint8), np.arange(40) % 3
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = {"--data": "set.npz", "--save": name, "--epochs": 2, "--batch-size": 16, "--seed": seed}
        options |= {name: tmp_path / options[name] for name in ("--data", "--save")}
        assert cli.main(["train", *(str(word) for option in options.items() for word in option)]) == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    with np.load(tmp_path / "a") as first, np.load(tmp_path / "b") as second:
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert a != c
    assert len(a) == len(b)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_was_saved(digits, tmp_path):
    """A process in the background ignores Ctrl-C, and so do its children: the handler is Python's own again."""
    path = tmp_path / "weights.npz"
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start += "; from tapwise.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "train", "--epochs", "1000", "--save", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert re.fullmatch(rf"\n{re.escape(str(path))} holds the weights after epoch \d+\ntapwise: stopped\n", err)
    load_weights(path, recipe.network(cli.load("digits", None, 0)))
    assert os.listdir(tmp_path) == ["weights.npz"]


RUN = ["history.csv", "history.png", "model.svg", "model.tapwise", "summary.txt"]


def test_a_run_is_kept_in_a_folder(digits, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason='pip install "tapwise[plots]"')
    folder = tmp_path / "runs" / "first"
    assert cli.main(["train", "--epochs", "3", "--seed", "3", "--run", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"run saved to {folder}\n")
    assert sorted(os.listdir(folder)) == RUN
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert set(rows[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    model = tapwise.load_model(folder / "model.tapwise")
    dataset = cli.load("digits", None, 3)
    accuracy = model.evaluate(dataset.x_test, dataset.y_test, verbose=0)[1]
    text = (folder / "summary.txt").read_text(encoding="utf-8")
    assert text.endswith(f"test accuracy {accuracy:.2%} after 3 epochs\n")
    assert f"test accuracy {accuracy:.2%} of 359 images" in out
    _, (x, y) = data.stratified_split(dataset.x_train, dataset.y_train, test_size=0.1, seed=3)
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(model.evaluate(x, y, batch_size=128, verbose=0)[1])
    assert (
        refused(["train", "--run", folder], capsys) == f"tapwise: --run must name a folder without a run, got {folder}"
    )
    file = folder / "summary.txt"
    assert refused(["train", "--run", file], capsys) == f"tapwise: --run must name a folder, got the file {file}"


def test_ctrl_c_keeps_the_run(digits, tmp_path, monkeypatch, capsys):
    def interrupt(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.ModelCheckpoint, "on_epoch_begin", interrupt)
    assert cli.main(["train", "--epochs", "9", "--run", str(tmp_path)]) == 130
    assert capsys.readouterr().err == f"\n{tmp_path} holds the run up to epoch 2\ntapwise: stopped\n"
    assert sorted({*os.listdir(tmp_path), "history.png"}) == RUN
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3
    assert tapwise.load_model(tmp_path / "model.tapwise").optimizer.iterations == 2 * 11  # of 1,294 images
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8").endswith("stopped after 2 epochs\n")


def test_a_full_disk_ends_in_one_line(digits, tmp_path, monkeypatch, capsys):
    def savez(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--epochs", "1", "--save", str(tmp_path / "weights.npz")])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "tapwise: [Errno 28] No space left on device\n"
    assert os.listdir(tmp_path) == []


def test_larger_images_are_pooled_before_the_dense_layers():
    for shape in ((1, 1, 1), (3, 5, 2), (28, 28, 1), (20, 300, 3)):
        x = np.zeros((2, *shape), np.uint8)
        x[1] = 255
        model = recipe.network(tapwise.data.Dataset(x, np.array([0, 1]), x, np.array([0, 1]), ("a", "b")))
        assert model.output_shape == (None, 2)
        flat = next(i for i, layer in enumerate(model.layers) if layer.name == "flatten")
        assert max(model.shapes[flat][1:3]) <= 16
        np.testing.assert_allclose(model.layers[0](x.astype(np.float32)), np.where(x, 1, -1), atol=1e-6)


def test_bench_profile_shares_out_a_step(capsys, monkeypatch):
    monkeypatch.setattr(profile, "BATCH", 4)
    assert cli.main(["bench", "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == bench.machine()
    table = lines[lines.index(next(line for line in lines if line.startswith("operation"))) + 1 : -1]
    assert sum(float(line.split()[-1].rstrip("%")) for line in table) >= 99  # more where the traced steps took longer
    assert {"conv", "conv_grad_weight", "max_pool", "between"} <= {line.split()[0] for line in table}
    assert lines[-1].startswith("a step takes ")


def test_bench_has_a_row_for_every_engine(short, capsys):
    assert cli.main(["bench"]) == 0
    machine, peak, *rows = capsys.readouterr().out.splitlines()
    assert machine == bench.machine()
    native = "native" in tapwise.backend.available()
    assert re.fullmatch(r"FMA peak \d+ GFLOP/s" if native else "FMA peak not measured: .*", peak)
    engines = [engine.name for engine in bench.engines(bench.LAYERS[0])]
    assert engines[:2] == ["NumPy reference", "NumPy im2col + BLAS"]
    assert ("tapwise im2col" in engines) == ("tapwise direct" in engines) == native
    assert "tiny 3x3 8-8 @6" in rows[-len(engines)]
    for row, engine in zip(rows[-len(engines) :], engines, strict=True):
        assert re.search(rf"{re.escape(engine)} +\d+\.\d{{3}} +\d+\.\d +(\d+\.\d|-) +\d+\.\d +\d\.\de-0\d$", row)


def test_bench_refuses_wrong_results(monkeypatch):
    layer = bench.Layer("5x5", (2, 9, 9, 4), (5, 5, 2, 6), strides=2)
    wrong = bench.Engine("wrong", "numpy")
    for direction in ("forward", "grad_input", "grad_weight"):
        assert wrong.error(layer, direction) < 1e-6
    monkeypatch.setattr(bench.numpy_im2col, "conv", lambda x, w, b, y, g: y.fill(0.1))
    with pytest.raises(ArithmeticError, match=r"wrong is wrong on forward 5x5: error .*, at most 1\.7e-06"):
        wrong.error(layer)


def test_demo(digits, short, capsys):
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"seed 0: \d+\.\d\d% right, .*\nmean test accuracy \d+\.\d\d%\n", out)
    assert [line.split()[-5:] for line in out.splitlines() if "-1  2  0  " in line] == [
        list("02300"), list("02500"), list("00600")
    ]  # fmt: skip
    assert "tiny 3x3 8-8 @6" in out


def test_info_as_a_module():
    command = [sys.executable, "-m", "tapwise", "info", "--backend", "reference"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert re.search(rf"^ +version +{re.escape(tapwise.__version__)}$", run.stdout, re.MULTILINE)
    assert re.search(r"^ +name +reference$", run.stdout, re.MULTILINE)
    assert run.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe as another error")
def test_a_reader_that_leaves_ends_the_command_quietly():
    process = subprocess.Popen(
        [sys.executable, "-m", "tapwise", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)
