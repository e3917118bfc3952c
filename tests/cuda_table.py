"""The tables of docs/cuda.md: what each CUDA kernel takes, how full it leaves a device, and its bound by the roofline.

python tests/cuda_table.py              # needs nvcc, c++filt and nvdisasm, no GPU; takes minutes
python tests/cuda_table.py --into docs/cuda.md
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

from cuda_occupancy import DEVICES, WORK, blocks_resident, occupancy
from cuda_static import ARCHITECTURES, compiled, main_loop, nvdisasm, sources

A_PRODUCT = re.compile(r"product|winograd_2x2|im2col_\w*tensor")  # kernels with a main loop of multiply-adds


def table(titles, rows):
    """Markdown, the first column to the left."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def percent(share):
    return f"{100 * share:.0f} %"


def by_name(results):
    """{name: {architecture: Kernel}}, as the sources have them."""
    kernels = {}
    for result in results:
        for kernel in result.kernels:
            kernels.setdefault((kernel.source, kernel.name), {})[kernel.architecture] = kernel
    return {name: kernels[source, name] for source, name in sorted(kernels)}


def resources_table(results, loops):
    """A row a kernel; loops: {name: Loop}, of sm_80."""
    titles = ["kernel", "threads", f"registers, sm_{', '.join(map(str, ARCHITECTURES))}", "shared, bytes"]
    titles += [f"{device.name}: blocks, warps" for device in DEVICES] + ["multiply-adds in the main loop"]
    rows = []
    for name, kernels in by_name(results).items():
        one = kernels[80]
        fill = []
        for device in DEVICES:
            k = kernels[device.code]
            taken = k.threads, k.registers, k.shared_bytes, device.architecture
            fill.append(f"{blocks_resident(*taken)}, {percent(occupancy(*taken))}")
        loop = loops.get(name)
        share = ""
        if loop and A_PRODUCT.search(name):
            share = f"{loop.products} of {loop.instructions}, {percent(loop.share)}"
        registers = ", ".join(str(kernels[a].registers) for a in ARCHITECTURES)
        rows.append([f"`{name}`", one.threads, registers, one.shared_bytes, *fill, share])
    return table(titles, rows)


def roofline_table(results):
    """A row a kernel, whatever its template arguments."""
    titles = ["kernel", "for", "operations / byte", *(f"bound on {device.name}" for device in DEVICES)]
    families = sorted({kernel.family for result in results for kernel in result.kernels})
    rows = []
    for family in families:
        work = WORK[family]
        kind = "" if work.kind == "fp32" else f" {work.kind}"
        bounds = [device.bound(work) for device in DEVICES]
        rows.append([f"`{family}`", work.what, f"{work.intensity:.3g}{kind}", *bounds])
    return table(titles, rows)


def sources_table(results):
    """A row a source: seconds of processors and bytes, for all architectures."""
    rows = [[f"`{r.source}`", f"{r.seconds:.0f}", f"{r.bytes / 1024:.0f}"] for r in results]
    total = ["all", f"{sum(r.seconds for r in results):.0f}", f"{sum(r.bytes for r in results) / 1024:.0f}"]
    return table(["source", "seconds to compile", "KiB"], [*rows, total])


def main_loops(results, architecture):
    """{name: Loop}; empty without nvdisasm."""
    loops = {}
    for result in results if nvdisasm() else []:
        code = result.machine_code(architecture)
        kernels = (kernel for kernel in result.kernels if kernel.architecture == architecture)
        loops |= {kernel.name: main_loop(code[kernel.symbol]) for kernel in kernels}
    return loops


def tables(folder):
    """{title: Markdown} of all sources, compiled into the folder."""
    results = [compiled(source, folder) for source in sources()]
    return {
        "resources": resources_table(results, main_loops(results, 80)),
        "roofline": roofline_table(results),
        "sources": sources_table(results),
    }


def put_into(path, parts):
    """Replace what stands between <!-- title --> and <!-- end -->, for each title."""
    text = path.read_text(encoding="utf-8")
    for title, lines in parts.items():
        between = re.compile(rf"(<!-- {title} -->\n).*?(<!-- end -->)", re.S)
        assert between.search(text), f"{path} has no <!-- {title} -->"
        text = between.sub(lambda match, lines=lines: f"{match[1]}{lines}\n{match[2]}", text)
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, metavar="FILE", help="a Markdown file whose tables are replaced")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = tables(Path(folder))
    if chosen.into:
        put_into(chosen.into, parts)
    else:
        print("\n\n".join(parts.values()))


if __name__ == "__main__":
    main()
