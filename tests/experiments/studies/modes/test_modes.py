"""``sslsim modes``: small runs end to end, planted encoders, and views without one part."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from experiments.cli import main
from experiments.studies.modes.augmentations import linear_modes_by_part, parts_of
from experiments.studies.modes.networks import held_out_images, network_modes, statistics_of
from experiments.studies.modes.options import ModesOptions
from experiments.studies.modes.study import group_labels, measure_modes, size_interval
from experiments.studies.training.train import train_network
from paper_figs.runs.modes import draw_modes, draw_overlap
from sslsim.core.files import read_arrays, read_json, write_json
from sslsim.data.datasets import Images
from sslsim.runs.options import TrainOptions
from sslsim.runs.trained_run import TrainedRun

PAGE = (Path(__file__).parents[4] / "experiments/docs/modes.md").read_text(encoding="utf-8")
SMALL = {"samples": 80, "probed": 60, "modes": 3}
COLOUR = ["hue", "saturation", "brightness", "contrast", "frequency", "horizontal", "vertical"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of random colours and textures, of two classes by their brightness."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 0.9, (400, 3, 1, 1))
    texture = rng.uniform(0, 0.4, (400, 1, 1, 1)) * rng.standard_normal((400, 1, 8, 8))
    images = (255 * np.clip(base + texture, 0, 1)).round().astype(np.uint8)
    images[3] = images[3, :1]  # a grey one
    path = tmp_path_factory.mktemp("photos") / "photos.npz"
    np.savez(path, images=images, labels=(base.mean(axis=(1, 2, 3)) > 0.5).astype(int))
    return path


def trained(folder, photos, **options):
    given = {
        "data": str(photos),
        "encoder": "linear",
        "dim": 3,
        "views": "weak",
        "lr": 0.01,
        "batch": 40,
        "steps": 4,
        "checkpoint_every": 2,
        "checkpoints_kept": 0,
        "records": 3,
        "probe": 16,
        "evaluate": False,
        "device": "cpu",
        "out": folder,
    }
    return train_network(TrainOptions(**given | options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, photos):
    """Two seeds of one training, and one of another encoder and dimension."""
    folder = tmp_path_factory.mktemp("runs")
    return (
        trained(folder / "a", photos),
        trained(folder / "b", photos, seed=1),
        trained(folder / "c", photos, encoder="convnet", widths=(4, 6), dim=5),
    )


def nested(value):
    """Keys of dictionaries at any depth."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nested(item)


def test_runs_are_measured_summed_up_and_drawn(runs, tmp_path, capsys):
    command = ["modes", "--run", *map(str, runs), "--samples", "40", "--probed", "60"]
    command += ["--augmentations", "simclr", "--pairs", "60", "--modes", "4"]
    assert main([*command, "--out", str(tmp_path / "m")]) == 0
    folder = tmp_path / "m"
    found = read_json(folder / "modes.json")
    assert found["images"] + found["grey_images"] == 40
    first = found["runs"][0]
    assert first["statistics"] == [*COLOUR, "colour", "class"]
    assert first["counts"] == [1, 2, 3]
    for key in ("correlation", "low", "high", "p_value"):
        assert np.shape(first[key]) == (3, 9)
    for key in ("first", "random", "untrained"):
        assert np.shape(first["explained"][key]) == (3, 9)
        assert np.shape(first["accuracy"][key]) == (3,)
    assert first["accuracy"]["without"][-1] is None
    assert [group["runs"] for group in found["groups"]] == [[0, 1], [2]]
    assert [group["label"] for group in found["groups"]] == [
        "barlow_twins, linear",
        "barlow_twins, convnet",
    ]
    over = found["groups"][0]["accuracy"]["first"]
    values = [run["accuracy"]["first"] for run in found["runs"][:2]]
    np.testing.assert_allclose(over["mean"], np.mean(values, axis=0))
    sizes = [found["groups"][0]["correlation"]]
    sizes += [found["groups"][0][key]["first"] for key in ("explained", "accuracy")]
    for size in sizes:
        ends = np.array([size["low"], size["high"]], dtype=np.float64)
        assert ((ends >= 0) & (ends <= 1)).all()
    gain = found["groups"][0]["gain"]["random"]["mean"]
    random = [run["accuracy"]["random"] for run in found["runs"][:2]]
    np.testing.assert_allclose(gain, np.mean(values, axis=0) - np.mean(random, axis=0))
    overlap = found["overlap"]
    assert overlap["counts"] == [1, 2, 3]  # 4 modes are those of one network only
    matrix = np.array(overlap["network_overlap"], dtype=float)
    assert matrix.shape == (3, 6, 6)
    assert overlap["labels"][-1] == "untrained"
    np.testing.assert_allclose(matrix[:, range(3), range(3)], 1.0)
    np.testing.assert_allclose(overlap["mean"][1][0][0], matrix[1, 0, 1])
    rows = found["augmentations"]["rows"]
    assert [row["without"] for row in rows] == [
        *("nothing", "nothing, again", "crop", "flip", "jitter", "grey", "colour")
    ]
    np.testing.assert_allclose(rows[0]["overlap"], 1.0)
    names = {*nested(found)} - {"low", "high"}
    for name in sorted(names):
        assert f"`{name}`" in PAGE, name
    told = capsys.readouterr().out
    assert "barlow_twins, linear (2 seeds)" in told
    assert "caution: barlow_twins, convnet: 1 seed, no interval" in told
    for picture in ("modes.png", "mode_images.png", "mode_overlap.png"):
        assert (folder / picture).stat().st_size > 10_000
    assert read_arrays(folder / "modes.npz")["ends"].shape == (3, 2, 8, 3, 8, 8)
    with pytest.raises(ValueError, match=r"group is 2; .* holds 2, counted from 0"):
        draw_modes(folder, group=2)


def test_the_same_command_gives_the_same_numbers(runs, tmp_path):
    options = ModesOptions(run=runs[:1], **SMALL)
    texts = [
        (measure_modes(replace(options, out=tmp_path / name)) / "modes.json").read_text()
        for name in "ab"
    ]
    assert texts[0] == texts[1]
    assert read_json(tmp_path / "a" / "modes.json")["overlap"] is None


def planted(run, channels):
    """The run with a linear encoder whose outputs are means of channels, given by weights."""
    learner = run.learner(0)
    (weight,) = learner.encoder.parameters()
    _, _, height, width = run.images.images.shape
    rows = torch.tensor(channels).repeat_interleave(height * width, dim=1) / (height * width)
    with torch.no_grad():
        weight.copy_(rows)

    class Planted(TrainedRun):
        def learner(self, step=None):
            return learner

    return Planted(run.folder, run.options, run)


def test_planted_modes_of_brightness_and_red_are_found(runs):
    run = TrainedRun.open(runs[0])
    scale = run.pixels.std.tolist()
    weights = [w * s for w, s in zip((0.299, 0.587, 0.114), scale, strict=True)]
    network = planted(run, [[9 * w for w in weights], [0.2, 0.0, -0.2], [0.0, 0.0, 0.01]])
    options = ModesOptions(run=(run.folder,), **SMALL)
    held_out, grey = held_out_images(run, options.samples)
    assert grey == int(len(run.held_out.images) - len(held_out.images)) <= 1
    found = network_modes(network, held_out, options).result
    names = list(found["statistics"])
    assert found["correlation"][0, names.index("brightness")] > 0.95
    assert found["p_value"][0, names.index("brightness")] == 1 / 1000
    assert found["p_value"][1, names.index("hue")] <= 0.05
    assert (found["stability"] > 0.8).all()
    # The untrained network is the planted one here: it explains the same.
    np.testing.assert_allclose(found["explained"]["untrained"], found["explained"]["first"])


def test_starts_that_differ_in_scale_only_count_once(photos, runs, tmp_path):
    scaled = trained(tmp_path / "scaled", photos, init_scale=0.1)
    options = ModesOptions(run=(runs[0], scaled), out=tmp_path / "m", **SMALL)
    overlap = read_json(measure_modes(options) / "modes.json")["overlap"]
    assert overlap["network_labels"] == ["barlow_twins (1)", "barlow_twins (2)", "untrained"]


def test_digits_have_no_statistics_of_colour(tmp_path):
    out = trained(tmp_path / "digits", "digits", limit=100, widths=None)
    folder = measure_modes(ModesOptions(run=(out,), out=tmp_path / "m", **SMALL))
    found = read_json(folder / "modes.json")
    assert found["runs"][0]["statistics"] == [*COLOUR[2:], "class"]
    assert found["grey_images"] == 0
    assert draw_modes(folder).stat().st_size > 10_000


def test_the_legend_of_overlaps_covers_no_curve(tmp_path, monkeypatch):
    kinds, counts = ["a", "b", "c", "untrained"], [1, 2, 4]
    mean = np.full((3, 4, 4), 0.9) * np.array([1.0, 0.3, 0.05])[:, None, None]
    drawn = []
    monkeypatch.setattr("paper_figs.runs.modes.save", lambda figure, path: drawn.append(figure))
    overlap = {"counts": counts, "labels": kinds, "mean": mean, "chance": [0.01, 0.02, 0.04]}
    write_json(tmp_path / "modes.json", {"overlap": overlap})
    draw_overlap(tmp_path)
    figure = drawn[0]
    figure.draw_without_rendering()
    axes = figure.axes[1]
    legend = axes.get_legend().get_window_extent()
    assert not legend.overlaps(axes.get_window_extent())
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= 0


def test_a_single_mode_is_measured_and_drawn(tmp_path, photos):
    out = trained(tmp_path / "run", photos, dim=1)
    folder = measure_modes(ModesOptions(run=(out,), out=tmp_path / "m", **SMALL))
    accuracy = read_json(folder / "modes.json")["groups"][0]["accuracy"]
    assert accuracy["without"]["mean"] == [None]
    assert draw_modes(folder).stat().st_size > 10_000


def test_images_without_labels_have_no_accuracy(tmp_path, photos):
    images = np.load(photos)["images"]
    np.savez(tmp_path / "plain.npz", images=images)
    out = trained(tmp_path / "run", tmp_path / "plain.npz")
    folder = measure_modes(ModesOptions(run=(out,), out=tmp_path / "m", **SMALL | {"samples": 35}))
    found = read_json(folder / "modes.json")
    assert found["runs"][0]["statistics"] == [*COLOUR, "colour"]
    assert found["groups"][0]["accuracy"] is None
    assert draw_modes(folder).stat().st_size > 10_000


def test_runs_on_other_images_are_refused(runs, tmp_path):
    other = trained(tmp_path / "digits", "digits", limit=100)
    with pytest.raises(ValueError, match="expected runs on the same images"):
        measure_modes(ModesOptions(run=(runs[0], other), out=tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_colour_changes_shrink_the_linear_modes_of_chroma_as_their_mean_says():
    """Gamma holds the mean of independent changes: that of jitter is the rotation's cosine."""
    rng = np.random.default_rng(0)
    chroma = rng.uniform(-0.1, 0.1, (2000, 2)) @ [[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]
    colours = (255 * np.clip(0.5 + chroma, 0, 1)).round().astype(np.uint8)
    plain = torch.from_numpy(colours)[:, :, None, None].repeat(1, 1, 4, 4)
    run = SimpleNamespace(
        images=Images(plain, None, "plain"), pixels=None, standardised=torch.clone
    )
    options = ModesOptions(augmentations="simclr", modes=2)
    held_out = Images(plain[:100], None, "plain")
    found = linear_modes_by_part(run, held_out, statistics_of(held_out), options)
    sizes = {row["without"]: np.sum(row["eigenvalues"]) for row in found["rows"]}
    jitter = 0.2 + 0.8 * np.sin(0.2 * np.pi) / (0.2 * np.pi)  # hue turns by up to 0.1
    expected = {"nothing": (0.8 * jitter) ** 2, "nothing, again": (0.8 * jitter) ** 2}
    expected |= {"crop": (0.8 * jitter) ** 2, "flip": (0.8 * jitter) ** 2}
    expected |= {"jitter": 0.8**2, "grey": jitter**2, "colour": 1.0}
    assert set(sizes) == set(expected)
    for name, share in expected.items():
        assert sizes[name] / sizes["colour"] == pytest.approx(share, rel=0.05), name
    assert found["rows"][1]["overlap"][1] > 0.99


def test_only_parts_that_change_a_view_are_left_out():
    assert parts_of("simclr", (3, 32, 32)) == ["crop", "flip", "jitter", "grey", "colour", "blur"]
    assert parts_of("simclr", (1, 8, 8)) == ["crop", "flip", "jitter"]
    assert "solarise" in parts_of("strong", (3, 32, 32))


def test_labels_name_what_differs(runs):
    linear, same, conv = map(TrainedRun.open, runs)
    assert group_labels([linear]) == ["barlow_twins"]
    assert group_labels([linear, conv]) == ["barlow_twins, linear", "barlow_twins, convnet"]
    assert group_labels([linear, same]) == ["barlow_twins (1)", "barlow_twins (2)"]


@pytest.mark.parametrize("seeds", [[0.01, 0.02, 0.3], [0.24, 0.9, 0.93], [1.0, 1.0, 1.0], [0, 0]])
def test_intervals_of_sizes_lie_between_zero_and_one_and_hold_the_mean(seeds):
    found = size_interval(seeds, 0.9)
    assert 0 <= found["low"] <= found["mean"] + 1e-12
    assert found["mean"] - 1e-12 <= found["high"] <= 1


def test_intervals_of_sizes_cover_their_mean_as_often_as_they_say():
    sizes = np.random.default_rng(0).beta(6, 4, (3, 2000))
    found = size_interval(sizes, 0.9)
    covered = np.mean((found["low"] <= 0.6) & (found["high"] >= 0.6))
    assert covered == pytest.approx(0.9, abs=0.03)
    assert np.isnan(size_interval(sizes[:1], 0.9)["low"]).all()
