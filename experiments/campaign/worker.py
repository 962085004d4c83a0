"""A process that makes parts of a study, started by :mod:`experiments.campaign.parts`."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from experiments import cli
from experiments.registry import STUDIES
from experiments.study import Study, imported
from sslsim.runs.stored import stored_config, stored_options


@dataclass(frozen=True)
class WorkerOptions:
    """Make the parts of a study that no other process has taken.

    Attributes
    ----------
    folder : Path
        Folder with the config.json of the study.
    taken : Path
        Folder with an empty file for each part that a process has taken.
    """

    folder: Path
    taken: Path


def make_untaken(options: WorkerOptions) -> None:
    """Take one part after another and make it."""
    command, _ = stored_config(options.folder)
    study = next(study for study in STUDIES if study.name == command)
    assert study.parts is not None
    own = stored_options(options.folder, study.name, study.options_class())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the study itself has said so
        parts = imported(study.parts)(own)
    for number, make in enumerate(parts.values()):
        try:
            (options.taken / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        make()


_WORKER = Study(
    "worker",
    "Make parts of a study.",
    options="experiments.campaign.worker:WorkerOptions",
    run="experiments.campaign.worker:make_untaken",
    folder=None,
)


def main() -> int:
    """Run as the command line does, with its errors and warnings of one line."""
    return cli.main(["worker", *sys.argv[1:]], (_WORKER,))
