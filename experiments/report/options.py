"""Options of ``sslsim report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class ReportOptions:
    """Make one self-contained HTML page of run folders.

    Runs that differ by their seed only are summed up together. The page needs no network and no
    script; everything in it is read from the folders, and what is missing or doubtful it says.

    Attributes
    ----------
    folders : tuple of Path
        Run folders, or folders that hold run folders at any depth.
    picture_limit : float
        Leave out pictures larger than so many megabytes.
    out : Path
        The page, if it ends in .html; else a folder for report.html.
    """

    folders: Positional[tuple[Path, ...]]
    picture_limit: float = 4.0
    out: Path = Path("runs/report")
