"""Stored results are what the commands of the queue ``evidence`` write."""

import json
from dataclasses import asdict
from functools import cache
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
INPUTS = {
    "run",
    "pool",
    "compare",
    "overfitting",
    "reference",
    "scores",
    "calibration",
    "calibrate",
    "f",
    "g",
}
"""Options that name folders of other results."""


@cache
def _stages():
    """Commands with their folders filled in, by the folder of the campaign that each writes."""
    found = {}
    for job in read_queue("evidence").jobs:
        for stage in job.stages:
            if "--out" in stage:
                arguments = stage_arguments(stage, Path(job.name), Path("/d"))
                found[arguments[arguments.index("--out") + 1]] = arguments
    return found


def _stored_form(options):
    return without_paths(json.loads(json.dumps(asdict(options), default=str)))


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_result_is_that_of_a_command(name):
    config = read_json(RESULTS / name / "config.json")
    assert folder_of(name) in _stages(), folder_of(name)
    study, options = cli.parsed(_stages()[folder_of(name)])
    assert config["command"] == study.name.split()[0]  # of bench the first word
    expected, found = _stored_form(options), config["options"]
    for key, value in found.items():
        if key in INPUTS:
            assert _count(value) == _count(expected[key]), key
        elif key not in PLACES and (key, found.get("protocol")) not in UNUSED:
            assert value == expected[key], key
    assert sorted(Path(file).name for file in source_of(name)["files"]) == sorted(
        path.name for path in (RESULTS / name).iterdir() if path.name != "config.json"
    )


def _campaign(tmp_path, revision="1" * 40):
    for name in ("linear/digits_1e-2_0/compare", "linear/digits_1e-3_0/compare"):
        folder = tmp_path / "c" / name
        folder.mkdir(parents=True)
        options = {"seed": 0, "out": str(folder)}
        write_json(folder / "config.json", {"options": options, "revision": revision})
        write_json(folder / "comparison.json", {"mean_relative_error": 0.5})
    return tmp_path / "c"


def test_what_a_campaign_has_finished_is_stored_and_nothing_else(tmp_path):
    # The second of the two lacks the curves that its result is drawn of.
    stored = store_finished(_campaign(tmp_path), tmp_path / "results")
    assert stored == ["linear/digits_1e-2_0"]
    assert [path.name for path in (tmp_path / "results/linear").iterdir()] == ["digits_1e-2_0"]
    config = read_json(tmp_path / "results/linear/digits_1e-2_0/config.json")
    assert config["options"]["out"] == "compare"


@pytest.mark.parametrize("revision", ["1" * 40 + CHANGED, None])
def test_a_result_of_a_changed_revision_is_not_stored(tmp_path, revision):
    with pytest.raises(ValueError, match=r"compare is of revision .*expected one without changes"):
        store_finished(_campaign(tmp_path, revision), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_refused_command_stores_nothing(tmp_path, capsys):
    campaign, out = _campaign(tmp_path), tmp_path / "notes"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    store = ["figures", "--store", str(campaign), "--results", str(tmp_path / "results")]
    assert cli.main([*store, "--only", "99", "--out", str(tmp_path / "f")]) == 2
    assert cli.main([*store, "--gallery", "--only", "2", "--out", str(tmp_path / "f")]) == 2
    assert cli.main([*store, "--only", "2", "--out", str(out / "mine.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 3
    assert not (tmp_path / "results").exists()


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(ValueError, match="has nothing to store; expected a campaign of evidence"):
        store_finished(tmp_path)


def test_a_result_without_a_source_is_told():
    with pytest.raises(ValueError, match=r"no source of mine; expected one in sources\.toml"):
        folder_of("mine")


def _count(value):
    return len(value) if isinstance(value, list) else value is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_result_is_of_a_revision_without_changes(name):
    revision = read_json(RESULTS / name / "config.json")["revision"]
    assert not revision.endswith(CHANGED)
    assert len(revision) == 40
