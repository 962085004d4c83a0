"""Stored results are what the commands of the queue ``evidence`` write."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from experiments import cli
from experiments.campaign.queue import read_queue, stage_arguments
from paper_figs.sources import CHANGED, folder_of, source_of, store_finished
from paper_figs.store import RESULTS, without_paths
from sslsim.core.files import read_json, write_json

NAMES = sorted(path.parent.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("config.json"))
PLACES = {"out", "root", "device", "workers", "cache", "checkpoint_every"}
"""Options that change no number of a result, or where it lies."""
UNUSED = {("encoders", "split"), ("encoders", "closed-form"), ("share", "split")}
"""Options that a protocol does not use, whose defaults were once written down."""
INPUTS = {"run", "pool", "compare", "overfitting", "reference", "scores", "calibration", "f", "g"}
"""Options that name folders of other results."""


def _commands():
    """Options of every command, by the folder that it writes."""
    found = {}
    for job in read_queue("evidence").jobs:
        for stage in job.stages:
            arguments = stage_arguments(stage, Path("/c") / job.name, Path("/d"))
            study, options = cli.parsed(arguments)
            found[options.out.relative_to("/c").as_posix() if options.out.is_absolute() else ""] = (
                study.name,
                options,
            )
    return found


COMMANDS = _commands()


def _stored_form(options):
    return without_paths(json.loads(json.dumps(asdict(options), default=str)))


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_result_is_that_of_a_command(name):
    config = read_json(RESULTS / name / "config.json")
    assert folder_of(name) in COMMANDS, folder_of(name)
    command, options = COMMANDS[folder_of(name)]
    assert config["command"] == command
    expected, found = _stored_form(options), config["options"]
    for key, value in found.items():
        if key in INPUTS:
            assert _count(value) == _count(expected[key]), key
        elif key not in PLACES and (key, found.get("protocol")) not in UNUSED:
            assert value == expected[key], key
    assert sorted(source_of(name)["files"]) == sorted(
        path.name for path in (RESULTS / name).iterdir() if path.name != "config.json"
    )


def _count(value):
    return len(value) if isinstance(value, list) else value is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_result_is_of_a_revision_without_changes(name):
    revision = read_json(RESULTS / name / "config.json")["revision"]
    assert not revision.endswith(CHANGED)
    assert len(revision) == 40
