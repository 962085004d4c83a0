"""The page's numbers are those of the stored results."""

from pathlib import Path

import numpy as np
import pytest

from experiments.studies.modes.tables import modes_summary
from experiments.summary import as_text
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

PAGE = (Path(__file__).parents[4] / "experiments/docs/modes.md").read_text(encoding="utf-8")
STORED = sorted(path.parent.name for path in (RESULTS / "modes").glob("*/modes.json"))


def short(value):
    """A number of two decimals as the page writes it, without the leading zero."""
    return f"{value:.2f}".replace("0.", ".", 1)


def stored(name):
    return read_json(RESULTS / "modes" / name / "modes.json")


@pytest.mark.parametrize("name", STORED)
def test_stored_results_are_shown(name):
    assert len(as_text(modes_summary(stored(name)))) > 300


@pytest.mark.parametrize("place", range(3))
def test_hue_and_brightness_of_first_modes_by_method(place):
    group = stored("methods")["groups"][place]
    names = {"barlow_twins": "Barlow Twins", "simclr": "SimCLR", "vicreg": "VICReg"}
    cells = []
    for mode, statistic in ((0, "hue"), (0, "saturation"), (0, "brightness"), (1, "brightness")):
        column = group["statistics"].index(statistic)
        mean, low, high = (
            group["correlation"][end][mode][column] for end in ("mean", "low", "high")
        )
        cells.append(f"{short(mean)} [{short(low)}, {short(high)}]")
    assert f"| {names[group['label']]} | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("cifar10", "CIFAR-10, end"),
        ("cifar10_early", "CIFAR-10, 100 updates"),
        ("imagenette_early", "Imagenette, 100 updates"),
        ("imagenette", "Imagenette, end"),
    ],
)
def test_gains_over_random_directions(name, row):
    gain = stored(name)["groups"][0]["gain"]["random"]
    cells = []
    for place in range(4 if "early" not in name else 3):
        values = (100 * gain[end][place] for end in ("mean", "low", "high"))
        mean, low, high = (f"{value + 0.0:.1f}" for value in values)
        cells.append(f"{mean} [{low}, {high}]")
    assert f"| {row} | {' | '.join(cells)} |" in PAGE.replace("| |\n", "|\n")


def test_chroma_shrinks_in_the_linear_model_as_predicted():
    rows = {
        row["without"]: row["eigenvalues"][3]
        for row in stored("linear_cifar10")["augmentations"]["rows"]
    }
    jitter = 0.2 + 0.8 * np.sin(0.2 * np.pi) / (0.2 * np.pi)
    expected = {"nothing": (0.8 * jitter) ** 2, "jitter": 0.64, "grey": jitter**2}
    for name, share in expected.items():
        assert rows[name] / rows["colour"] == pytest.approx(share, rel=0.07), name
        assert f"{rows[name]:.0f}" in PAGE
