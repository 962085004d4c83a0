"""Stored results: what is kept, what is left out, and that they tell of no machine."""

import json
import re

import numpy as np
import pytest

from paper_figs.store import RESULTS, read_result, store
from sslsim.core.files import read_arrays, read_json, read_lines, write_arrays, write_json

CONFIG = {
    "command": "train",
    "options": {"seed": 7, "out": "/scratch/me/runs/a", "run": ["/scratch/me/b", "c"]},
    "revision": "abc",
    "versions": {"torch": "2"},
    "machine": {"platform": "Linux-6.1-somehost-x86_64-with-glibc2.36", "processors": 2},
}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    write_json(
        folder / "found.json",
        {"runs": [{"run": "/scratch/me/b", "kept": 1, "left": 2}, {"kept": 3}], "left": 0},
    )
    (folder / "lines.jsonl").write_text('{"step": 0, "loss": null}\n{"step": 5, "loss": 0.1}\n')
    write_arrays(
        folder / "curves.npz",
        times=np.arange(10.0),
        scores=np.arange(60.0).reshape(10, 3, 2),
        large=np.zeros((10, 1000)),
    )
    return folder


def test_what_is_named_is_kept_and_the_rest_left_out(run, tmp_path):
    kept = store(
        run,
        "kind/mine",
        ["found.json", "lines.jsonl", "curves.npz"],
        arrays=["times", "scores"],
        points=2,
        records=4,
        drop=["runs.*.left", "left", "not.there", "runs.*.kept.deeper"],
        results=tmp_path / "results",
    )
    assert kept == tmp_path / "results/kind/mine"
    files = sorted(path.name for path in kept.iterdir())
    assert files == ["config.json", "curves.npz", "found.json", "lines.jsonl"]
    assert read_json(kept / "found.json") == {"runs": [{"run": "b", "kept": 1}, {"kept": 3}]}
    assert read_lines(kept / "lines.jsonl") == read_lines(run / "lines.jsonl")
    curves, whole = read_arrays(kept / "curves.npz"), read_arrays(run / "curves.npz")
    assert sorted(curves) == ["scores", "times"]
    places = [0, 3, 6, 9]
    np.testing.assert_array_equal(curves["times"], whole["times"][places])
    np.testing.assert_array_equal(curves["scores"], whole["scores"][places, :2])


def test_a_configuration_keeps_seeds_versions_and_revision_but_no_paths_and_hosts(run, tmp_path):
    config = read_json(store(run, "mine", [], results=tmp_path) / "config.json")
    assert config["options"] == {"seed": 7, "out": "a", "run": ["b", "c"]}
    assert config["revision"] == "abc"
    assert config["versions"] == {"torch": "2"}
    assert config["machine"] == {"platform": "Linux x86_64", "processors": 2}


def test_storing_twice_gives_equal_bytes_and_storing_what_was_stored_changes_nothing(run, tmp_path):
    files = ["found.json", "lines.jsonl", "curves.npz"]
    first = store(run, "first", files, results=tmp_path)
    for again in (run, first):
        second = store(again, "second", files, results=tmp_path)
        for name in [*files, "config.json"]:
            assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (["curves.npz"], {"arrays": ["absent"]}, "no array 'absent'; it has large, scores, times"),
        (["picture.png"], {}, "picture.png cannot be stored: expected .json, .jsonl or .npz"),
        (["absent.json"], {}, "absent.json cannot be read"),
    ],
)
def test_what_cannot_be_stored_is_told(run, tmp_path, files, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        store(run, "mine", files, results=tmp_path / "results", **options)


def test_what_is_missing_is_told_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(
        ValueError, match=r"umm/table\.json is missing; it is made by: sslsim umm-sw"
    ):
        read_result(tmp_path, "umm", "table.json", "sslsim umm-sweep")


def _strings(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


def test_installed_results_are_small_and_tell_what_ran_but_not_where():
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    folders = {path.parent for path in files if path.parent != RESULTS}
    assert len(folders) > 10
    assert max(path.stat().st_size for path in files) < 500_000
    assert sum(path.stat().st_size for path in files) < 5_000_000
    for folder in folders:
        config = read_json(folder / "config.json")
        assert config["revision"]
        assert config["versions"]["torch"]
        assert re.fullmatch(r"\w+( \w+)?", config["machine"]["platform"])
    for path in files:
        if path.suffix in (".json", ".jsonl"):
            for line in path.read_text().splitlines() if path.suffix == ".jsonl" else ["{}"]:
                values = json.loads(line) if path.suffix == ".jsonl" else read_json(path)
                for text in _strings(values):
                    assert not text.startswith(("/", "~", "\\")), (path, text)
                    assert "/tmp" not in text
