"""The benchmark of the coding rate runs and its sides agree; its times are nobody's promise."""

from pathlib import Path

import pytest

from experiments.bench.coding_rate import BenchCodingRateOptions, bench_coding_rate
from sslsim.core.files import read_json


def test_small_run_measures_all_three(tmp_path, capsys):
    sizes = {"samples": 96, "dim": 64, "groups": 6, "repeats": 1}
    found = read_json(
        bench_coding_rate(BenchCodingRateOptions(**sizes, out=tmp_path)) / "bench.json"
    )
    assert set(found) == {"whole", "groups", "tiny_eps"}
    for part in ("whole", "groups"):
        values = found[part]["value"]
        assert abs(values["ours"] - values["published"]) < 1e-5 * values["ours"]
        assert found[part]["gradient_difference"] < 1e-4
        assert found[part]["ratio"] > 0
    assert found["groups"]["membership_bytes"] == 6 * 96**2 * 4
    errors = found["tiny_eps"]["relative_error"]
    assert errors["ours"] < 1e-6
    assert errors["logdet"] is None or errors["logdet"] > 1e-3
    assert "eps = 1e-06" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("samples", 1, "at least 2"), ("groups", 0, "at least 1"), ("groups", 4096, "at most")],
)
def test_unfit_options_are_refused(name, value, message):
    with pytest.raises(ValueError, match=f"{name} is {value}; expected {message}"):
        bench_coding_rate(BenchCodingRateOptions(**{name: value}, out=Path("unused")))
