"""The benchmark of memorisation runs and writes what it says; its times are nobody's promise."""

from pathlib import Path

import pytest

from experiments.bench.memorization import BenchMemorizationOptions, bench_memorization
from sslsim.core.files import read_json


def test_small_run_measures_both(tmp_path, capsys):
    sizes = {"encoders": (4,), "sides": (8,), "batches": (4,), "steps": 1, "repeats": 1}
    options = BenchMemorizationOptions(
        networks=("linear", "convnet-16"),
        scored=("convnet",),
        images=3,
        pairs=2,
        **sizes,
        out=tmp_path,
    )
    found = read_json(bench_memorization(options) / "bench.json")
    assert [entry["network"] for entry in found["together"]] == ["linear", "convnet-16"]
    for entry in found["together"]:
        assert entry["encoders"] == 4
        assert entry["ratio"] > 0
        assert set(entry["milliseconds_a_step"]) == {"together", "alone"}
    (scoring,) = found["scoring"]
    assert scoring["views"] == 12
    assert scoring["views_per_second"]["ours"] > 0
    assert scoring["processor_ratio"] > 0
    assert "convnet-16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"encoders": (16, 3)}, r"encoders is \(16, 3\); expected at least 4 each"),
        ({"networks": ("vast",)}, "expected some of linear"),
    ],
)
def test_unfit_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        bench_memorization(BenchMemorizationOptions(**changes, out=Path("unused")))
