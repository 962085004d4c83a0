"""The benchmark of predictions runs and writes what it says; its times are nobody's promise."""

from pathlib import Path

import pytest

from experiments.bench.theory import BenchTheoryOptions, bench_theory
from sslsim.core.files import read_json

TINY = {"data": "digits", "pairs": 300, "dim": 4, "repeats": 1, "streamed_edge": 12}


@pytest.mark.slow
def test_small_run_measures_all_three(capsys):
    options = BenchTheoryOptions(**TINY, streamed_pairs=600, curve_pairs=100, out=Path("bench"))
    folder = bench_theory(options)
    found = read_json(folder / "bench.json")
    assert read_json(folder / "config.json")["command"] == "bench"
    assert set(found) == {"dense", "streamed", "curves"}
    assert (found["dense"]["n"], found["dense"]["m"]) == (300, 64)
    assert found["dense"]["eigenvalue_difference"] < 1e-9
    assert found["streamed"]["m"] == 432
    assert found["streamed"]["converged"]
    assert found["streamed"]["largest_residual"] <= 1e-7
    assert found["streamed"]["dense_matrix_bytes"] == 8 * 432**2
    assert found["streamed"]["peak_bytes"] >= found["streamed"]["peak_bytes_before"] > 0
    assert found["curves"]["mean_difference"] < 0.05
    for part in found.values():
        assert part["ratio"] > 0
        assert all(
            value > 0
            for key, value in part.items()
            if key.endswith("seconds") and isinstance(value, float)
        )
    printed = capsys.readouterr().out
    assert "streamed against dense" in printed


@pytest.mark.parametrize("name", ["dim", "repeats", "streamed_pairs", "curve_pairs"])
def test_unfit_options_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        bench_theory(BenchTheoryOptions(**{**TINY, name: 0}))
