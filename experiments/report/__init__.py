"""``sslsim report``: one self-contained HTML page of run folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from experiments.options import ReportOptions
from experiments.registry import STUDIES
from experiments.study import Study
from sslsim.core.errors import reason

__all__ = ["ReportOptions", "report"]


def report(options: ReportOptions, studies: Sequence[Study] = STUDIES) -> Path:
    """Make a page of run folders.

    >>> import tempfile
    >>> from sslsim.runs.folder import new_results
    >>> out = Path(tempfile.mkdtemp())
    >>> with new_results(out / "first", "predict", {}, results=()):
    ...     pass
    >>> path = report(ReportOptions((out / "first",), out=out))
    1 run folder
    """
    # Here, so that the options can be had without what makes a page.
    from experiments.report.folders import find_runs
    from experiments.report.page import page
    from sslsim.core.files import whole_file

    limit = options.picture_limit
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(f"picture-limit is {limit:g}; expected a positive number of megabytes")
    runs = find_runs(options.folders, studies)
    path = options.out
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path.parent} cannot be made a folder: {reason(error)}") from error
    content = page(runs, limit)
    with whole_file(path) as file:
        file.write(content.encode("utf-8"))
    print(f"{len(runs)} run folder{'' if len(runs) == 1 else 's'}")
    return path
