"""Numbers of the README and the pages rest on stored results, or on commands beside them.

A digit that is changed is found: a held sentence is then missing, a said phrase too, and any other
number is loose.
"""

import random

import pytest
from claims import PAGES
from claims.page import REASONS, ROOT, code, missing, plain, result_places

NAMES = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_numbers_rest_on_results_or_on_commands(page):
    assert missing(page.source, page.sentences) == []
    assert page.faults(page.source) == []
    commands = code(page.source)
    for reason in page.said:
        assert reason in REASONS or reason in commands, reason


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_changed_digit_is_found(page):
    text = plain(page.source)
    places = result_places(text)
    for at in random.Random(0).sample(places, min(10, len(places))):
        changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
        assert page.faults(changed), text[max(0, at - 40) : at + 20]


def test_every_page_is_judged():
    pages = [ROOT / "README.md", *sorted((ROOT / "experiments/docs").rglob("*.md"))]
    written = {str(path.relative_to(ROOT)) for path in pages}
    assert {name for name in written if "/reference/" not in name} == set(NAMES)
