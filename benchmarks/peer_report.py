"""What peers.py wrote, merged into runs of one setting each, as Markdown."""

import json
from pathlib import Path

from peer_table import PEER_COLUMNS, TUNED, US, best, mean, number, peak, ratio, speed

HEADINGS = {"torch": "torch", "torch_cl": "torch channels_last", "onnxruntime": "ORT", "openvino": "OpenVINO",
            "ncnn": "ncnn", "jax": "JAX"}  # fmt: skip
MICROSECONDS = ("tiny", "pool")  # suites in which a time says more than a rate


def is_peers(content):
    return "rows" in content or "runs" in content


def read(paths):
    """The runs in these files, those of one setting and suite merged: of a row's figures the last file's count."""
    runs = []
    for path in paths:
        content = json.loads(Path(path).read_text())
        runs += content.get("runs", [content])
    return merge(runs)


def merge(runs):
    merged = {}
    for run in runs:
        setting = run["settings"]
        key = setting.get("suite", run["rows"][0]["operation"]), setting["threads"], setting["isa"]
        into = merged.setdefault(key, {**run, "rows": [], "settings": {**setting, "suite": key[0], "commands": []}})
        into["engines"] = {**into["engines"], **run["engines"]}
        into["copy_rate"] = max(into["copy_rate"], run["copy_rate"])
        commands = into["settings"]["commands"]
        commands += [each for each in setting.get("commands", [setting.get("command")]) if each not in commands]
        for row in run["rows"]:
            row |= {"isa": setting["isa"]}
            row |= ratio(row)
        new = {(row["operation"], row["name"]) for row in run["rows"]}
        into["rows"] = [row for row in into["rows"] if (row["operation"], row["name"]) not in new] + run["rows"]
    return list(merged.values())


def title(run):
    setting = run["settings"]
    isa = f", capped to {setting['isa'].upper()}" if setting["isa"] else ""
    return f"{setting['suite']}, {setting['threads']} thread{'s' if setting['threads'] > 1 else ''}{isa}"


def markdown(run):
    """Machine, versions and commands, then a line a row."""
    engines, setting = run["engines"], run["settings"]
    versions = ", ".join(f"{name} {facts['version']}" for name, facts in engines.items() if name not in (US, TUNED))
    commands = "; ".join(f"`{command}`" for command in setting["commands"])
    head = f"### {title(run)}\n\n{engines[US]['machine']}; {versions}. {commands}\n"
    return f"{head}\n{table(run)}\n{summary(run['rows'])}\n"


def table(run):
    rows, suite = run["rows"], run["settings"]["suite"]
    ours = list(dict.fromkeys(name for row in rows for name in row["columns"] if name.startswith(US)))
    peers = [name for name in PEER_COLUMNS if any(name in row["columns"] for row in rows)]
    unit = "us" if suite in MICROSECONDS else "GFLOP/s"
    heads = [unit, *sorted(ours, key=len), *(HEADINGS[name] for name in peers), "ratio", "to", "peak", "%", "rms error"]
    counted = any(row["flops"] for row in rows) and suite not in MICROSECONDS
    if not counted:
        heads[-3:-1] = ["GB/s"] if suite == "pool" else []
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row in rows:
        cells = [cell(row, name, unit, ours) for name in (*sorted(ours, key=len), *peers)]
        tail = [f"{row['ratio']:.2f}", HEADINGS[row["fastest"]]] if row["fastest"] else ["-", "-"]
        if counted:
            share = 100 * speed(row, best(row)["seconds"]) / peak(row)
            tail += [f"{peak(row):.0f}", f"{share:.0f}"]
        elif suite == "pool":
            tail.append(number(row["bytes"] / best(row)["seconds"] / 1e9))
        tail.append(f"{best(row)['rms_error']:.1e}")
        lines.append(f"| {row['name']} | {' | '.join(cells + tail)} |")
    return "\n".join(lines) + "\n"


def cell(row, name, unit, ours):
    """Bold is the fastest of all engines."""
    if name not in row["columns"]:
        return "-"
    seconds = row["columns"][name]["seconds"]
    text = number(seconds * 1e6 if unit == "us" else speed(row, seconds))
    fastest = min(row["columns"][each]["seconds"] for each in row["columns"] if each in (*PEER_COLUMNS, *ours))
    return f"**{text}**" if seconds == fastest else text


def summary(rows):
    ratios = [row["ratio"] for row in rows if row["fastest"]]
    if not ratios:
        return "No peer took part."
    text = f"Geometric mean of the ratios {mean(ratios):.2f}, smallest {min(ratios):.2f}"
    if any(TUNED in row["columns"] for row in rows):
        text += f"; tuned {mean(ratio(row, TUNED)['ratio'] for row in rows if TUNED in row['columns']):.2f}"
    below = [row["name"] for row in rows if row["ratio"] < 1]
    text += f"; below 1: {', '.join(below)}." if below else "."
    if any(row["isa"] for row in rows):
        every = mean(ratio({**row, "isa": None})["ratio"] for row in rows)
        text += f" ORT, ncnn and JAX can't be capped, so they don't count; with them the mean would be {every:.2f}."
    return text
