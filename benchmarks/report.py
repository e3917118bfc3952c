"""The Markdown tables of benchmark runs, from pytest-benchmark's JSON and from that of peers.py.

python benchmarks/report.py conv.json [more.json ...] [--out FOLDER [--png]]

--out writes report.md, report.json with the runs of peers.py merged, and pictures of them (matplotlib: extra "plots").
"""

import argparse
import json
import math
from pathlib import Path

import peer_report

NUMPY = "NumPy im2col + BLAS"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    parser.add_argument("--png", action="store_true", help="pictures as PNG instead of SVG")
    options = parser.parse_args(arguments)
    contents = {path: json.loads(path.read_text()) for path in options.files}
    runs = peer_report.read([path for path, content in contents.items() if peer_report.is_peers(content)])
    parts = [suites(content) for content in contents.values() if not peer_report.is_peers(content)]
    text = "\n".join([*parts, *map(peer_report.markdown, runs)])
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.md").write_text(text + "\n")
        (options.out / "report.json").write_text(json.dumps({"runs": runs}, indent=1) + "\n")
        pictures(runs, options.out, "png" if options.png else "svg")


def pictures(runs, folder, ending):
    if not runs:
        return
    try:
        import plots
    except ImportError:
        print('no pictures: pip install ".[plots]"')
        return
    for run in runs:
        for path in plots.draw(run, folder, ending):
            print(f"wrote {path}")


def suites(run):
    """The tables of one pytest-benchmark file."""
    tables = [f"### {direction}\n\n{table(group)}" for direction, group in by(run["benchmarks"], "direction").items()]
    return "\n".join([f"{run['machine_info']['tapwise']}\n", *tables, side_by_side(run["benchmarks"])])


def by(benchmarks, key):
    groups = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark["extra_info"][key], []).append(benchmark)
    return groups


def table(benchmarks):
    """One line for each engine on each row of one direction; the row's fastest is bold."""
    columns = [column for column in COLUMNS if any(has(benchmark, column[1]) for benchmark in benchmarks)]
    lines = [
        f"| | | {' | '.join(name for name, *_ in columns)} |",
        "| --- | --- |" + " ---: |" * len(columns),
    ]
    for row, group in by(benchmarks, "row").items():
        fastest = min(group, key=seconds)
        numpy = next((seconds(b) for b in group if b["extra_info"]["engine"] == NUMPY), math.nan)
        for benchmark in group:
            engine = benchmark["extra_info"]["engine"]
            cells = [value(benchmark, numpy) if needs == NUMPY or has(benchmark, needs) else "-"
                     for _, needs, value in columns]  # fmt: skip
            name = "" if benchmark is not group[0] else row
            lines.append(f"| {name} | {f'**{engine}**' if benchmark is fastest else engine} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def has(benchmark, needs):
    return needs in (*benchmark["extra_info"], benchmark["extra_info"]["engine"])


def side_by_side(benchmarks):
    """One line for each row and engine that was timed in several directions: a layer's forward pass and gradients."""
    lines = []
    directions = list(by(benchmarks, "direction"))
    for row, group in by(benchmarks, "row").items():
        for engine, timed in by(group, "engine").items():
            cells = {benchmark["extra_info"]["direction"]: f"{seconds(benchmark) * 1e3:.3f}" for benchmark in timed}
            if len(cells) > 1:
                lines.append(f"| {row} | {engine} | {' | '.join(cells.get(d, '-') for d in directions)} |")
    heading = [
        "### Side by side, ms\n",
        f"| | | {' | '.join(directions)} |",
        "| --- | --- |" + " ---: |" * len(directions),
    ]
    return "\n".join(heading + lines) + "\n" if lines else ""


def seconds(benchmark):
    return benchmark["stats"]["median"]


def rate(key, unit):
    return lambda benchmark, numpy: shown(benchmark["extra_info"][key] / seconds(benchmark) / unit)


def share(key, of, unit=1e9):
    """Percent of what the same run measured."""
    return lambda benchmark, numpy: shown(
        100 * benchmark["extra_info"][key] / seconds(benchmark) / unit / benchmark["extra_info"][of]
    )


def shown(value):
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


# Heading, the entry of extra_info that it needs, the cell.
COLUMNS = [
    ("ms", "row", lambda benchmark, numpy: f"{seconds(benchmark) * 1e3:.3f}"),
    ("images/s", "images", rate("images", 1)),
    ("GFLOP/s", "flops", rate("flops", 1e9)),
    ("% of FMA peak", "peak", share("flops", "peak")),
    ("GB/s", "bytes", rate("bytes", 1e9)),
    ("% of copy", "copy_rate", share("bytes", "copy_rate")),
    ("x NumPy", NUMPY, lambda benchmark, numpy: f"{numpy / seconds(benchmark):.2f}"),
    ("workspace, MiB", "workspace", lambda benchmark, numpy: f"{benchmark['extra_info']['workspace'] / 2**20:.2f}"),
    ("error", "error", lambda benchmark, numpy: f"{benchmark['extra_info']['error']:.1e}"),
]


if __name__ == "__main__":
    main()
