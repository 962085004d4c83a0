"""What earlier commands left is checked as it is read: one line says what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.options import NtkOptions
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.umm.options import UmmSweepCommand
from sslsim.core.files import write_json
from sslsim.runs.folder import described_run
from sslsim.runs.options import TrainOptions
from sslsim.runs.stored import stored_arrays, stored_config, stored_options, stored_result


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(widths=(3, 4), root=Path("data"), views="crops", lr=1, layers=()),
        MemorizationOptions(f=(Path("a"), Path("b")), together=True, sets=Path("s.npz")),
        NtkOptions(run=(Path("a"),), over_training=3),
        UmmSweepCommand(run=(Path("a"),), variants=("full",), vary=("eps=1,2",)),
    ],
)
def test_options_come_back_as_they_were_written(tmp_path, options):
    write_json(tmp_path / "config.json", {"command": "any", "options": options})
    assert stored_options(tmp_path, "any", type(options)) == options


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "holds a run of None; expected one of sslsim train"),
        ({"command": "train", "options": None}, "holds options of type NoneType; expected an obj"),
        ({"command": "train", "options": [1]}, "holds options of type list"),
        ({"command": "ntk", "options": {}}, "holds a run of 'ntk'; expected one of sslsim train"),
        ({"command": "train", "options": {"colour": 1}}, "holds options unknown here: colour"),
        ({"command": "train", "options": {"steps": "many"}}, "holds steps 'many'; expected what"),
        ({"command": "train", "options": {"steps": None}}, "holds steps None; expected what --st"),
        ({"command": "train", "options": {"steps": True}}, "holds steps True"),
        ({"command": "train", "options": {"steps": 1.5}}, "holds steps 1.5"),
        ({"command": "train", "options": {"lr": "x"}}, "holds lr 'x'"),
        ({"command": "train", "options": {"method": "magic"}}, "holds method 'magic'"),
        ({"command": "train", "options": {"widths": 3}}, "holds widths 3"),
        ({"command": "train", "options": {"widths": ["a"]}}, r"holds widths \['a'\]"),
        ({"command": "train", "options": {"out": 3}}, "holds out 3"),
        ({"command": "train", "options": {"batch": 10**400}}, None),  # of the right type
    ],
)
def test_a_config_of_another_shape_is_refused_in_one_line(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    if message is None:
        assert stored_options(tmp_path, "train", TrainOptions).batch == 10**400
        return
    with pytest.raises(ValueError, match=message) as caught:
        stored_options(tmp_path, "train", TrainOptions)
    assert "\n" not in str(caught.value)


def test_deeply_nested_json_is_no_traceback(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not valid JSON"):
        stored_config(tmp_path)


def test_a_config_that_a_run_wrote_is_read(tmp_path):
    write_json(tmp_path / "config.json", described_run("train", TrainOptions()))
    assert stored_options(tmp_path, "train", TrainOptions) == TrainOptions()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, r"training.json lacks 'views'; expected the result of a finished run"),
        ({"views": 3}, "holds 'views' of type int; expected str"),
        ({"views": "crops", "step_times": None}, "holds 'step_times' of type NoneType"),
    ],
)
def test_results_that_lack_a_key_are_refused(tmp_path, held, message):
    path = tmp_path / "training.json"
    path.write_text(json.dumps(held))
    with pytest.raises(ValueError, match=message):
        stored_result(path, {"views": str, "step_times": list})


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, r"records.npz lacks 'times'"),
        ({"times": np.ones((2, 2))}, r"times is float64 of shape \(2, 2\); expected numbers in 1"),
        ({"times": np.array(["a"])}, "times is <U1"),
    ],
)
def test_arrays_of_another_shape_are_refused(tmp_path, held, message):
    np.savez(tmp_path / "records.npz", **held)
    with pytest.raises(ValueError, match=message):
        stored_arrays(tmp_path / "records.npz", {"times": 1})
