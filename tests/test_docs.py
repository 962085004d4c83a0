"""What the README and the pages say exists: links, tests named, commands and their options."""

from __future__ import annotations

import re
import shlex
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from documented import undocumented

from experiments.command_line import parsed
from experiments.registry import STUDIES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "experiments" / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)")


def _code(text: str) -> list[str]:
    """Lines of code blocks, indented or fenced."""
    lines, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return lines


def _anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as mkdocs and forges name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", words) for words in plain}


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
    for target, heading in LINK.findall(page.read_text()):
        if "://" not in target:
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name} links to {target}"
            assert not heading or heading in _anchors(path), f"{page.name}: {target}#{heading}"


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


@pytest.mark.parametrize("page", PAGES[3:], ids=lambda page: page.name)
def test_pages_link_the_glossary(page: Path) -> None:
    assert page.name == "glossary.md" or re.search(r"\((\.\./)?glossary\.md\)", page.read_text())


def test_every_page_is_once_in_the_navigation_of_the_site() -> None:
    settings = (DOCS / "site" / "mkdocs.yml").read_text()
    listed = re.findall(r"^ +- .*: (\S+\.md)$", settings, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES[3:])


def test_every_public_package_has_a_page_of_reference() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ("theory", "sslsim")
        for path in [ROOT / room / "__init__.py", *(ROOT / room).glob("*/__init__.py")]
    }
    pages = {page.stem: page.read_text() for page in (DOCS / "reference").glob("*.md")}
    public = {name for name in packages if import_module(name).__all__}
    assert public <= pages.keys()
    for name, text in pages.items():
        assert f"\n::: {name}\n" in text
        import_module(name)


def test_the_home_page_shows_the_results_of_the_readme() -> None:
    assert "<!-- results of the README -->" in (DOCS / "index.md").read_text()
    assert "\n## Results\n" in (ROOT / "README.md").read_text()


def test_examples_of_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("name", ["recorder", "spectra"])
def test_examples_of_pages_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "experiments" / "docs" / f"{name}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), {})


def test_every_command_is_shown_on_a_page() -> None:
    assert undocumented(STUDIES, [page.read_text() for page in PAGES]) == []


def test_commands_are_found_in_the_readme() -> None:
    assert "sslsim compare" in _commands(ROOT / "README.md")


def test_the_test_command_of_the_readme_is_the_one_that_integration_runs() -> None:
    pattern = re.search(r'grep -m1 "(.*)" README.md', (ROOT / ".ci" / "run").read_text())
    assert pattern is not None
    lines = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in lines if re.match(pattern[1], line)]


def test_paths_of_the_contributing_page_exist() -> None:
    for path in re.findall(r"`([\w.]+/[\w./]*)`", (ROOT / ".github/CONTRIBUTING.md").read_text()):
        assert (ROOT / path).exists(), path


def test_code_that_the_glossary_names_exists() -> None:
    text = (ROOT / "experiments" / "docs" / "glossary.md").read_text()
    names = re.findall(r"`((?:theory|sslsim)(?:\.\w+)+)`", text)
    assert len(names) > 20
    for name in names:
        package, _, last = name.rpartition(".")
        if not hasattr(import_module(package), last):
            import_module(name)


def test_the_citation_names_this_version_and_holds_what_its_format_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "CITATION.cff").read_text()
    # The subset of YAML used: keys and values, lists by dashes, two spaces a level.
    shape = re.compile(r"(?:  )*(?:- )?(?:[a-z-]+:(?: (?:\".*\"|(?!.*: )[^\"].*))?|[^:]+)")
    assert all(shape.fullmatch(line) for line in text.splitlines())
    keys = dict(re.findall(r"^([a-z-]+): ?(.*)$", text, re.MULTILINE))
    assert keys.keys() >= {"cff-version", "message", "title", "authors"}
    assert (keys["cff-version"], keys["version"]) == ("1.2.0", project["version"])
    assert keys["license"] == project["license"]["text"]
    references = text.partition("references:")[2].split("  - type: ")[1:]
    assert [re.search(r"abs/(\S+)", entry)[1] for entry in references] == [
        "2303.15438", "2410.00772", "2401.12233",
    ]  # fmt: skip
    for entry in references:
        assert re.search(r"title: \S", entry)
        assert entry.count("given-names:") == entry.count("family-names:") > 1


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version in headings


def test_results_that_answer_questions_of_the_papers_are_stored():
    lines = (DOCS / "papers.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    answers = [row for row in rows if len(row) == 5 and row[0] not in ("question", "---")]
    assert len(answers) > 12
    for question, _, results, _, _ in answers:
        names = re.findall(r"`([^`]+)`", results)
        assert names or results == "-", question
        for name in names:
            before, _, rest = name.partition("{")
            inside, _, after = rest.partition("}")
            for part in inside.split(","):
                folder = ROOT / "paper_figs" / "results" / (before + part + after)
                assert (folder / "config.json").exists(), (question, folder)
