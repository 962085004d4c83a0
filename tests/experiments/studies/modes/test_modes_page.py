"""The page's numbers are those of the stored results."""

from pathlib import Path

import numpy as np
import pytest

from experiments.studies.modes.tables import modes_summary
from experiments.summary import as_text
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

PAGE = (Path(__file__).parents[4] / "experiments/docs/modes.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
STORED = sorted(path.parent.name for path in (RESULTS / "modes").glob("*/modes.json"))


def short(value):
    """A number of two decimals as the page writes it, without the leading zero."""
    return f"{value:.2f}".replace("0.", ".", 1)


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


def test_the_probe_depends_on_the_basis_of_all_modes():
    gain = stored("cifar10")["groups"][0]["gain"]["random"]
    mean, low, high = (f"{100 * gain[end][-1]:.1f}" for end in ("mean", "low", "high"))
    assert f"differ by {mean} points [{low}, {high}] on CIFAR-10" in TEXT


def test_hue_of_the_best_linear_mode_by_part_left_out():
    order = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
    names = {"grey": "greyscale", "colour": "all colour changes", "nothing": "nothing (two draws)"}
    dropped = stored("linear_cifar10")["augmentations"]
    column = dropped["statistics"].index("hue")
    for row in dropped["rows"]:
        if row["without"] == "nothing, again":
            continue
        sizes = np.abs(row["correlation"])[:, column]
        (line,) = (
            line
            for line in PAGE.splitlines()
            if line.startswith(f"| {names.get(row['without'], row['without'])} |")
        )
        best = int(sizes.argmax())
        assert f"| {short(sizes[best])}, the {order[best]}" in line


@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_shares_of_eight_modes_and_of_random_directions(name):
    group = stored(name)["groups"][0]
    place = group["counts"].index(8)
    columns = [group["statistics"].index(s) for s in ("hue", "saturation", "brightness")]
    for curve in ("random", "untrained"):
        shares = group["explained"][curve]["mean"][place]
        hue, saturation, brightness = (short(shares[column]) for column in columns)
        assert f"{hue}, {saturation} and {brightness}" in TEXT


@pytest.mark.parametrize("name", ["linear_cifar10", "linear_imagenette"])
def test_the_second_and_third_linear_modes_follow_no_single_statistic(name):
    dropped = stored(name)["augmentations"]
    single = [s not in ("colour", "class") for s in dropped["statistics"]]
    sizes = np.abs(dropped["rows"][0]["correlation"])[1:3]
    most = sizes[:, single].max()
    assert most < 0.335
    assert "above .33" in TEXT
    assert f"has {short(sizes[:, dropped['statistics'].index('class')].max())} with the" in TEXT


def test_first_modes_follow_colour_beyond_chance_in_every_seed():
    group = stored("cifar10")["groups"][0]
    significant = [row[group["statistics"].index("colour")] for row in group["significant"]]
    follow = next(mode for mode, count in enumerate(significant) if count < len(group["seeds"]))
    names = {6: "six", 7: "seven", 8: "eight"}
    assert f"all first {names[follow]} modes of CIFAR-10" in TEXT


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
