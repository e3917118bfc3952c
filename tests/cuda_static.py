"""What nvcc makes of the CUDA kernels, without a GPU: registers, shared memory, spills, and their main loops.

Each source is compiled once for all architectures; ptxas says what a kernel takes, its PTX how many threads it is
launched with, nvdisasm what its machine code is.
"""

import re
import resource
import shutil
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from made_once import made_once
from tools import output

CUDA = Path(__file__).parents[1] / "csrc/cuda"
ARCHITECTURES = (75, 80, 90, 120)
UNBOUNDED = 256  # threads of the kernels that have no __launch_bounds__
FLAGS = ["-std=c++20", "-O3", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "-Xptxas", "-v"]
PRODUCT = re.compile(r"(FFMA|HMMA|HGMMA)\b")
STACK = re.compile(r"(LDL|STL)\b")


def sources():
    return sorted(CUDA.glob("*.cu"))


def nvdisasm():
    """The path of the program, or None: of a toolkit, or of PyPI's nvidia-cuda-nvdisasm."""
    wheel = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("*/bin/nvdisasm"))
    return shutil.which("nvdisasm") or (str(wheel[-1]) if wheel else None)


@dataclass(frozen=True)
class Loop:
    """The loop of a kernel with the most multiply-adds: they, and all of its instructions."""

    products: int
    instructions: int

    @property
    def share(self):
        return self.products / self.instructions


@dataclass(frozen=True)
class Kernel:
    """One instance of a kernel for one architecture; threads: of a block."""

    source: str
    symbol: str
    name: str
    architecture: int
    threads: int
    registers: int
    shared_bytes: int
    stack_bytes: int
    spilled_bytes: int

    @property
    def family(self):
        """The name without template arguments."""
        return self.name.partition("<")[0]


@dataclass(frozen=True)
class Compiled:
    """A source's object file, and what was kept on the way to it."""

    source: str
    folder: Path
    architectures: tuple

    @property
    def bytes(self):
        return (self.folder / "object.o").stat().st_size

    @property
    def seconds(self):
        """Of processors."""
        return float((self.folder / "seconds").read_text())

    @property
    def log(self):
        """What ptxas said of each kernel."""
        return (self.folder / "log").read_text()

    @cached_property
    def kernels(self):
        bounds = dict(
            re.findall(r"\.entry (\w+)\([^{]*?\.maxntid (\d+)", self._kept("ptx", self.architectures[0]).read_text())
        )
        found = re.findall(
            r"entry function '(\w+)' for 'sm_(\d+)a?'\n.*\n"
            r" +(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\n"
            r".*Used (\d+) registers(?:.*?(\d+) bytes smem)?",
            self.log,
        )
        names = demangled([symbol for symbol, *_ in found])
        return [
            Kernel(
                self.source, symbol, name, int(architecture), int(bounds.get(symbol, UNBOUNDED)),
                int(registers), int(shared or 0), int(stack), int(stored) + int(loaded),
            )
            for (symbol, architecture, stack, stored, loaded, registers, shared), name in zip(found, names, strict=True)
        ]  # fmt: skip

    def machine_code(self, architecture):
        """{symbol: lines of instructions and labels}."""
        text = output(nvdisasm(), "--print-code", self._kept("cubin", architecture))
        parts = re.findall(r"^\.text\.(\w+):\n(.*?)(?=^//-{5}|\Z)", text, re.M | re.S)
        return {symbol: re.findall(r"^(\.L_\w+):|^ +/\*\w+\*/ +(.*?) ?;", body, re.M) for symbol, body in parts}

    def _kept(self, suffix, architecture):
        return next(self.folder.glob(f"*.compute_{architecture}*.{suffix}"))


def compiled(source, folder, architectures=ARCHITECTURES):
    """Compile a source, warnings as errors, unless it is done; a folder in `folder` keeps the intermediate files."""

    def compile_into(new):
        new.mkdir(exist_ok=True)
        targets = [word for n in architectures for word in ("-gencode", f"arch=compute_{n},code=sm_{n}")]
        kept = ["--threads", 2, "--keep", "--keep-dir", new, "-c", source, "-o", new / "object.o"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        log = output("nvcc", *FLAGS, *targets, *kept, errors_too=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (new / "log").write_text(log)
        (new / "seconds").write_text(str(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))

    return Compiled(source.name, made_once(folder / source.stem, compile_into), tuple(architectures))


def demangled(symbols):
    """im2col_product<128 x 128, 4> and the like."""
    lines = output("c++filt", *symbols).splitlines() if symbols else []
    return [short(line) for line in lines]


def short(signature):
    """A kernel's name and template arguments, without namespaces; a tile by its rows, columns and elements."""
    signature = re.sub(r"tapwise::(?:cuda::)?|\(anonymous namespace\)::|^void |\((?:bool|int)\)", "", signature)
    signature = re.sub(r"\w*Tile<(\d+), (\d+)[^>]*>", r"\1 x \2", signature)
    signature = re.sub(r"TensorTile<(\w+), (\d+), (\d+)[^>]*>", r"\2 x \3 \1", signature).replace("__nv_", "")
    return signature.partition("(")[0].replace(" >", ">")


def main_loop(code):
    """The smallest of the loops that hold the most multiply-adds, tensor cores' before others."""
    places, instructions, loops = {}, [], []
    for label, instruction in code:
        if label:
            places[label] = len(instructions)
        else:
            instructions.append(re.sub(r"^@\S+ +", "", instruction))
    for end, instruction in enumerate(instructions, 1):
        jump = re.match(r"BRA\b.*\((\.L_\w+)\)", instruction)
        start = places.get(jump[1], end) if jump else end
        if start < end:
            kinds = [match[1] for word in instructions[start:end] if (match := PRODUCT.match(word))]
            loops.append((len(kinds) - kinds.count("FFMA"), len(kinds), start - end))
    _, products, size = max(loops, default=(0, 0, -1))
    return Loop(products, -size)


def stack_accesses(code):
    return [instruction for _, instruction in code if STACK.search(instruction)]
