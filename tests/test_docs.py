"""What the README and the pages say exists: links, tests named, commands and their options."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from experiments.command_line import parsed

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md")),
    *sorted((ROOT / "experiments" / "docs").glob("*.md")),
]


def _code(text: str) -> list[str]:
    """Lines of code blocks, indented or fenced."""
    lines, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return lines


@cache
def _test_names() -> frozenset[str]:
    """Names of all test functions."""
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset(re.findall(r"^def (test_\w+)", "\n".join(texts), re.MULTILINE))


def _commands(page: Path) -> list[str]:
    joined = "\n".join(_code(page.read_text())).replace("\\\n", " ")
    found = (part.strip() for line in joined.splitlines() for part in line.split("&&"))
    return [line.split("#")[0].strip() for line in found if line.startswith("sslsim ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_and_modules_named_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for name in re.findall(r"`(test_\w+_\w+_\w+)`", text):
        assert name in _test_names(), f"{page.name} names {name}"
    for name in re.findall(r"`((?:theory|sslsim|experiments|paper_figs)(?:\.\w+)+)`", text):
        parts = name.split(".")
        # The last part may be a function of the module, or of the package.
        module = [ROOT.joinpath(*parts[:end]) for end in (len(parts), len(parts) - 1)]
        assert any(p.with_suffix(".py").exists() or p.is_dir() for p in module), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_read(page: Path) -> None:
    for line in _commands(page):
        if "..." in line or re.search(r"\b[A-Z]{3,}\b|[$\[]", line):  # of a loop, or a pattern
            continue
        arguments = shlex.split(line)[1:]
        if {"--help", "--version"} & set(arguments):
            continue
        try:
            parsed(arguments)
        except ValueError as error:
            pytest.fail(f"{page.name}: {line}: {error}")


def test_examples_of_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_commands_are_found_in_the_readme() -> None:
    assert "sslsim compare" in _commands(ROOT / "README.md")
