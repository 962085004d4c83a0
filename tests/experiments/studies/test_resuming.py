"""Folders written by version 0.1.0: studies go on with what they hold, under the same names."""

import shutil
from pathlib import Path

import pytest

from experiments.cli import main
from sslsim.core.files import read_json, read_lines

pytestmark = pytest.mark.slow

STORED = Path(__file__).parent / "stored"
COMMANDS = {
    "removal": "memorization-removal --scores pool --remove 0.1 --which most --seeds 1 "
    "--fine-tune 2",
    "penalty": "memorization-penalty --scores split --strengths 1 --seeds 1 --targeted most "
    "--count 5",
    "sweep": "umm-sweep --run run --split layer1 --steps 2 --batch 12 --held-out 12 "
    "--test-images 40 --variants full",
    "overfitting": "overfitting --run run --checkpoints 3 --samples 20 --probed 40 --eps 0.1",
}
RESULTS = {"removal": "removal.json", "penalty": "penalty.json", "sweep": "table.json"}


def parts(folder):
    """Finished parts of a study and when they were written."""
    paths = [*folder.glob("cells/*"), *folder.glob("cells/*/*"), *folder.glob("measured.jsonl")]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_an_earlier_version_is_resumed_with_nothing_made_anew(name, tmp_path):
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    before = parts(tmp_path / name)
    assert before
    device = [] if name == "overfitting" else ["--device", "cpu"]
    assert main([*COMMANDS[name].split(), *device, "--out", name]) == 0
    assert parts(tmp_path / name) == before


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_resumed_parts_are_those_of_the_earlier_version(name, tmp_path):
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    (tmp_path / name / RESULTS[name]).unlink()
    assert main([*COMMANDS[name].split(), "--device", "cpu", "--out", name]) == 0
    found, stored = (read_json(folder / name / RESULTS[name]) for folder in (tmp_path, STORED))
    assert known(found, stored) == stored


def known(found, stored):
    """What was found, without the keys that later versions added."""
    if isinstance(stored, dict):
        return {key: known(found[key], stored[key]) for key in stored}
    if isinstance(stored, list):
        assert len(found) == len(stored)
        return [known(one, other) for one, other in zip(found, stored, strict=True)]
    return found


def test_a_checkpoint_that_was_not_measured_is_added_to_those_that_were(tmp_path):
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "overfitting/measured.jsonl"
    whole = read_lines(path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert main([*COMMANDS["overfitting"].split(), "--out", "overfitting"]) == 0
    lines = read_lines(path)
    assert lines[:-1] == whole[:-1]
    assert [line["key"] for line in lines] == [line["key"] for line in whole]
