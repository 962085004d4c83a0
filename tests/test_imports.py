"""The law of the house: who may import whom, what lies at the top level, what is installed."""

import ast
import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from experiments.registry import STUDIES
from experiments.study import imported, variants

ROOT = Path(__file__).resolve().parents[1]
OURS = {"theory", "sslsim", "experiments", "paper_figs", "tests"}
ALLOWED = {
    "theory": {"theory"},
    "sslsim": {"sslsim"},
    "experiments": {"experiments", "theory", "sslsim"},
    "paper_figs": {"paper_figs", "theory", "sslsim.core.files", "sslsim.runs.folder"}
    | {"sslsim.measures.intervals"},
}
COMPUTED = {  # modules that import what they are told at run time
    "experiments.study",  # what the registry names
    "sslsim.runs.networks",  # a module of the user's
    "experiments.bench.train",  # other libraries, where they are installed
    "sslsim.core.lazy",  # names of a package at their first use
    "theory",  # its rooms, likewise
}
FILES = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", ".gitignore"}
TOP_LEVEL = FILES | {".ci", ".github", "tests"} | set(ALLOWED)
SITE = ROOT / "experiments" / "docs"  # pages and what builds them: not installed
MODULES = sorted(
    path for room in ALLOWED for path in (ROOT / room).rglob("*.py") if SITE not in path.parents
)


def name_of(path):
    """Dotted name of a module by its place."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree, path):
    """Yield the name of everything that a module imports, ``?`` for one that is computed."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # "from experiments import runs" imports sslsim.core.files.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("__import__", "importlib.import_module", "import_module") and node.args:
                name = node.args[0]
                yield name.value if isinstance(name, ast.Constant) else "?"


def breaches(path, text):
    """What a module's imports break of the law."""
    module = name_of(path)
    room = module.split(".")[0]
    for name in imports(ast.parse(text), path):
        first = name.split(".")[0]
        if room == "theory" and first in ("torch", "torchvision", "matplotlib"):
            yield f"{module} imports {name}: theory is numpy, scipy and sympy"
        if name == "?" and module not in COMPUTED:
            yield f"{module} imports a name that is computed"
        if first in OURS and not any(f"{name}.".startswith(f"{may}.") for may in ALLOWED[room]):
            yield f"{module} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_only_what_they_may(path):
    assert not list(breaches(path, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("theory/a.py", "import sslsim.data.datasets"),
        ("theory/a.py", "import torch.nn as nn"),
        ("theory/a.py", "def f():\n    from matplotlib import pyplot"),
        ("theory/a.py", "from ..sslsim import data"),
        ("theory/a.py", "import importlib\nimportlib.import_module('experiments.tables')"),
        ("sslsim/a.py", "from theory import predict_steps"),
        ("sslsim/a.py", "def f():\n    import experiments.tables"),
        ("experiments/a.py", "import tests.helpers"),
        ("experiments/a.py", "def f():\n    import paper_figs.style"),
        ("experiments/cli.py", "import paper_figs.style"),
        ("experiments/cli.py", "def f():\n    from paper_figs import style"),
        ("experiments/a.py", "from importlib import import_module\nimport_module(name)"),
        ("experiments/cli.py", "import importlib\nimportlib.import_module('paper_' + 'figs')"),
        ("paper_figs/a.py", "from sslsim import data"),
        ("paper_figs/a.py", "from sslsim.runs.stored import stored_options"),
        ("sslsim/a.py", "from experiments.studies.linear import predict"),
        ("paper_figs/a.py", "from experiments import compare"),
        ("paper_figs/a.py", "import experiments"),
        ("paper_figs/a.py", "from experiments.runsheet import x"),
    ],
)
def test_the_law_is_noticed_when_broken(where, text):
    assert list(breaches(ROOT / where, text))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("theory/a.py", "import numpy\nfrom . import b\nfrom theory.b import c\nimport torchless"),
        ("sslsim/__init__.py", "from . import b\nfrom .b import c\nimport torch"),
        ("experiments/study.py", "from importlib import import_module\nimport_module(name)"),
        ("experiments/a.py", "import importlib\nimportlib.import_module('torch.nn')"),
        (
            "experiments/a.py",
            "from theory import x\nimport sslsim.data.datasets\nfrom experiments import b",
        ),
        (
            "paper_figs/a.py",
            "from sslsim.core.files import read_json\nfrom sslsim.runs.folder import x",
        ),
    ],
)
def test_lawful_imports_pass(where, text):
    assert not list(breaches(ROOT / where, text))


def test_the_registry_names_what_exists_and_figures_where_they_belong():
    for study in variants(STUDIES):
        others = [study.tables, study.figure, study.parts]
        named = [study.options, study.run, *filter(None, others)]
        assert all(callable(imported(name)) for name in named), study.name
        runs_in = "paper_figs" if study.name == "figures" else "experiments"
        assert study.options.startswith(("experiments.", "sslsim.runs."))
        assert study.run.startswith(f"{runs_in}.")
        assert study.figure is None or study.figure.startswith("paper_figs.")


def tracked():
    """Files under version control, as paths relative to the root."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: no list of files under version control")
    return [name for name in done.stdout.split("\0") if name]


def test_top_level_holds_nothing_else():
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


def test_tests_are_not_installed():
    setuptools = pytest.importorskip("setuptools")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    find = settings["tool"]["setuptools"]["packages"]["find"]
    found = setuptools.find_packages(str(ROOT), **find)
    assert {name.split(".")[0] for name in found} == set(ALLOWED)
    # A folder without __init__.py would be importable here and missing once installed.
    assert {name_of(path.parent / "__init__.py") for path in MODULES} <= set(found)


def test_what_lies_beside_the_code_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for room, patterns in settings["tool"]["setuptools"]["package-data"].items():
        installed = {path for pattern in patterns for path in (ROOT / room).glob(pattern)}
        beside = {ROOT / name for name in tracked() if name.startswith(f"{room}/")}
        code = {path for path in beside if path.suffix in (".py", ".md") or "gallery" in path.parts}
        code |= {path for path in beside if SITE in path.parents}
        assert beside - code <= installed, room


def test_no_text_names_a_home_folder():
    pattern = re.compile(r"(?<![\w.~$}])/(?:home|Users|root|work)/\w")
    for name in tracked():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".json", ".jsonl", ".txt", "") and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
            hits = [line for line in lines if pattern.search(line)]
            assert not hits, f"{name}: {hits[0]}"


def folders():
    """Folders of the rooms that hold code."""
    return sorted({path.parent for path in MODULES})


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_holds_a_dozen_entries_at_most(folder):
    left_out = ("__init__.py", "py.typed", "__pycache__")
    entries = [path.name for path in folder.iterdir() if path.name not in left_out]
    assert len(entries) <= 12, entries


def cycles(graph):
    """Modules that import each other, by Tarjan's algorithm."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def test_no_modules_import_each_other():
    names = {name_of(path) for path in MODULES if path.name != "__init__.py"}
    graph = {}
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = set(imports(tree, path))
        graph[name_of(path)] = {
            name for whole in named for name in (whole, whole.rpartition(".")[0]) if name in names
        }
    assert cycles(graph) == []
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("name", ["sslsim", "theory", "sslsim.objectives", "sslsim.data"])
def test_no_function_shadows_a_module(name):
    package = importlib.import_module(name)
    folder = Path(package.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {p.name for p in folder.iterdir()}
    for exported in package.__all__:
        if exported in modules:
            assert getattr(package, exported).__name__ == f"{name}.{exported}"
    assert set(package.__all__) <= {*dir(package), *package.__all__}
