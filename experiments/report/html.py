"""HTML put together from escaped pieces."""

from __future__ import annotations

import html
import re

# What HTML forbids in a document even when escaped: controls, surrogates and noncharacters.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000)
    )
    + "]"
)
_VOID = frozenset({"br", "hr", "img", "link", "meta"})


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    r"""Text as HTML, for content and for attributes.

    >>> str(escaped("<b> & 'c'")), str(escaped("a" + chr(0)))
    ('&lt;b&gt; &amp; &#x27;c&#x27;', 'a\ufffd')
    """
    if isinstance(text, Markup):
        return text
    # A carriage return becomes a line feed in any parser.
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", text.replace("\r", "\n")), quote=True))


def tag(name: str, /, *children: str, **attributes: str | int | bool | None) -> Markup:
    """An element with its content.

    >>> print(tag("p", "1 < 2 ", tag("b", "so"), class_="note"))
    <p class="note">1 &lt; 2 <b>so</b></p>
    >>> print(tag("img", src="data:,", alt='a "b"'))
    <img src="data:," alt="a &quot;b&quot;">
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        if children:
            raise ValueError(f"{name} was given content; expected none")
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{''.join(map(escaped, children))}</{name}>")


def joined(*pieces: str, between: str = "\n") -> Markup:
    """Pieces one after another.

    >>> print(joined(tag("b", "x"), "", "<y>", between=" "))
    <b>x</b> &lt;y&gt;
    """
    return Markup(between.join(escaped(piece) for piece in pieces if piece))
