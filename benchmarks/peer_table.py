"""What the figures of a run say: ratios to the fastest peer, shares of the peak, means; as lines of text."""

from math import exp, log, nan

US, TUNED = "tapwise", "tapwise tuned"
PACKED = f"{US} packed"
PACKERS = ("onnxruntime", "openvino", "ncnn")  # they pack weights when they load a model
UNCAPPED = ("onnxruntime", "ncnn", "jax")  # nothing makes them use less than the CPU has
PEER_COLUMNS = ("torch", "torch_cl", *PACKERS, "jax")


def ratio(row, ours=US):
    """Our speed over the fastest peer's: packed against peers that pack, as they come against the others.

    Where we are capped to an instruction set, peers that can't be are left out.
    """
    columns = row["columns"]
    found = {}
    for peer in PEER_COLUMNS:
        if peer in columns and not (row.get("isa") and peer in UNCAPPED):
            mine = columns.get(f"{ours} packed", columns[ours]) if peer in PACKERS else columns[ours]
            found[peer] = columns[peer]["seconds"] / mine["seconds"]
    fastest = min(found, key=found.get, default=None)
    return {"ratio": found.get(fastest, nan), "fastest": fastest}


def best(row):
    """Our own figure: packed where there is one."""
    return row["columns"].get(PACKED, row["columns"][US])


def mean(ratios):
    """Geometric, of those that are numbers."""
    numbers = [each for each in ratios if each == each]
    return exp(sum(map(log, numbers)) / len(numbers)) if numbers else nan


def speed(row, seconds):
    """GFLOP/s, or GB/s where nothing is multiplied."""
    return (row["flops"] or row["bytes"]) / seconds / 1e9


def peak(row):
    return max(row["peaks"])


def line(row):
    """One row: each engine, ours first; the ratio; percent of the peak; errors."""
    unit = "GFLOP/s" if row["flops"] else "GB/s"
    columns = row["columns"]
    seconds = best(row)["seconds"]
    time = f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
    share = f", {100 * speed(row, seconds) / peak(row):.0f} % of peak {peak(row):.0f}" if row["flops"] else ""
    tuned = f" (tuned {ratio(row, TUNED)['ratio']:.2f})" if TUNED in columns else ""
    ours = "  ".join(cell(row, name) for name in columns if name.startswith(US))
    peers = "  ".join(cell(row, name) for name in PEER_COLUMNS if name in columns)
    error = f"rms {best(row)['rms_error']:.1e} max {best(row)['max_error']:.1e}"
    others = [columns[name]["rms_error"] for name in PEER_COLUMNS if name in columns]
    if others:
        error += f" (peers' rms {min(others):.1e} to {max(others):.1e})"
    verdict = f"{row['ratio']:.2f} x {row['fastest']}" if row["fastest"] else "no peer"
    return f"{row['name']}: {verdict}{tuned}, {time}{share}\n  {unit}: {ours} | {peers}\n  {error}"


def cell(row, name):
    return f"{name} {number(speed(row, row['columns'][name]['seconds']))}"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def means(rows):
    """The last lines: the geometric mean of the ratios, and what is below 1."""
    ratios = [row["ratio"] for row in rows]
    below = [row["name"] for row, each in zip(rows, ratios, strict=True) if each < 1]
    text = f"\ngeometric mean {mean(ratios):.2f} over {len(rows)} rows"
    if any(TUNED in row["columns"] for row in rows):
        text += f", tuned {mean(ratio(row, TUNED)['ratio'] for row in rows):.2f}"
    return text + (f"; below 1.0: {', '.join(below)}" if below else "; no row below 1.0")
