"""The table of benchmarks by machine is that of the stored results."""

import re
import shutil
from pathlib import Path

from bench_table import JOBS, machines, table_rows

from experiments.campaign.queue import read_queue
from paper_figs.store import RESULTS
from sslsim.core.files import read_json, write_json

PAGE = Path(__file__).parents[2] / "experiments" / "docs" / "bench.md"


def test_the_table_is_that_of_the_stored_results():
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(table_rows(RESULTS)) in page
    # No other table has a number in it.
    others = [line for line in page.splitlines() if line.startswith("|")]
    others = [line for line in others if line not in table_rows(RESULTS)]
    assert not [line for line in others if re.search(r"\| *[0-9.]+ *\|", line)]


def test_another_machine_adds_a_column_and_a_changed_number_is_found(tmp_path):
    (name, *_) = machines(RESULTS)
    other = tmp_path / "bench" / "other"
    shutil.copytree(RESULTS / "bench" / name, tmp_path / "bench" / name)
    shutil.copytree(RESULTS / "bench" / name, other)
    path = other / "coding_rate" / "bench.json"
    changed = read_json(path)
    changed["whole"]["processor_ratio"] = 0.123
    write_json(path, changed)
    before, after = table_rows(RESULTS), table_rows(tmp_path)
    assert len(before) == len(after)
    for old, new in zip(before[3:], after[3:], strict=True):
        label, value = old.strip("| ").split(" | ")[:2]
        assert new == f"| {label} | {value} | {value} |"
    assert " 0.123 (" in after[2]


def test_stored_results_are_those_of_the_queue():
    assert sorted(job.name for job in read_queue("bench").jobs) == sorted(JOBS)
    for jobs in machines(RESULTS).values():
        revisions = {job["config"]["revision"] for job in jobs.values()}
        assert not any(revision.endswith("+changes") for revision in revisions)
        assert {job["config"]["command"] for job in jobs.values()} == {"bench"}
        for job in jobs.values():
            assert job["config"]["machine"]["processor"]
            assert job["config"]["machine"]["torch_capability"]
