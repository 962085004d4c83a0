"""The page's numbers are those of the stored results."""

from pathlib import Path

import pytest

from experiments.studies.acceleration.tables import acceleration_summary
from experiments.summary import as_text
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

PAGE = (Path(__file__).parents[4] / "experiments/docs/accelerate.md").read_text(encoding="utf-8")
ROWS = [line.replace("*", "") for line in PAGE.splitlines() if line.startswith("|")]
STORED = sorted(path.parent.name for path in (RESULTS / "acceleration").glob("*/*.json"))


def stored(name):
    return read_json(RESULTS / "acceleration" / name / "acceleration.json")


def written(values, digits=1, scale=1.0):
    mean, low, high = (values[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "none"
    if low is None:
        return f"{scale * mean:.{digits}f}"
    return f"{scale * mean:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def cell(passages, seeds):
    """Ratio with its bound and the seeds counted, as the table has it."""
    sooner, reached = passages["sooner"], passages["reached"]
    if reached == 0:
        return "none"
    if reached < 3:
        sooner = {**sooner, "low": None}  # no interval worth its width
    text = written(sooner)
    if passages["bounds"]:
        text = f"≥ {text}"
    return text if reached == seeds else f"{text} ({reached} of {seeds})"


@pytest.mark.parametrize("name", dict.fromkeys(STORED))
def test_stored_results_are_shown(name):
    assert "muon+embedding" in as_text(acceleration_summary(stored(name)))


@pytest.mark.parametrize("name", ["convnet", "resnet18", "resnet18_longer"])
def test_ratios_of_barlow_twins(name):
    result = stored(name)
    seeds = len(result["seeds"])
    for arm in result["arms"][1:]:
        cells = [cell(arm["passages"][key], seeds) for key in arm["passages"]]
        assert f"| {arm['arm']} | {' | '.join(cells)} | {arm['cost']:.2f} |" in ROWS


@pytest.mark.parametrize("name", ["simclr", "vicreg"])
def test_ratios_of_other_losses(name):
    result = stored(name)
    seeds = len(result["seeds"])
    for arm in result["arms"][1:]:
        ends = arm["ends"]
        cells = [
            cell(arm["passages"]["accuracy"], seeds),
            written(ends["accuracy"], scale=100),
            written(ends["effective_rank"]),
            f"{arm['cost']:.2f}",
        ]
        assert f"| {arm['arm']} | {' | '.join(cells)} |" in ROWS
