"""The two witnesses never meet: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("theory", "sslsim", "experiments", "paper_figs")
ALLOWED = {
    "theory": {"theory"},
    "sslsim": {"sslsim"},
    "experiments": {"experiments", "theory", "sslsim"},
    "paper_figs": {"paper_figs", "theory", "experiments.runs"},
}
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def _imports(tree):
    """Every dotted name that a module imports, with whether it does so inside a function."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in inside


def _permitted(path, name, within_function):
    room, top = path.relative_to(ROOT).parts[0], name.split(".")[0]
    if top not in ROOMS:
        return room != "theory" or top not in {"torch", "torchvision", "matplotlib"}
    if path == ROOT / "experiments" / "cli.py" and top == "paper_figs":
        return within_function
    return any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[room])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_keeps_the_import_law(path):
    broken = [
        name
        for name, within in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if not _permitted(path, name, within)
    ]
    assert broken == []


def test_the_law_can_be_broken():
    theory, cli = ROOT / "theory" / "gamma.py", ROOT / "experiments" / "cli.py"
    assert not _permitted(theory, "sslsim.data", False)
    assert not _permitted(theory, "torch", True)
    assert not _permitted(ROOT / "sslsim" / "steps.py", "theory.predict", False)
    assert not _permitted(ROOT / "experiments" / "runs.py", "paper_figs.style", True)
    assert not _permitted(ROOT / "paper_figs" / "style.py", "experiments.runsaway", False)
    assert _permitted(ROOT / "paper_figs" / "style.py", "experiments.runs.read_json", False)
    assert _permitted(cli, "paper_figs.staircase", True)
    assert not _permitted(cli, "paper_figs.staircase", False)
