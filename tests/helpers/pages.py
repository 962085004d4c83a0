"""Judging a page of HTML by its source: what a browser would forgive, a test does not."""

import re
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "link", "meta", "input"}
REACHING = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background"}


class Page(HTMLParser):
    """A page read through; ``faults`` says what is wrong with it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.faults, self.ids, self.targets, self.open, self.texts = [], [], [], [], []
        self.tags, self.images, self.fetched = [], [], []
        if not text.startswith("<!DOCTYPE html>"):
            self.faults.append("no doctype")
        if found := re.search(
            "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", text
        ):
            self.faults.append(f"forbidden character {found[0]!r}")
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"left open: {self.open}")
        self.faults += [f"id {name} twice" for name in set(self.ids) if self.ids.count(name) > 1]
        self.faults += [f"no place #{name}" for name in self.targets if name not in self.ids]
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, name, attributes):
        """Keep what an element is and asks for."""
        self.tags.append(name)
        given = dict(attributes)
        if len(given) < len(attributes):
            self.faults.append(f"attribute twice in {name}")
        if "id" in given:
            self.ids.append(given["id"])
        for key in REACHING & set(given):
            if given[key].startswith("#"):
                self.targets.append(given[key][1:])
            elif not given[key].startswith("data:"):
                self.fetched.append(given[key])
        if any(key.startswith("on") for key in given):
            self.faults.append(f"script in {name}")
        if name == "img":
            self.images.append(given)
            if not given.get("alt"):
                self.faults.append("an image without a text for it")
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        """HTML has no such tags."""
        self.faults.append(f"<{name}/>")

    def handle_endtag(self, name):
        """Close the element opened last, and no other."""
        if not self.open or self.open.pop() != name:
            self.faults.append(f"</{name}> closes nothing")

    def handle_data(self, data):
        """Keep texts; look through styles."""
        if self.open and self.open[-1] == "style":
            if "url(" in data or "@import" in data:
                self.fetched.append(data)
        else:
            self.texts.append(data)


def judged(text):
    """The page, after making sure that it is valid, runs no script and fetches nothing."""
    page = Page(text)
    assert not page.faults, page.faults
    assert not page.fetched, page.fetched
    assert "script" not in page.tags
    return page
