"""Runs that differ by their seed only: the unit of means and intervals. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sslsim.runs.options import TrainOptions

WITHOUT_EFFECT = frozenset(
    {
        *("out", "root", "cache", "stream", "device"),  # where things lie and run
        *("epochs", "lr_reference_batch"),  # stored as steps and lr
        *("records", "adaptive_records", "forecast", "probe"),  # what is measured on the way
        *("evaluate", "layers"),  # and at the end
        *("checkpoint_every", "checkpoints_kept"),
        *("compile", "channels_last"),  # how fast it runs: the same sums in another order
    }
)
"""Options of ``sslsim train`` that make no difference to what is learned."""


def learning_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that make a difference to what a run learns, but for its seed.

    Parameters
    ----------
    options : mapping
        Those of ``sslsim train``, as its dataclass or its ``config.json`` has them.

    Returns
    -------
    dict
        Without the seed, without places and the device (``out``, ``root``, ``cache``, ``stream``,
        ``device``), without what is measured (``records``, ``probe``, ``evaluate``, ``layers``)
        and saved (``checkpoint_every``, ``checkpoints_kept``), and without ``compile`` and
        ``channels_last``, which change the speed and the order of sums alone.

    Examples
    --------
    >>> learning_settings({"method": "simclr", "seed": 1, "compile": True, "lr": 0.1})
    {'method': 'simclr', 'lr': 0.1}
    """
    return {
        name: value
        for name, value in options.items()
        if name != "seed" and name not in WITHOUT_EFFECT
    }


def seed_groups(folders: Sequence[Path], options: Sequence[TrainOptions]) -> list[list[int]]:
    """Put runs together that differ by their seed only.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, for the message.
    options : sequence of TrainOptions
        What each was trained with.

    Returns
    -------
    list of list of int
        Places of the runs of every group, in the order in which they come.

    Raises
    ------
    ValueError
        If two runs of a group have the same seed: a mean would count one of them twice.

    Examples
    --------
    >>> runs = [TrainOptions(seed=0), TrainOptions(lr=0.1), TrainOptions(seed=1, compile=True)]
    >>> seed_groups([Path("a"), Path("b"), Path("c")], runs)
    [[0, 2], [1]]
    """
    settings = [learning_settings(asdict(entry)) for entry in options]
    groups: list[list[int]] = []
    for place, (folder, entry) in enumerate(zip(folders, options, strict=True)):
        group = next((group for group in groups if settings[group[0]] == settings[place]), None)
        if group is None:
            groups.append([place])
            continue
        for other in group:
            if options[other].seed == entry.seed:
                raise ValueError(
                    f"{folders[other]} and {folder} were trained alike, with seed {entry.seed}; "
                    "expected runs of different seeds or options"
                )
        group.append(place)
    return groups
