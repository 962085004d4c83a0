"""A page and what its numbers rest on.

``held`` of a page are functions that make sentences or table rows from stored results: the page
must have them. ``said`` are its other phrases with numbers, by what they rest on: "definition" (a
choice, a constant, arithmetic), "source" (a paper that the page names), or a command that stands on
the page and prints them. Any other number that looks like a result is loose.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[3]
REASONS = ("definition", "source")

_RESULT = re.compile(
    r"(?<![\w.])[-+\N{MINUS SIGN}\N{PLUS-MINUS SIGN}]?\d*\.\d+(?![\w.]*\d\.)"  # a decimal
    r"|\b\d+(?= ?%)"  # a percentage
    r"|\[[-+\N{MINUS SIGN}]?\d[^\]]*\]"  # an interval
    r"|\b\d+ of \d+"
    r"|\b\d+ points\b"
)
_IGNORED = re.compile(
    r"<!--.*?-->"
    r"|`[^`]*`"
    r"|\]\([^)]*\)"  # where a link leads
    r"|(?:arXiv |\[)\d{4}\.\d{4,5}(?:, \d{4}\.\d{4,5})*"
    r"|\(\d{4}\.\d{4,5}(?:, \d{4}\.\d{4,5})*\)"
    r"|\bv?\d+\.\d+\.\d+"  # a version
)


@dataclass(frozen=True)
class Page:
    """A page, functions of held sentences, and phrases by what they rest on."""

    name: str
    held: Sequence[Callable[[], str | Sequence[str]]] = ()
    said: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The page as it is written."""
        return (ROOT / self.name).read_text(encoding="utf-8")

    @cached_property
    def sentences(self) -> list[str]:
        """All held sentences."""
        made = [hold() for hold in self.held]
        return [each for text in made for each in ([text] if isinstance(text, str) else text)]

    @property
    def phrases(self) -> list[str]:
        """All said phrases."""
        return [phrase for phrases in self.said.values() for phrase in phrases]

    def faults(self, source: str) -> list[str]:
        """Sentences and phrases that a text lacks, and its loose numbers."""
        phrases = [*self.sentences, *self.phrases]
        return missing(source, phrases) + loose_numbers(source, phrases)


def plain(source: str) -> str:
    r"""Text of a page without its code blocks, in one line.

    >>> plain("A 1.5\nb\n\n    sslsim x\n\n```\n2.5\n```\n")
    'A 1.5 b'
    """
    lines, fenced = [], False
    for line in source.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            lines.append(line)
    return " ".join(" ".join(lines).split())


def code(source: str) -> str:
    """Code of a page, blocks and spans, in one line."""
    blocks, fenced = [], False
    for line in source.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            blocks.append(line.strip().removesuffix("\\"))
    spans = re.findall(r"`([^`]*)`", plain(source))
    return " ".join(" ".join([*blocks, *spans]).split())


def loose_numbers(source: str, phrases: Sequence[str]) -> list[str]:
    """Numbers that look like results and stand outside the phrases.

    >>> loose_numbers("It is 0.5 [0.4, 0.6] of `--lr 0.1`, or 7 %; arXiv 2303.15438.", ["or 7 %"])
    ['0.5', '[0.4, 0.6]']
    """
    text = plain(source)
    for phrase in sorted(phrases, key=len, reverse=True):
        text = text.replace(" ".join(phrase.split()), " \N{SECTION SIGN} ")
    return _RESULT.findall(_IGNORED.sub(" ", text))


def result_places(text: str) -> list[int]:
    """Places of the first digits of numbers that look like results.

    >>> result_places("`--lr 0.1` is 7 % off")
    [14]
    """
    blank = _IGNORED.sub(lambda found: " " * len(found[0]), text)
    return [found.start() + re.search(r"\d", found[0]).start() for found in _RESULT.finditer(blank)]


def missing(source: str, phrases: Sequence[str]) -> list[str]:
    """Phrases that the page does not have."""
    text = plain(source)
    return [phrase for phrase in phrases if " ".join(phrase.split()) not in text]
