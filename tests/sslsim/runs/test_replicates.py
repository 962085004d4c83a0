"""Runs that differ by their seed only are told from others by one rule, wherever they are shown."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from experiments.report.folders import find_runs
from experiments.report.groups import group_runs
from experiments.studies.umm.tables import group_names
from sslsim.core.files import plain
from sslsim.runs.options import LearnerOptions, TrainOptions
from sslsim.runs.replicates import WITHOUT_EFFECT, learning_settings, seed_groups

FIRST = TrainOptions(seed=0, out=Path("first"))
ALIKE = (
    {"compile": True},
    {"channels_last": True},
    {"device": "cpu", "root": Path("elsewhere"), "cache": Path("c"), "stream": "always"},
    {"records": 3, "probe": 9, "evaluate": False, "layers": ("layer1",)},
    {"checkpoint_every": 7, "checkpoints_kept": 0},
)
OTHERS = ({"lr": 0.1}, {"precision": "bfloat16"}, {"limit": 100}, {"views": "crops"}, {"steps": 9})


def three_rules(folder, first, second):
    """What the report, the sweep and the studies over training take for one group."""
    for place, options in enumerate((first, second)):
        (folder / f"run{place}").mkdir()
        config = {"command": "train", "options": plain(asdict(options))}
        (folder / f"run{place}" / "config.json").write_text(json.dumps(config))
    reported = group_runs(find_runs([folder]))
    return [
        len(reported) == 1,
        len(set(group_names([first, second]))) == 1,
        len(seed_groups([Path("a"), Path("b")], [first, second])) == 1,
    ]


@pytest.mark.parametrize("changed", ALIKE, ids=str)
def test_what_changes_nothing_that_is_learned_makes_no_other_group(changed, tmp_path):
    assert three_rules(tmp_path, FIRST, replace(FIRST, seed=1, **changed)) == [True] * 3


@pytest.mark.parametrize("changed", OTHERS, ids=str)
def test_what_changes_what_is_learned_makes_another_group(changed, tmp_path):
    assert three_rules(tmp_path, FIRST, replace(FIRST, seed=1, **changed)) == [False] * 3


def test_every_option_without_effect_exists():
    assert {field.name for field in fields(TrainOptions)} >= WITHOUT_EFFECT
    own = {field.name for field in fields(TrainOptions)} - {f.name for f in fields(LearnerOptions)}
    assert own <= WITHOUT_EFFECT  # those of the training itself are LearnerOptions
    assert "seed" not in learning_settings(asdict(FIRST))


def test_a_seed_counts_once_in_a_group():
    runs = [FIRST, replace(FIRST, lr=0.1), replace(FIRST, compile=True)]
    with pytest.raises(ValueError, match="a and c were trained alike, with seed 0; expected runs"):
        seed_groups([Path("a"), Path("b"), Path("c")], runs)
