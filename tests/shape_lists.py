"""Reads lists of convolution shapes: networks.csv, complaints.csv and mlperf_tiny.csv of a folder."""

import csv
import re
from dataclasses import dataclass

from cases import Case

LARGEST = 2e9  # operations of a row that is run


@dataclass(frozen=True)
class Row:
    """One line of a list. Its kernel is a pooling window too, and only that where it does not convolve."""

    case: Case
    convolves: bool = True
    ceil_mode: bool = False

    def __str__(self):
        return self.case.name


def same(size, k, strides):
    """TensorFlow's padding: ceil(in / stride) outputs, the odd one at the end."""
    totals = [max((-(-i // strides) - 1) * strides + extent - i, 0) for i, extent in zip(size, k, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def lines(path):
    with path.open(newline="") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))


def networks(path):
    columns = [
        ("id", "od", "kd", "sd", "dil_d", "pf", "pk"),
        ("ih", "oh", "kh", "sh", "dil_h", "pt", "pb"),
        ("iw", "ow", "kw", "sw", "dil_w", "pl", "pr"),
    ]
    for number, row in enumerate(lines(path), 1):
        axes = [tuple(int(row[name]) for name in axis) for axis in columns]
        while len(axes) > 1 and axes[0] == (1, 1, 1, 1, 1, 0, 0):
            axes.pop(0)
        size, _, k, strides, dilation, before, after = zip(*axes, strict=True)
        n, groups, ci, co = (int(row[name]) for name in ("n", "groups", "ci", "co"))
        name = f"{path.name}:{number} {row['set']} {row['name']}"
        padding = tuple(zip(before, after, strict=True))
        yield Row(Case(name, (n, *size, ci), k, co, strides, padding, dilation, groups))


def mlperf_tiny(path):
    for number, row in enumerate(lines(path), 1):
        ih, iw, ci, co, kh, kw, stride, groups = (int(v) for v in list(row.values())[2:])
        name = f"{path.name}:{number} {row['net']} {row['layer']}"
        padding = same((ih, iw), (kh, kw), stride)
        yield Row(Case(name, (1, ih, iw, ci), (kh, kw), co, (stride, stride), padding, (1, 1), groups))


def numbers(text):
    """The numbers before any remark in brackets; a range or an unknown is a ValueError."""
    return tuple(int(n) for n in re.sub(r"\(.*\)", "", text).split(","))


def complaint(path, row):
    """The row as a forward convolution: a transposed one is its input gradient. ValueError if a size is not stated."""
    name = f"{path.name}:{row['id']} {row['op']} {row['source']}"
    stride, dilation = int(row["stride"]), int(row["dil"])
    n, *x = numbers(row["x"])
    pool, transposed, last = "pool" in row["op"], "transpose" in row["op"], "NDHWC" in row["x"]
    if pool:
        ci = co = groups = x[0]
        size = x[1:]
        k = [int(extent) for extent in re.findall(r"k(\d+)", row["w"])] * len(size)
    else:
        groups, w = int(row["groups"]), numbers(row["w"])
        (*k, ci, co) = w if last else (*w[2:], w[1] * groups, w[0])
        size = x[:-1] if last else x[1:]
    pads = 0 if row["pad"] == "same" else int(row["pad"])
    if transposed and "out" not in row["x"]:
        extents = [stride] * len(k) if row["pad"] == "same" else k
        size = [(i - 1) * stride - 2 * pads + extent for i, extent in zip(size, extents, strict=True)]
    padding = same(size, k, stride) if row["pad"] == "same" else ((pads, pads),) * len(k)
    case = Case(name, (n, *size, ci), tuple(k), co, (stride,) * len(k), padding, (dilation,) * len(k), groups)
    return Row(case, convolves=not pool, ceil_mode="ceil" in row["op"])


def complaints(path, untold):
    for row in lines(path):
        try:
            yield complaint(path, row)
        except ValueError:
            untold.append(row["id"])


def read(folder):
    """Rows to run, and what to tell about the others."""
    untold = []
    rows = [
        *networks(folder / "networks.csv"),
        *complaints(folder / "complaints.csv", untold),
        *mlperf_tiny(folder / "mlperf_tiny.csv"),
    ]
    small = [row for row in rows if row.case.operations < LARGEST]
    notes = [f"{len(rows) - len(small)} rows of {folder} with {LARGEST / 1e9:.0f} GFLOP of work or more"]
    return small, [*notes, f"complaints.csv {', '.join(untold)}: a size is not stated, or not one size"]
