"""Options of a run that goes on."""

from dataclasses import asdict, replace
from functools import partial

import pytest

from sslsim.core.files import plain, write_json
from sslsim.runs.folder import options_to_resume
from sslsim.runs.options import TrainOptions


def test_a_run_without_a_newer_option_had_its_default(tmp_path):
    options = TrainOptions(out=tmp_path)
    stored = plain(asdict(options))
    del stored["residual_gain"]
    write_json(tmp_path / "config.json", {"command": "train", "options": stored})
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-000000001.pt").touch()
    resume = partial(options_to_resume, tmp_path, "train", results=(), free=())
    assert resume(options) == stored
    with pytest.raises(ValueError, match=r"holds a run with residual_gain None, now it is 0.0"):
        resume(replace(options, residual_gain=0.0))
