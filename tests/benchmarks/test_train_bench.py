"""The benchmark of training runs and writes what it says; its times are nobody's promise."""

import sys
from pathlib import Path

import pytest
import torch

from experiments.bench.train import BenchTrainOptions, bench_train
from sslsim.core.files import read_json


def test_small_run_measures_all_four(tmp_path, capsys, monkeypatch):
    for library in ("lightly", "kornia"):  # as where they are not installed
        monkeypatch.setitem(sys.modules, library, None)
    threads = torch.get_num_threads()
    tiny = {"batch": 4, "dim": 8, "encoder": "convnet", "step_batch": 2, "steps": 1, "repeats": 1}
    options = BenchTrainOptions(**tiny, out=tmp_path)
    found = read_json(bench_train(options) / "bench.json")
    assert torch.get_num_threads() == threads
    assert set(found) == {"losses", "augmentations", "step", "snapshot"}
    assert set(found["augmentations"]) == {"32", "96"}
    assert found["augmentations"]["32"]["ratio"]["torchvision"] > 0
    assert found["step"]["ratio"]["bare loop"] > 0
    assert found["snapshot"]["steps_for_two_percent"] > 0
    assert "100 snapshots are 2 %" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "least"), [("dim", 1), ("batch", 2), ("repeats", 1)])
def test_unfit_options_are_refused(name, least):
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least {least}"):
        bench_train(BenchTrainOptions(**{name: 0}, out=Path("unused")))
