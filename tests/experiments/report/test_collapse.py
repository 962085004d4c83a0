"""A collapsed embedding is told in words, in the terminal and on the page."""

import json
from pathlib import Path

import pytest

from experiments.report.caveats import folder_caveats, result_caveats
from experiments.report.folders import find_runs
from sslsim.core.files import write_json
from sslsim.measures.collapse import collapse


@pytest.mark.parametrize(
    ("rank", "uniformity", "dim", "expected"),
    [
        (0.0, 0.0, 8, "the same for all images"),
        (5.0, -1e-5, 8, "all images point the same way"),
        (1.001, -2.0, 8, "effective rank of 1.001"),
        (1.0, -2.0, 1, None),  # there is but one dimension
        (1.2, -2.0, 8, None),
        (None, None, 8, None),
    ],
)
def test_collapse_is_told_from_learning(rank, uniformity, dim, expected):
    told = collapse(rank, uniformity, dim)
    assert (told is None) == (expected is None)
    if expected is not None:
        assert expected in told
        assert "\n" not in told


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("rank", "count"), [(1.0, 1), (3.0, 0), (None, 0), ("x", 0)])
def test_the_page_warns_of_a_collapsed_run(rank, count, finished, tmp_path):
    write_json(tmp_path / "config.json", {"command": "train", "options": {}})
    record = {"step": 1, "effective_rank": rank, "uniformity": -1.0}
    Path(tmp_path / "records.jsonl").write_text(json.dumps(record))
    if finished:
        write_json(tmp_path / "training.json", {"last_record": record, "dim": 8})
    (run,) = find_runs([tmp_path])
    caveats = [*folder_caveats(run), *result_caveats(run)]
    assert sum("effective rank" in caveat for caveat in caveats) == count
