"""The rules of the house that a program can check: who imports what, lengths, one version, the README's example."""

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

import tapwise

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "tapwise"

# What of ours each place may import, as in CONTRIBUTING.md. The command line and what it shows may import anything.
FAMILY = {"geometry", "ops", "layers", "initializers", "regularizers", "constraints", "random", "configured"}
STATE = {"backend", "geometry", "ops", "_version"}
MAY_IMPORT = {
    "backend/__init__.py": {"backend.interface"},
    "backend/interface.py": {"geometry"},
    "backend/reference.py": {
        "geometry",
        "backend.interface",
        "backend.low_precision",
        "backend.rows",
        "backend.separable",
        "backend.silent",
        "backend.taps",
        "backend.updates",
    },
    "backend/updates.py": {"backend.interface", "backend.silent"},
    "backend/separable.py": {"geometry"},
    "backend/groups.py": set(),
    "backend/low_precision.py": {"geometry", "backend.interface", "backend.taps"},
    "backend/rows.py": {"backend.interface", "backend.silent", "backend.taps"},
    "backend/silent.py": set(),
    "backend/taps.py": {"geometry", "backend.interface"},
    "backend/numba": {"geometry", "backend.groups", "backend.interface", "backend.numba", "backend.separable"},
    "backend/device.py": {
        "geometry",
        "backend.device_plan",
        "backend.groups",
        "backend.interface",
        "backend.separable",
        "backend.silent",
    },
    "backend/device_plan.py": {"geometry", "backend.cuda_extension", "backend.interface"},
    "backend/cuda.py": {"backend.cuda_extension", "backend.device", "backend.interface"},
    "backend/cuda_extension.py": set(),
    "backend/cuda_emulated.py": {"backend.device"},
    "backend/native.py": {"geometry", "backend.interface", "backend.separable", "backend._core"},
    "geometry.py": set(),
    "ops": {"backend", "geometry", "ops", "trace"},
    "plan.py": STATE,
    "tune.py": STATE | {"plan"},
    "isa.py": STATE,
    "threads.py": STATE,
    "workspace.py": STATE,
    "trace.py": STATE,
    "config.py": STATE,
    "layers/augment.py": FAMILY | {"data"},
    "layers/augment_colour.py": FAMILY | {"data"},
    "layers": FAMILY,
    "mixed_precision.py": {"layers"},
    "losses": FAMILY | {"losses"},
    "metrics": FAMILY | {"losses", "metrics"},
    "optimizers": FAMILY | {"optimizers"},
    "callbacks": {"callbacks", "saving", "random"},
    "history.py": set(),
    "constraints.py": {"configured"},
    "activations.py": {"layers"},
    "models": {"model", "model_config", "saving"},
    "utils": {"data", "drawing", "random"},
    "scaling.py": {"configured"},
    "drawing.py": {"layers"},
    "arrays.py": {"data"},
    "configured.py": set(),
    "initializers.py": {"random", "configured"},
    "regularizers.py": {"configured"},
    "random.py": set(),
    "model.py": {
        "layers",
        "trainer",
        "summary",
        "freezing",
        "graph",
        "schedule",
        "placement",
        "arena",
        "arrays",
        "saving",
        "model_config",
        "tape",
    },
    "tape.py": {"layers", "ops", "arrays", "model"},
    "graph.py": {"geometry", "layers", "ops"},
    "schedule.py": {"layers", "graph", "arena", "ops", "repeat"},
    "repeat.py": {"layers", "graph", "ops"},
    "arena.py": {"ops"},
    "placement.py": {"arena", "layers", "ops"},
    "quantization.py": {"layers", "model", "ops", "trainer", "arrays"},
    "summary.py": {"layers"},
    "objective.py": {"losses", "metrics"},
    "given.py": {"arrays", "data", "layers", "objective", "random", "scaling"},
    "trainer.py": {
        "layers",
        "losses",
        "metrics",
        "optimizers",
        "objective",
        "data",
        "console",
        "callbacks",
        "scaling",
        "history",
        "arrays",
        "given",
        "ops",
    },
    "explain": {"explain", "arrays", "console", "geometry", "layers", "model", "ops", "random", "saving", "tape"},
    "data": {"data"},
    "datasets.py": {"data"},
    "model_config.py": {"layers", "configured", "model"},
    "applications": {"applications", "layers", "initializers", "model"},
    "saving": FAMILY
    | {"_version", "data", "saving", "model", "model_config", "losses", "metrics", "optimizers", "scaling"}
    | {"interop.onnx"},
    "numpy_im2col.py": {"geometry"},
    "interop/onnx": {"interop.onnx", "backend", "geometry", "isa", "ops", "arena", "layers", "model"},
    "console.py": set(),
}
ONE_BACKEND = re.compile(r"backend\.(native|numba|reference|device|cuda|cuda_emulated|_core)\b")


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def cpp_files():
    return sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp", ".cu", ".inc"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(tree):
    """Every node but those that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if not is_type_checking(child):
            yield child
            yield from statements(child)


def imports(path):
    """Dotted names inside the package that a module imports, "backend._core", and their lines."""
    package = list(path.relative_to(PACKAGE).parent.parts)
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names if alias.name.split(".")[0] == "tapwise"]
            yield from ((".".join(name[1:]), node.lineno) for name in names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            if node.level:
                base = [*package[: len(package) - node.level + 1], *module]
            elif module[0] == "tapwise":
                base = module[1:]
            else:
                continue
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)


def allowed_for(path):
    name = path.relative_to(PACKAGE).as_posix()
    for place, allowed in MAY_IMPORT.items():
        if name == place or name.startswith(f"{place}/"):
            return allowed
    return None


def test_modules_import_what_they_may():
    refused = []
    for path in python_files("python/tapwise"):
        inside, allowed = path.relative_to(PACKAGE).parts[0] == "backend", allowed_for(path)
        for name, line in imports(path):
            known = allowed is None or any(name == other or name.startswith(f"{other}.") for other in allowed)
            if not known or (not inside and ONE_BACKEND.match(name)):
                refused.append(f"{name_of(path)}:{line}: {name}")
    assert refused == []


def test_users_import_no_extension():
    """Tests, benchmarks and examples use the public names: what works for them works for everyone."""
    pattern = re.compile(r"^\s*(?:from|import)\b.*\b_(?:core|gather|augment)\b", re.M)
    files = python_files("tests", "benchmarks", "examples")
    assert [name_of(path) for path in files if pattern.search(path.read_text(encoding="utf-8"))] == []


def includes_beyond(path):
    """What a C++ file includes and may not."""
    folder = path.relative_to(ROOT / "csrc").parts[0]
    includes = set(re.findall(r'#\s*include\s*[<"](.*)[>"]', path.read_text(encoding="utf-8")))
    if path.name == "shape.h":
        return includes - {"cstddef", "cstdint"}
    if folder == "cpu":
        own = {other.name for other in path.parent.iterdir()} | {
            "../shape.h",
            "../winograd_line.h",
            "../kernels.h",
            "../nn_kernels.h",
            "../kernels.inc",
            "../low_precision.inc",
            "../isa.h",
        }
        return includes - own - {"cstddef", "cstdint", "cassert", "immintrin.h", "arm_neon.h"}
    if folder == "cuda":
        return {
            name
            for name in includes
            if re.search(r"\.\.(?!/(?:shape|winograd_line|portable|ops|nn)\.h)|cpu/|bind/|pybind11|Python", name)
        }
    closed = ("cpu/", "intrin", "neon") if folder == "bind" else ("bind/", "pybind11", "Python.h")
    return {name for name in includes if any(word in name for word in closed)}


def test_sources_include_what_they_may():
    """Kernels are compiled once per instruction set: of the standard library they see three C headers."""
    assert {name_of(path): beyond for path in cpp_files() if (beyond := includes_beyond(path))} == {}


def test_files_keep_to_their_budgets():
    """400 lines, 500 for one GEMM or Winograd; 60 a Python function."""
    long = []
    for path in [*python_files("python", "tests", "benchmarks", "examples"), *cpp_files()]:
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        if lines > (500 if re.search("gemm|winograd", path.stem) else 400):
            long.append(f"{name_of(path)}: {lines} lines")
        functions = ast.walk(ast.parse(text)) if path.suffix == ".py" else ()
        for node in functions:
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > 60:
                long.append(f"{name_of(path)}: {node.name} has {lines} lines")
    assert long == []


def test_version_is_stated_once():
    files = [ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *cpp_files(), *python_files("python")]
    stated = [name_of(path) for path in files if tapwise.__version__ in path.read_text(encoding="utf-8")]
    assert stated == ["python/tapwise/_version.py"]
    assert f"\n## [{tapwise.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_kernel_is_dispatched():
    if "native" not in tapwise.backend.available():
        pytest.skip("the extension isn't built: pip install . (needs a C++20 compiler)")
    lists = [(ROOT / "csrc" / name).read_text(encoding="utf-8") for name in ("kernels.inc", "low_precision.inc")]
    listed = re.findall(r"^KERNEL\((\w+), \w+\)$", "".join(lists), re.M)
    assert listed
    with tapwise.backend.use("native"):
        assert tapwise.isa.kernels() == listed


def test_readme_example_prints_what_it_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.S).groups()
    assert len(example.splitlines()) <= 10
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, {})
    assert printed.getvalue() == output
