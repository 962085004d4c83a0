"""The law of the house: who may import whom, what lies at the top level, what is installed."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"theory", "sslsim", "experiments", "paper_figs", "tests"}
ALLOWED = {
    "theory": {"theory"},
    "sslsim": {"sslsim"},
    "experiments": {"experiments", "theory", "sslsim"},
    "paper_figs": {"paper_figs", "theory", "experiments.runs"},
}
FILES = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", ".gitignore"}
TOP_LEVEL = FILES | {".ci", ".github", "tests"} | set(ALLOWED)
MODULES = sorted(path for room in ALLOWED for path in (ROOT / room).rglob("*.py"))


def name_of(path):
    """Dotted name of a module by its place."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree, path):
    """Yield (name, whether inside a function) for everything a module imports."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]

    def visit(node, inside):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # "from experiments import runs" imports experiments.runs.
            yield from ((f"{base}.{alias.name}", inside) for alias in node.names)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("__import__", "importlib.import_module", "import_module") and node.args:
                name = node.args[0]
                yield (name.value if isinstance(name, ast.Constant) else "?", inside)
        deeper = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, deeper)

    yield from visit(tree, False)


def breaches(path, text):
    """What a module's imports break of the law."""
    module = name_of(path)
    room = module.split(".")[0]
    for name, inside in imports(ast.parse(text), path):
        first = name.split(".")[0]
        if room == "theory" and first in ("torch", "torchvision", "matplotlib"):
            yield f"{module} imports {name}: theory is numpy, scipy and sympy"
        if first not in OURS:
            continue
        if module == "experiments.cli" and first == "paper_figs":
            if not inside:
                yield f"{module} imports {name} outside a function"
        elif not any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[room]):
            yield f"{module} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_only_what_they_may(path):
    assert not list(breaches(path, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("theory/a.py", "import sslsim.data"),
        ("theory/a.py", "import torch.nn as nn"),
        ("theory/a.py", "def f():\n    from matplotlib import pyplot"),
        ("theory/a.py", "from ..sslsim import data"),
        ("theory/a.py", "import importlib\nimportlib.import_module('experiments.runs')"),
        ("sslsim/a.py", "from theory import predict_steps"),
        ("sslsim/a.py", "def f():\n    import experiments.runs"),
        ("experiments/a.py", "import tests.helpers"),
        ("experiments/a.py", "def f():\n    import paper_figs.style"),
        ("experiments/cli.py", "import paper_figs.style"),
        ("experiments/cli.py", "if True:\n    from paper_figs import style"),
        ("paper_figs/a.py", "from sslsim import data"),
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
        ("experiments/cli.py", "def f():\n    from paper_figs import style"),
        ("experiments/a.py", "from theory import x\nimport sslsim.data\nfrom experiments import b"),
        ("paper_figs/a.py", "from experiments.runs import read_json\nfrom experiments import runs"),
    ],
)
def test_lawful_imports_pass(where, text):
    assert not list(breaches(ROOT / where, text))


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


def test_no_text_names_a_home_folder():
    pattern = re.compile(r"(?<![\w.~$}])/(?:home|Users|root|work)/\w")
    for name in tracked():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".json", ".jsonl", ".txt", "") and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
            hits = [line for line in lines if pattern.search(line)]
            assert not hits, f"{name}: {hits[0]}"
