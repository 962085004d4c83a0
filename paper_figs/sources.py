"""Where stored results are from: folders of a campaign, listed in ``results/sources.toml``.

The first source whose ``result`` fits a name is that result's. A star stands for the same word in
the name of the result and in the folder of the campaign.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from paper_figs.store import RESULTS, store
from sslsim.core.files import read_json

LIST = RESULTS / "sources.toml"
_PLACES = ("result", "folder", "but")
CHANGED = "+changes"  # at the end of a revision: what ran is not what is kept of the code


@cache
def sources() -> tuple[Mapping[str, Any], ...]:
    """All sources, in the order in which they are asked."""
    return tuple(tomllib.loads(LIST.read_text(encoding="utf-8"))["source"])


def source_of(name: str) -> Mapping[str, Any] | None:
    """The source of a stored result, None if there is none.

    >>> source_of("linear/cifar10_1e-3_1")["folder"]
    'linear/*/compare'
    """
    fitting = (source for source in sources() if fnmatchcase(name, source["result"]))
    return next(fitting, None)


def folder_of(name: str) -> str:
    """Folder of a campaign that a stored result is from.

    >>> folder_of("kernels/resnet50_vicreg_1")
    'resnet50-cpu/cifar10_vicreg_1/ntk'
    """
    source = source_of(name)
    if source is None:
        raise ValueError(f"no source of {name}; expected one in {LIST.name}")
    return _filled(source["folder"], _word(source["result"], name))


def store_finished(campaign: Path, results: Path = RESULTS) -> list[str]:
    """Store what a campaign has finished, and say which results that is.

    Raises
    ------
    ValueError
        If there is nothing to store, or something ran from a revision with changes.
    """
    found: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for source in sources():
        for folder in sorted(campaign.glob(source["folder"])):
            word = _word(source["folder"], folder.relative_to(campaign).as_posix())
            name = _filled(source["result"], word)
            whole = all((folder / file).is_file() for file in ("config.json", *source["files"]))
            if whole and word not in source.get("but", ()) and source_of(name) is source:
                found[name] = (folder, source)
    if not found:
        raise ValueError(f"{campaign} has nothing to store; expected a campaign of evidence")
    for folder, _ in found.values():
        revision = read_json(folder / "config.json").get("revision") or f"none{CHANGED}"
        if revision.endswith(CHANGED):
            raise ValueError(f"{folder} is of revision {revision}; expected one without changes")
    for name, (folder, source) in found.items():
        kept = {key: source[key] for key in source if key not in _PLACES}
        store(folder, name, **kept, results=results)
    return list(found)


def _word(pattern: str, text: str) -> str:
    """What the star of a pattern stands for; nothing if it has none."""
    before, star, after = pattern.partition("*")
    return text[len(before) : len(text) - len(after)] if star else ""


def _filled(pattern: str, word: str) -> str:
    return pattern.replace("*", word)
