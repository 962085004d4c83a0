"""Who is memorised: ``sslsim memorization``.

The keys of ``memorization.json`` and the arrays of ``scores.npz`` are explained in
``experiments/docs/memorization.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import draw_points
from experiments.memorization.results import write_results
from experiments.memorization.split import check_split, score_split
from experiments.memorization.statistics import SETS
from experiments.memorization.subsample import score_subsample
from experiments.runs import open_run, plain, read_json
from experiments.tables import number, table

# What may change between two commands that work on one folder: nothing an encoder depends on.
_FREE = (
    "out", "root", "device", "layers", "augmentations", "against", "distance", "normalise", "form",
    "score_views", "compare", "top", "evaluate", "together",
)  # fmt: skip
_RESULTS = ("memorization.json", "scores.npz", "memorization.png")


def memorization(options: MemorizationOptions) -> Path:
    """Train what is not yet trained, score all images and say what the scores show.

    Parameters
    ----------
    options : MemorizationOptions
        Of the command.

    Returns
    -------
    Path
        The run folder, with ``config.json``, ``memorization.json``, ``scores.npz`` and
        ``encoders/``.

    Raises
    ------
    ValueError
        If options do not fit together or the data, or the folder holds a study of other encoders.

    Examples
    --------
    >>> memorization(MemorizationOptions(augmentations=0))
    Traceback (most recent call last):
    ValueError: augmentations is 0; expected at least 1 pair of views
    """
    _check(options)
    points = draw_points(options)
    folder = options.out
    _check_folder(options)
    open_run(folder, {"command": "memorization", "options": asdict(options)}, results=_RESULTS)
    score = {"split": score_split, "subsample": score_subsample}[options.protocol]
    result = write_results(folder, options, points, score(options, points, folder))
    print(_report(result))
    return folder


def _check(options: MemorizationOptions) -> None:
    if options.augmentations < 1:
        raise ValueError(
            f"augmentations is {options.augmentations}; expected at least 1 pair of views"
        )
    for name in ("draw_seed", "seed", "curve"):
        if getattr(options, name) < 0:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least 0")
    if options.top < 1:
        raise ValueError(f"top is {options.top}; expected at least 1")
    if options.protocol == "split":
        check_split(options)
    elif options.curve or options.f or options.g or options.sets:
        raise ValueError(
            f"curve, f, g and sets belong to the split protocol; expected none for "
            f"{options.protocol}"
        )


def _check_folder(options: MemorizationOptions) -> None:
    """Refuse a folder whose encoders are others than those asked for."""
    if not (options.out / "encoders").exists():
        return
    config = read_json(options.out / "config.json")
    kept = config.get("options", {}) if config.get("command") == "memorization" else {}
    for name, value in asdict(options).items():
        if name not in _FREE and kept.get(name) != plain(value):
            raise ValueError(
                f"{options.out} holds encoders with {name} {kept.get(name)}, now it is {value}; "
                "expected the same to go on with them, or another folder"
            )


def _report(result: Mapping[str, Any]) -> str:
    lines = [
        f"{result['protocol']}: {result['method']}, {result['encoder']} on {result['data']}; "
        f"{result['points']} images, {result['form']} scores of {result['views']} views"
    ]
    for layer, name in enumerate(result["layers"]):
        lines.append(f"{name}: mean score {number(result['mean'][layer])}")
    if result["sets"]:
        first = result["sets"][0]
        rows = [[name, number(first["means"][name].mean() - first["offset"])] for name in SETS]
        lines.append(table(["set", "mean score less that of shared images"], rows))
        rows = [
            [
                f"{test['above']} above {test['below']}",
                number(test["difference"]),
                number(test["standard_error"]),
                number(test["p"]),
                number(test["effect"]),
                number(test["point_effect"]),
            ]
            for test in first["comparisons"]
        ]
        headers = ["expected", "difference", "standard error", "p", "effect (pairs)", "(points)"]
        lines.append(table(headers, rows))
    for name, kinds in (result["atypical"] or {}).items():
        for kind, found in kinds.items():
            lines.append(f"outliers ({kind}) among {name}: AUC {found['auc']:.2f}")
    for other in result["agreement"]:
        lines.append(
            f"{other['run']}: tau {other['tau']:.2f}, {other['overlap']:.0%} of the top "
            f"{other['top']} in common (chance {other['chance']:.0%})"
        )
    return "\n".join(lines)
