"""The tutorials do what they say, followed from the first block to the last."""

import sys
from pathlib import Path

import pytest
from tutorials import blocks, follow

FOLDER = Path(__file__).parent.parent / "experiments" / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.md"))
RESULTS = {
    "formula": "",
    "images": "runs/fresh/prediction.png runs/compare/comparison.png page.html",
    "network": "runs/end/ntk.png runs/start/ntk.json",
    "loop": "run/comparison.png forecast/forecast.json overfitting/overfitting.json page.html",
    "memorised": "mine/memorization.png trained/memorization.json",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, whose modules can be imported and are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed(page, folder, capsys):
    for printed, shown in follow(page.read_text(encoding="utf-8"), folder, capsys):
        # Rows of numbers are left out of both; every other word shown is printed, in this order.
        rest = iter(printed)
        assert all(word in rest for word in shown), f"{shown} is not in {printed}"
    for name in RESULTS[page.stem].split():
        assert (folder / name).is_file(), name


def test_all_blocks_of_a_tutorial_are_read():
    for page in TUTORIALS:
        text = page.read_text(encoding="utf-8")
        assert len(blocks(text)) * 2 == text.count("\n```"), page.name
    assert blocks('```python title="a.py"\nx = 1\n```\n') == [("python", "a.py", "x = 1\n")]


def test_a_command_that_fails_and_words_that_are_not_printed_are_noticed(folder, capsys):
    with pytest.raises(AssertionError, match="dim is 0; expected"):
        list(follow("```sh\nsslsim predict --dim 0\n```\n", folder, capsys))
    page = "```sh\nsslsim predict --dim 2 --limit 50\n```\n\n```\ngamma 3\nnonsense\n```\n"
    ((printed, shown),) = follow(page, folder, capsys)
    assert shown == ["gamma", "nonsense"]
    assert "gamma" in printed
    assert "nonsense" not in printed
