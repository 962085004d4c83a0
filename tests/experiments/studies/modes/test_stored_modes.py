"""Stored results of modes are shown, and lie where theory and their ranges say."""

import numpy as np
import pytest

from experiments.studies.modes.tables import modes_summary
from experiments.summary import as_text
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

STORED = sorted(path.parent.name for path in (RESULTS / "modes").glob("*/modes.json"))


def stored(name):
    return read_json(RESULTS / "modes" / name / "modes.json")


@pytest.mark.parametrize("name", STORED)
def test_stored_results_are_shown(name):
    assert len(as_text(modes_summary(stored(name)))) > 300


@pytest.mark.parametrize("name", STORED)
def test_stored_intervals_of_sizes_lie_between_zero_and_one(name):
    for group in stored(name).get("groups", []):
        for size in (group["correlation"], *group["explained"].values()):
            ends = np.array([size["low"], size["high"]], dtype=np.float64)
            assert ((ends >= 0) & (ends <= 1) | np.isnan(ends)).all()


def test_chroma_shrinks_in_the_linear_model_as_predicted():
    rows = {
        row["without"]: row["eigenvalues"][3]
        for row in stored("linear_cifar10")["augmentations"]["rows"]
    }
    jitter = 0.2 + 0.8 * np.sin(0.2 * np.pi) / (0.2 * np.pi)
    expected = {"nothing": (0.8 * jitter) ** 2, "jitter": 0.64, "grey": jitter**2}
    for name, share in expected.items():
        assert rows[name] / rows["colour"] == pytest.approx(share, rel=0.07), name
