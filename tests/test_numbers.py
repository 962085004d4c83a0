"""Numbers of the README and the pages rest on stored results, or on commands beside them.

A digit that is changed is found: a held sentence is then missing, a said phrase too, and any other
number is loose.
"""

import re

import pytest
from claims import PAGES
from claims.page import REASONS, ROOT, code, loose_numbers, missing, plain

NAMES = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_says_what_is_stored(page):
    assert missing(page.source, page.sentences()) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_other_numbers_say_what_they_rest_on(page):
    phrases = [phrase for phrases in page.said.values() for phrase in phrases]
    assert missing(page.source, phrases) == []
    commands = code(page.source)
    for reason in page.said:
        assert reason in REASONS or reason in commands, reason


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_number_is_loose(page):
    phrases = [phrase for phrases in page.said.values() for phrase in phrases]
    assert loose_numbers(page.source, [*page.sentences(), *phrases]) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_changed_digit_is_found(page):
    text = plain(page.source)
    for said in page.sentences():
        place = text.index(" ".join(said.split()))
        for at in [found.start() for found in re.finditer(r"\d", said)][:40]:
            other = str((int(said[at]) + 1) % 10)
            changed = text[: place + at] + other + text[place + at + 1 :]
            assert missing(changed, [said]) or text.count(said) > 1


def test_every_page_is_judged():
    pages = [ROOT / "README.md", *sorted((ROOT / "experiments/docs").rglob("*.md"))]
    written = {str(path.relative_to(ROOT)) for path in pages}
    assert {name for name in written if "/reference/" not in name} == set(NAMES)
