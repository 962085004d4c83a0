"""The table of benchmarks by machine; that the page has it is tested with other numbers."""

import shutil

from bench_table import JOBS, machines, table_rows

from experiments.campaign.queue import read_queue
from paper_figs.store import RESULTS
from sslsim.core.files import read_json, write_json


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


def test_stored_results_name_their_processor():
    assert sorted(job.name for job in read_queue("bench").jobs) == sorted(JOBS)
    for jobs in machines(RESULTS).values():
        for job in jobs.values():
            assert job["config"]["machine"]["processor"]
            assert job["config"]["machine"]["torch_capability"]
