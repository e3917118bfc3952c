"""Pictures of what peers.py measured: bars by layer, and the roofline. Needs matplotlib: pip install ".[plots]"."""

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from peer_report import HEADINGS, title
from peer_table import best, peak, speed

BLUE, GREY = "#2b5d8c", "#555555"
MARKERS = {"torch": "v", "torch_cl": "^", "onnxruntime": "o", "openvino": "s", "ncnn": "D", "jax": "x"}
COLORS = {"torch": "#f2a65a", "torch_cl": "#d9480f", "onnxruntime": "#2f9e44", "openvino": "#7048e8", "ncnn": "#c2255c",
          "jax": "#868e96"}  # fmt: skip


def draw(run, folder, ending="svg"):
    """The files written: NAME-bars, and NAME-roofline where operations are counted."""
    name = title(run).replace(",", "").replace(" ", "-")
    written = [save(bars(run), folder / f"{name}-bars.{ending}")]
    if any(row["flops"] for row in run["rows"]):
        written.append(save(roofline(run), folder / f"{name}-roofline.{ending}"))
    return written


def save(figure, path):
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path


def bars(run):
    """A bar a layer is ours; a mark an engine; the line is the FMA peak."""
    rows = run["rows"]
    counted = any(row["flops"] for row in rows)
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.27 * len(rows)))
    places = range(len(rows))
    axes.barh(places, [speed(row, best(row)["seconds"]) for row in rows], color=BLUE, height=0.62, label="tapwise")
    for engine, marker in MARKERS.items():
        points = [
            (speed(row, row["columns"][engine]["seconds"]), place)
            for place, row in enumerate(rows)
            if engine in row["columns"]
        ]
        if points:
            outline = {} if marker == "x" else {"edgecolors": "white", "linewidths": 0.6}
            axes.scatter(*zip(*points, strict=True), marker=marker, s=34, color=COLORS[engine], zorder=3,
                         label=HEADINGS[engine], **outline)  # fmt: skip
    if counted:
        axes.axvline(max(map(peak, rows)), color=GREY, linewidth=1, linestyle="--", label="FMA peak", zorder=1)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("GFLOP/s of the direct method" if counted else "GB/s, each array counted once")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    columns = len(axes.get_legend_handles_labels()[0])
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=columns, fontsize=8, frameon=False,
                columnspacing=1.0, handletextpad=0.4)  # fmt: skip
    axes.set_title(title(run), fontsize=10, pad=24)
    return figure


def roofline(run):
    """Speed against operations a byte; above the roof only an algorithm with fewer multiplications can be."""
    rows = [row for row in run["rows"] if row["flops"]]
    top, rate = max(map(peak, rows)), run["copy_rate"]
    figure, axes = plt.subplots(figsize=(9, 5.4))
    intensity = [row["flops"] / row["bytes"] for row in rows]
    ours = [speed(row, best(row)["seconds"]) for row in rows]
    low, high = min(*intensity, top / rate) / 2, max(intensity) * 2
    axes.plot([low, top / rate, high], [low * rate, top, top], color=GREY, linewidth=1.2,
              label=f"{top:.0f} GFLOP/s, memory copied at {rate:.0f} GB/s")  # fmt: skip
    fastest = [
        (each, max(speed(row, row["columns"][name]["seconds"]) for name in MARKERS if name in row["columns"]))
        for each, row in zip(intensity, rows, strict=True)
        if row["fastest"]
    ]
    if fastest:
        axes.scatter(*zip(*fastest, strict=True), color="#d9480f", marker="o", s=22, label="fastest peer", zorder=2)
    axes.scatter(intensity, ours, color=BLUE, marker="s", s=26, label="tapwise", zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    number_points(axes, intensity, ours)
    names = "\n".join(f"{number}  {row['name']}" for number, row in enumerate(rows, 1))
    axes.text(1.02, 1, names, transform=axes.transAxes, va="top", fontsize=7.5, linespacing=1.35)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_xlabel("operations of the direct method a byte of x, w and y")
    axes.set_ylabel("GFLOP/s of the direct method")
    axes.grid(which="major", alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_title(title(run), fontsize=10)
    return figure


def number_points(axes, xs, ys):
    """A number beside each point; where another number is close, the next free place around the point."""
    figure = axes.figure
    axes.autoscale_view()
    figure.canvas.draw()
    taken = [axes.transData.transform(point) for point in zip(xs, ys, strict=True)]
    for number, (x, y) in enumerate(zip(xs, ys, strict=True), 1):
        here = axes.transData.transform((x, y))
        for dx, dy in [(8, 6), (-8, 6), (8, -8), (-8, -8), (0, 12), (0, -14), (16, 0), (-16, 0), (18, 14), (-18, 14)]:
            place = (here[0] + dx, here[1] + dy)
            if all(abs(place[0] - other[0]) > 12 or abs(place[1] - other[1]) > 9 for other in taken):
                break
        taken.append(place)
        axes.annotate(str(number), axes.transData.inverted().transform(place), fontsize=7, ha="center", va="center")
