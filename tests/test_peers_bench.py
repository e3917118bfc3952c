"""The comparison with other engines, without them: its rows, the talk between processes, ratios, files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import errors  # noqa: E402
import peer_process  # noqa: E402
import peer_report  # noqa: E402
import peer_rows  # noqa: E402
import peer_table  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
from tapwise.geometry import conv_geometry, pool_geometry  # noqa: E402

ALL = [
    *peer_rows.FORWARD,
    *peer_rows.TINY,
    *peer_rows.pooling(),
    *peer_rows.gradients("grad_input"),
    *peer_rows.gradients("grad_weight"),
    *peer_rows.cold(),
]
FAKE = '''"""An engine that sums the taps of a 1x1 convolution, and one way of it that is wrong."""

import time

from peer_engines import Call

def start(settings):
    print("a library's greeting")
    return {"version": "7", "threads": settings["threads"]}

def slow(a):
    time.sleep(0.002)
    return a["x"] @ a["w"][0, 0] + a["b"]

def calls(row, a):
    if row.name == "refused":
        raise ValueError("no such thing")
    yield Call("fake", lambda: a["x"] @ a["w"][0, 0] + a["b"], lambda y: y)
    yield Call("fake", lambda: slow(a), lambda y: y)
'''


@pytest.mark.parametrize("row", ALL, ids=lambda row: f"{row.operation} {row.name}")
def test_sizes_are_tapwises(row):
    """The rows count outputs and operations by themselves: peers' processes have no Tapwise."""
    shared = (row.strides, row.padding, row.dilation)
    if row.operation in peer_rows.POOL:
        g = pool_geometry(row.x_shape, row.kernel, *shared, False, False, "channels_last")
        assert row.flops == 0
    else:
        g = conv_geometry(row.x_shape, row.w_shape, *shared, None, "channels_last")
        ones = np.prod(g.y_shape) * np.prod(row.w_shape[:-1])
        assert row.flops == 2 * ones
        if row.operation != "grad_input":
            assert row.terms * np.prod(g.y_shape if row.operation == "forward" else row.w_shape) == ones
    assert row.y_shape == g.y_shape
    assert peer_rows.row_from_json(json.loads(json.dumps(row.as_json()))) == row


def test_tables_have_each_row_once():
    assert (len(peer_rows.FORWARD), len(peer_rows.GRADIENT), len(peer_rows.TINY)) == (26, 14, 4)
    for rows in (peer_rows.FORWARD, peer_rows.GRADIENT, peer_rows.pooling(), peer_rows.cold()):
        names = [(row.operation, row.name) for row in rows]
        assert len(set(names)) == len(names)


def test_cold_chains_exceed_the_cache():
    assert peer_rows.cold()
    for row in peer_rows.cold():
        assert row.x_shape == row.y_shape
        assert row.chain * 4 * np.prod(row.w_shape) >= 2 * peer_rows.L3_BYTES


def test_reads_a_table_of_shapes(tmp_path):
    table = tmp_path / "networks.csv"
    table.write_text(
        "set,name,n,groups,ci,co,id,ih,iw,od,oh,ow,kd,kh,kw,sd,sh,sw,dil_d,dil_h,dil_w,pf,pt,pl,pk,pb,pr\n"
        "1d,dw,2,8,8,8,1,1,16,1,1,16,1,1,3,1,1,1,1,1,1,0,0,1,0,0,1\n"
        "net,crop,1,1,3,4,1,9,9,1,4,4,1,3,3,1,2,2,1,1,1,0,0,0,0,0,0\n"
        "net,negative,1,1,3,4,1,10,10,1,5,5,1,1,1,1,2,2,1,1,1,0,0,0,0,-1,-1\n"
    )
    signal, image, negative = peer_rows.from_csv(table)
    assert (signal.name, signal.x_shape, signal.w_shape, signal.groups) == ("1d dw", (2, 16, 8), (3, 1, 8), 8)
    assert (image.x_shape, image.padding, image.y_shape) == ((1, 9, 9, 3), ((0, 0), (0, 0)), (1, 4, 4, 4))
    assert (negative.padding, negative.y_shape) == (((0, 0), (0, 0)), (1, 5, 5, 4))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A process with an engine that exists only here."""
    package = tmp_path / "peer_engines"
    package.mkdir()
    for name in ("__init__.py", "worker.py"):
        (package / name).write_text((BENCHMARKS / "peer_engines" / name).read_text())
    (tmp_path / "peer_rows.py").write_text((BENCHMARKS / "peer_rows.py").read_text())
    (package / "fake.py").write_text(FAKE)
    monkeypatch.setattr(peer_process, "__file__", str(tmp_path / "peer_process.py"))
    monkeypatch.setattr(peers, "PEERS", ("fake",))
    monkeypatch.setattr(peer_table, "PEER_COLUMNS", ("fake",))
    process = peer_process.Process("fake", sys.executable, {"engine": "fake", "threads": 1, "isa": None})
    process.hello()
    yield process
    process.end()


def test_engine_in_a_process(fake, tmp_path):
    row = peer_rows.conv("1x1", 1, 4, 1, 3, 5)
    assert fake.facts == {"version": "7", "threads": 1}
    peers.write_arrays(row, tmp_path)
    ((engine, way),) = peers.prepare(row, [fake], tmp_path)  # of the two ways the slow one is dropped
    assert engine is fake
    assert way["column"] == "fake"
    assert 0 < way["max_error"] < 1e-6
    assert 0 < fake.ask(do="time", way=0, seconds=0.001)["seconds"] < 0.002
    refused = {**row.as_json(), "name": "refused"}
    assert fake.ask(do="prepare", row=refused, folder=str(tmp_path)) == {"error": "ValueError: no such thing"}


def test_engine_that_is_not_installed():
    process = peer_process.Process("none", sys.executable, {"engine": "none", "threads": 1, "isa": None})
    process.hello()
    assert "peer_engines.none" in process.missing


def columns(**seconds):
    return {name.replace("_", " ", 1) if name.startswith("tapwise") else name: {"seconds": s, "rms_error": 1e-7,
            "max_error": 1e-7} for name, s in seconds.items()}  # fmt: skip


def test_packed_weights_are_compared_with_packers():
    row = {"columns": columns(tapwise=4.0, tapwise_packed=2.0, torch=6.0, onnxruntime=3.2, ncnn=3.6)}
    assert peer_table.ratio(row) == {"ratio": 1.5, "fastest": "torch"}
    row["columns"]["tapwise packed"]["seconds"] = 3.2
    assert peer_table.ratio(row) == {"ratio": 1.0, "fastest": "onnxruntime"}
    row["isa"] = "avx2"  # nothing caps ONNX Runtime, ncnn and JAX
    assert peer_table.ratio(row) == {"ratio": 1.5, "fastest": "torch"}
    assert peer_table.mean([2.0, 8.0, float("nan")]) == pytest.approx(4.0)


def test_a_line_says_speed_ratio_error_and_share():
    row = {**peer_rows.FORWARD[1].as_json(), "flops": 10**9, "bytes": 1, "peaks": [400.0, 500.0],
           "columns": columns(tapwise=0.004, onnxruntime=0.008)}  # fmt: skip
    text = peer_table.line({**row, **peer_table.ratio(row)})
    assert "3x3 64 @56 n1: 2.00 x onnxruntime, 4.00 ms, 50 % of peak 500" in text
    assert "tapwise 250 | onnxruntime 125" in text
    assert peer_table.means([{**row, "name": "slow", "ratio": 0.5}]).endswith("below 1.0: slow")


def measured(row, suite="forward", **seconds):
    """A file of peers.py with one row."""
    made = {
        **row.as_json(),
        "flops": row.flops,
        "bytes": row.bytes,
        "peaks": [400.0, 500.0],
        "columns": columns(**seconds),
    }
    settings = {"suite": suite, "threads": 2, "isa": None, "command": f"peers.py -k {row.name}"}
    engines = {"tapwise": {"machine": "a machine", "version": "1"}, "ncnn": {"version": "2"}}
    rows = [{**made, **peer_table.ratio(made)}]
    return json.loads(json.dumps({"settings": settings, "engines": engines, "copy_rate": 40.0, "rows": rows}))


def test_files_of_one_setting_are_merged():
    stem, square = peer_rows.FORWARD[:2]
    runs = [measured(stem, tapwise=1.0), measured(square, tapwise=1.0), measured(stem, tapwise=0.5)]
    (merged,) = peer_report.merge(runs)
    assert [(row["name"], row["columns"]["tapwise"]["seconds"]) for row in merged["rows"]] == [
        (square.name, 1.0), (stem.name, 0.5),
    ]  # fmt: skip
    assert merged["settings"]["commands"] == [f"peers.py -k {stem.name}", f"peers.py -k {square.name}"]
    assert peer_report.merge([merged]) == [merged]
    other = measured(stem, tapwise=1.0)
    other["settings"]["threads"] = 1
    assert len(peer_report.merge([*runs, other])) == 2


def test_report_writes_tables_data_and_pictures(tmp_path, capsys):
    square, tiny, pool = peer_rows.FORWARD[1], peer_rows.TINY[0], peer_rows.pooling()[0]
    runs = {
        "a": measured(square, tapwise=0.0005, tapwise_packed=square.flops / 1e12, ncnn=square.flops / 5e11),
        "b": measured(tiny, "tiny", tapwise=4e-6, onnxruntime=6e-6),
        "c": measured(pool, "pool", tapwise=0.002, torch=0.001),
    }
    for name, run in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    report.main([*(str(tmp_path / f"{name}.json") for name in runs), "--out", str(tmp_path / "out")])
    text = capsys.readouterr().out
    assert "| 3x3 64 @56 n1 | 462 | **1000** | 500 | 2.00 | ncnn | 500 | 200 | 1.0e-07 |" in text
    assert "| 3x3 3-8 @8 | **4.00** | 6.00 | 1.50 | ORT | 1.0e-07 |" in text
    assert "below 1: max pool 3x3 s2 64 @112 n16 nhwc." in text
    assert text.startswith((tmp_path / "out/report.md").read_text()[:-1])
    again = peer_report.read([tmp_path / "out/report.json"])
    assert [run["settings"]["suite"] for run in again] == ["forward", "tiny", "pool"]
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.svg"))
    assert pictures == [
        "forward-2-threads-bars.svg", "forward-2-threads-roofline.svg", "pool-2-threads-bars.svg",
        "tiny-2-threads-bars.svg", "tiny-2-threads-roofline.svg",
    ]  # fmt: skip


def test_error_table_compares_with_a_left_to_right_sum():
    found = list(errors.rows(6, channels=(7, 16), co=8))
    assert [(values, terms) for values, terms, _ in found] == [
        (values, terms) for values in ("normal", "hidden layer", "pixels") for terms in (63, 144)
    ]
    for values, terms, by_algorithm in found:
        assert by_algorithm["left to right"][2] == 1
        assert 0 < by_algorithm["direct"][0] < 1e-6, (values, terms)
        for algorithm in ("winograd-2x2", "winograd-4x4"):  # what accuracy="default" may choose
            if algorithm in by_algorithm:
                assert by_algorithm[algorithm][2] <= 4, (values, terms, algorithm)
    assert errors.table(found).count("\n") == 7


def test_refuses_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit, match="no row's name contains"):
        peers.main(["-k", "nothing"])
    with pytest.raises(SystemExit):
        peers.main(["--engines", "caffe"])
    assert "engines must be some of torch, onnxruntime, openvino, ncnn, jax, got caffe" in capsys.readouterr().err
    peers.main(["--list", "-k", "VGG"])
    assert capsys.readouterr().out.count("VGG") == 5
