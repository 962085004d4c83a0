"""Stored results of acceleration are shown."""

import pytest

from experiments.studies.acceleration.tables import acceleration_summary
from experiments.summary import as_text
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

STORED = sorted(path.parent.name for path in (RESULTS / "acceleration").glob("*/*.json"))


@pytest.mark.parametrize("name", dict.fromkeys(STORED))
def test_stored_results_are_shown(name):
    result = read_json(RESULTS / "acceleration" / name / "acceleration.json")
    assert "muon+embedding" in as_text(acceleration_summary(result))
