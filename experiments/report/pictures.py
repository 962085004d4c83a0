"""Pictures as part of a page."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

from sslsim.core.errors import reason


@dataclass(frozen=True)
class Picture:
    """A picture as a page holds it; ``problem`` says why it is not shown."""

    name: str
    caption: str
    problem: str = ""
    source: str = ""
    width: int = 0
    height: int = 0


def picture(path: Path, caption: str, limit: float) -> Picture:
    """Read a picture, unless it has more than ``limit`` megabytes."""
    try:
        size = path.stat().st_size
        if size > limit * 1e6:
            return Picture(
                path.name,
                caption,
                f"is left out: {size / 1e6:.1f} MB, where --picture-limit is {limit:g} MB",
            )
        content = path.read_bytes()
    except OSError as error:
        return Picture(path.name, caption, f"cannot be read: {reason(error)}")
    measured = _kind(content)
    if measured is None:
        return Picture(path.name, caption, "is damaged: no PNG or GIF picture")
    kind, width, height = measured
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(path.name, caption, "", source, width, height)


def _kind(content: bytes) -> tuple[str, int, int] | None:
    """Kind, width and height by the first bytes: a file's name proves nothing."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return "png", *struct.unpack(">II", content[16:24])
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        return "gif", *struct.unpack("<HH", content[6:10])
    return None
