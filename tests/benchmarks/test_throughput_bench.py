"""The benchmark of throughput runs both sides and says what share training reaches."""

import pytest

from experiments.bench.throughput import BenchThroughputOptions, bench_throughput
from sslsim.core.files import read_json

TINY = {"encoder": "convnet", "size": 8, "batch": 4, "dim": 2, "images": 8, "device": "cpu"}


def test_both_sides_are_timed(tmp_path, capsys):
    options = BenchThroughputOptions(
        **TINY, precision="bfloat16", channels_last=True, steps=2, repeats=1, out=tmp_path
    )
    found = read_json(bench_throughput(options) / "bench.json")
    rates = found["views_per_second"]
    assert found["share"] == pytest.approx(rates["training"] / rates["bare"])
    assert rates["training"] == pytest.approx(8 / found["seconds"]["training"])
    assert found["device"] == "cpu"
    assert "% of bare passes on cpu" in capsys.readouterr().out


def test_half_of_the_updates_come_before_the_clock_starts(tmp_path):
    moments = iter(range(100))
    options = BenchThroughputOptions(**TINY, steps=3, repeats=1, out=tmp_path)
    folder = bench_throughput(options, clock=lambda device: float(next(moments)))
    seconds = read_json(folder / "bench.json")["seconds"]
    # Two looks at the clock a side, one apart, three steps between them.
    assert seconds == {"training": pytest.approx(1 / 3), "bare": pytest.approx(1 / 3)}
    assert next(moments) == 4


@pytest.mark.parametrize(("name", "least"), [("batch", 2), ("steps", 1), ("size", 8)])
def test_unfit_options_are_refused(name, least):
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least {least}"):
        bench_throughput(BenchThroughputOptions(**TINY | {name: 0}))
