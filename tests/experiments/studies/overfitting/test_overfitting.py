"""``overfitting``: planted features, planted curves, and small runs end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.cli import main
from experiments.options import OverfittingOptions
from experiments.studies.overfitting.study import overfitting
from experiments.studies.overfitting.summary import summarise_groups
from experiments.studies.training.train import train_network
from paper_figs.runs.overfitting import draw_overfitting
from sslsim.core.files import read_json, read_lines, write_arrays
from sslsim.measures.layers import accuracies, probe_layers
from sslsim.runs.layers.checkpoint import draw_layer_samples, split_rates
from sslsim.runs.layers.curves import LayerCurves, summarise_run
from sslsim.runs.options import TrainOptions
from sslsim.runs.trained_run import TrainedRun

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/overfitting.md").read_text(encoding="utf-8")
SMALL = {"samples": 20, "probed": 60, "eps": (0.1, 1.0), "checkpoints": 4}


def trained(folder, **options):
    given = {
        "method": "simclr",
        "encoder": "convnet",
        "widths": (4, 6),
        "dim": 3,
        "views": "crops",
        "lr": 0.05,
        "init_scale": 1.0,
        "batch": 40,
        "steps": 50,
        "checkpoint_every": 10,
        "checkpoints_kept": 0,
        "records": 8,
        "limit": 60,
        "probe": 16,
        "evaluate": False,
        "device": "cpu",
        "out": folder,
    }
    return train_network(TrainOptions(**given | options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of one training, and another schedule."""
    folder = tmp_path_factory.mktemp("runs")
    return (
        trained(folder / "a"),
        trained(folder / "b", seed=1),
        trained(folder / "c", schedule="cosine"),
    )


def test_runs_are_measured_and_summed_up_by_group(runs, tmp_path, capsys):
    command = ["overfitting", "--samples", "20", "--probed", "60", "--checkpoints", "4", "--out"]
    assert main([*command, str(tmp_path / "o"), "--run", *map(str, runs), "--eps", "0.1", "1"]) == 0
    folder = tmp_path / "o"
    found = read_json(folder / "overfitting.json")
    assert found["eps"] == [0.1, 1.0]
    steps = found["runs"][0]["steps"]
    assert (steps[0], steps[-1], len(steps)) == (0, 50, 4)
    layers = ["layer1", "layer2", "backbone", "projector"]
    for run in found["runs"]:
        assert run["layers"] == layers
        assert np.shape(run["linear"]) == np.shape(run["knn_error"]) == (4, 4)
        assert np.shape(run["instance"]["test"]) == np.shape(run["class"]["train"]) == (2, 4, 4)
        assert run["images"] == 20
        # The last map's mean over places is what follows it.
        assert run["linear"][1] == run["linear"][2]
        assert run["linear"][2] != run["linear"][3]
        for groups in ("instance", "class"):
            part, whole = np.array(run[groups]["test"]), np.array(run["coding_rate"]["test"])
            assert (part > 0).all()
            assert (part < whole).all()
    # Instances refine classes: they reduce the rate by more.
    assert (np.array(run["instance"]["test"]) >= np.array(run["class"]["test"])).all()
    first, second = found["groups"]
    assert (first["runs"], first["seeds"], second["runs"]) == ([0, 1], [0, 1], [2])
    assert first["options"] == {"schedule": "constant"}
    assert second["label"] == "simclr, digits, cosine"
    falls = np.array([run["linear_fall"] for run in found["runs"][:2]])
    np.testing.assert_allclose(first["linear_fall"]["mean"], falls.mean(axis=0))
    assert first["linear_fall"]["count"] == [2] * 4
    assert second["linear_fall"]["low"] == [None] * 4  # one seed has no interval
    line = read_lines(folder / "measured.jsonl")[0]
    run = found["runs"][0]
    keys = [*found, *run, *first, *run["correlations"]["linear"], *first["linear_fall"], *line]
    keys += [*run["correlations"]["linear"]["gap"], *run["instance"], *first["advice"]]
    for key in dict.fromkeys(keys):
        assert f"`{key}`" in PAGE, key
    told = capsys.readouterr().out
    assert "simclr, digits, constant (2 seeds)" in told
    assert "backbone" in told
    assert (folder / "overfitting.png").stat().st_size > 20_000
    assert draw_overfitting(folder, group=1).stat().st_size > 20_000
    with pytest.raises(ValueError, match=r"group is 2; .* holds 2, counted from 0"):
        draw_overfitting(folder, group=2)


def lines_of(folder):
    return read_lines(folder / "measured.jsonl")


def test_a_study_that_was_stopped_goes_on_with_the_same_numbers(runs, tmp_path):
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    options = OverfittingOptions(run=(run,), out=tmp_path / "whole", **SMALL)
    overfitting(options)
    step = lines_of(tmp_path / "whole")[2]["step"]
    checkpoint = run / f"checkpoints/checkpoint-{step:09d}.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:100])
    parts = tmp_path / "parts"
    with pytest.raises(ValueError, match=checkpoint.name):
        overfitting(replace(options, out=parts))
    assert lines_of(parts) == lines_of(tmp_path / "whole")[:2]
    assert not (parts / "overfitting.json").exists()
    checkpoint.write_bytes(content)
    overfitting(replace(options, out=parts))
    ours, theirs = (folder / "overfitting.json" for folder in (parts, tmp_path / "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_what_is_measured_already_is_not_measured_again(runs, tmp_path):
    options = OverfittingOptions(run=runs[:1], out=tmp_path / "o", **SMALL)
    overfitting(options)
    planted = lines_of(options.out)
    planted[1]["layers"]["layer1"]["linear"] = 0.123  # which no measurement gives
    (options.out / "measured.jsonl").write_text("".join(f"{json.dumps(p)}\n" for p in planted))
    for changed, count in (
        (options, 4),
        (replace(options, run=runs[:2], interval_level=0.5), 8),  # the other run's
        (replace(options, checkpoints=6), 10),  # the two between
    ):
        overfitting(changed)
        assert len(lines_of(options.out)) == count
        curve = read_json(options.out / "overfitting.json")["runs"][0]["linear"][0]
        assert curve.count(0.123) == 1
    # A folder with the same name that holds another network is another run.
    moved = tmp_path / "a"
    trained(moved, seed=5, steps=20)
    overfitting(replace(options, run=(moved,)))
    assert len(lines_of(options.out)) == 13
    with pytest.raises(ValueError, match="measurements with samples 20, now it is 21; expected"):
        overfitting(replace(options, samples=21))
    (tmp_path / "o/measured.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="a line without key and layers"):
        overfitting(options)


def test_images_are_the_same_for_all_seeds_and_test_is_not_train(runs):
    one, other = (
        draw_layer_samples(
            TrainedRun(Path(), TrainOptions(limit=60, views="crops", seed=seed)),
            samples=20,
            probed=60,
            views=3,
            seed=0,
        )
        for seed in (0, 1)
    )
    for split in ("test", "train"):
        assert torch.equal(one.views[split], other.views[split])
        assert one.views[split].shape == (60, 1, 6, 6)  # three views of 20 images
        assert one.plain[split].shape == (60, 1, 6, 6)
        views = one.views[split].reshape(3, 20, -1)
        assert not torch.equal(views[0], views[1])
        assert not torch.equal(views[0], views[2])
    assert not torch.equal(one.views["test"], one.views["train"])


def test_reductions_of_orthogonal_images_are_those_of_the_closed_form():
    n, d, views = 6, 8, 3
    distortions = (0.1, 0.7)
    scales = torch.tensor([3.0, 0.1, 7.0]).repeat_interleave(n)  # the norm is of no account
    z = scales[:, None] * torch.eye(n, d).repeat(views, 1)
    found = split_rates({"test": z}, {"test": (torch.arange(n) // 2).repeat(views)}, n, distortions)
    for place, eps in enumerate(distortions):
        rate = n / 2 * np.log1p(d / (n * eps**2))
        within = n / 3 / 2 * np.log1p(3 * d / (n * eps**2))  # of three classes, two images each
        assert found["coding_rate"]["test"][place] == pytest.approx(rate, rel=1e-9)
        by_instance = rate - 0.5 * np.log1p(d / eps**2)
        assert found["instance"]["test"][place] == pytest.approx(by_instance, rel=1e-9)
        assert found["class"]["test"][place] == pytest.approx(rate - within, rel=1e-9)
    # Views that have nothing to do with one another leave less to take off.
    generator = torch.Generator().manual_seed(0)
    apart = torch.randn(n * views, d, generator=generator)
    other = split_rates({"test": apart}, {"test": torch.zeros(n * views).long()}, n, distortions)
    assert other["instance"]["test"][0] < found["instance"]["test"][0]
    assert other["class"]["test"] == pytest.approx([0, 0], abs=1e-9)  # one group of all


def test_probes_read_the_test_split():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(30)
    z = torch.eye(4)[labels] + 0.05 * torch.randn(120, 4, generator=generator)
    known = accuracies(probe_layers({"z": z}, labels, {"z": z}, labels)["z"])
    assert (known["linear"], known["knn"]) == (1.0, 1.0)
    assert 0 < known["linear_error"] < 0.01
    # Memorised: the training split is told apart, the test split is noise.
    noise = torch.randn(120, 4, generator=generator)
    found = accuracies(probe_layers({"z": z}, labels, {"z": noise}, labels)["z"])
    for name in ("linear", "knn"):
        share = (120 * found[name] + 1) / 122
        assert found[f"{name}_error"] == pytest.approx(np.sqrt(share * (1 - share) / 120))
        assert abs(found[name] - 0.25) < 4 * found[f"{name}_error"]


def curves(accuracy, reduction, seed=0, **options):
    """One layer, one eps; classes reduce by the opposite, and training images by twice as much.

    Neighbours see half of the accuracy, backwards.
    """
    accuracy, reduction = np.array([accuracy]), np.array([[reduction]])
    return LayerCurves(
        run=Path(f"r{seed}"),
        trained=TrainOptions(seed=seed, **options),
        layers=("backbone",),
        steps=tuple(range(0, 10 * accuracy.shape[1], 10)),
        accuracies={"linear": accuracy, "knn": accuracy[:, ::-1] / 2},
        errors={"linear": 0 * accuracy + 0.03, "knn": 0 * accuracy + 0.04},
        rates={
            "coding_rate": {"test": reduction, "train": reduction},
            "instance": {"test": reduction, "train": 2 * reduction},
            "class": {"test": -reduction, "train": reduction},
        },
        images=5,
    )


def test_a_signal_that_follows_accuracy_is_told_from_one_that_only_grows():
    accuracy = np.array([0.1, 0.5, 0.9, 0.8, 0.7, 0.6])
    found = summarise_run(curves(accuracy, accuracy**3))
    assert found["linear_peak_step"] == [20]
    assert found["linear_fall"] == pytest.approx([0.3])
    assert found["linear_fall_error"] == pytest.approx([0.03 * np.sqrt(2)])
    assert found["knn_peak_step"] == [30]
    by_linear = found["correlations"]["linear"]
    expected = {"instance": (1, 1), "class": (-1, -1), "gap": (1, 1)}
    for signal, (everywhere, after) in expected.items():
        assert by_linear[signal]["all"] == [[pytest.approx(everywhere)]]
        assert by_linear[signal]["after_peak"] == [[pytest.approx(after)]]
    # The number of updates rises with the accuracy and goes on: what a control is for.
    assert by_linear["updates"]["after_peak"] == [[pytest.approx(-1)]]
    assert by_linear["updates"]["all"][0][0] == pytest.approx(0.2, abs=0.3)
    rising = summarise_run(curves(np.sort(accuracy), accuracy))
    assert rising["linear_fall"] == pytest.approx([0])
    assert np.isnan(rising["correlations"]["linear"]["instance"]["after_peak"]).all()
    assert rising["correlations"]["linear"]["updates"]["all"] == [[pytest.approx(1)]]


def test_every_eps_has_its_own_correlations():
    accuracy = np.array([0.1, 0.5, 0.9, 0.8, 0.7])
    one = curves(accuracy, accuracy)
    both = np.array([[accuracy**2], [-accuracy], [np.arange(5.0)]])
    whole = {"test": both, "train": 2 * both}
    rates = dict.fromkeys(("coding_rate", "instance", "class"), whole)
    found = summarise_run(replace(one, rates=rates))
    by_eps = found["correlations"]["linear"]["instance"]["all"]
    # Ranks 1, 2, 5, 4, 3 with 1 to 5: 1 - 6 (0 + 0 + 4 + 0 + 4) / (5 * 24).
    assert by_eps == [[pytest.approx(1)], [pytest.approx(-1)], [pytest.approx(0.6)]]


def test_groups_are_of_seeds_and_nothing_else():
    accuracy = np.array([0.1, 0.5, 0.9, 0.8, 0.7])
    many = [
        curves(accuracy, accuracy, seed=0, limit=50),
        curves(accuracy + 0.02, accuracy, seed=1, limit=50, root=Path("x"), records=9),
        curves(accuracy, -accuracy, seed=0, limit=70, fixed_views=True),
        curves(accuracy[::-1] + 0.01, accuracy, seed=2, limit=50, checkpoint_every=7),
    ]
    first, second = summarise_groups(many, [summarise_run(one) for one in many], 0.9)
    assert (first["seeds"], first["runs"]) == ([0, 1, 2], [0, 1, 3])
    assert first["label"] == "barlow_twins, digits, limit 50"
    assert second["label"] == "barlow_twins, digits, limit 70, fixed views"
    assert second["options"] == {"limit": 70, "fixed_views": True}
    np.testing.assert_allclose(first["linear_end"]["mean"], [(0.7 + 0.72 + 0.11) / 3])
    np.testing.assert_allclose(first["linear_peak"]["mean"], [0.91])
    np.testing.assert_allclose(first["knn_end"]["mean"], [(0.1 + 0.12 + 0.71) / 6])
    np.testing.assert_allclose(first["knn_peak"]["mean"], [0.91 / 2])
    # Peaks of the other two, on average, are at the third checkpoint all three times.
    falls = np.array([0.2, 0.2, 0.8])
    np.testing.assert_allclose(first["linear_fall_by_others"]["mean"], [falls.mean()])
    of_all = first["correlations"]["linear"]["instance"]["all"]
    reverse = summarise_run(many[3])["correlations"]["linear"]["instance"]["all"][0][0]
    np.testing.assert_allclose(of_all["mean"], [[(2 + reverse) / 3]])
    assert second["correlations"]["linear"]["instance"]["all"]["mean"] == [[pytest.approx(-1)]]
    alike = [many[0], replace(many[0], run=Path("r9"))]
    with pytest.raises(ValueError, match="r0 and r9 were trained alike, with seed 0; expected"):
        summarise_groups(alike, [summarise_run(one) for one in alike], 0.9)


def test_seeds_at_other_checkpoints_have_no_common_peak():
    accuracy = np.array([0.1, 0.5, 0.9, 0.8, 0.7])
    other = replace(curves(accuracy, accuracy, seed=1), steps=(0, 1, 2, 3, 4))
    both = [curves(accuracy, accuracy), other]
    (group,) = summarise_groups(both, [summarise_run(one) for one in both], 0.9)
    assert "linear_fall_by_others" not in group
    np.testing.assert_allclose(group["linear_fall"]["mean"], [0.2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ()}, "no run is given"),
        ({"checkpoints": 2}, "checkpoints is 2; expected at least 3"),
        ({"samples": 1}, "samples is 1; expected at least 2"),
        ({"probed": 0}, "probed is 0"),
        ({"views": 1}, "views is 1; expected at least 2"),
        ({"seed": -1}, "seed is -1"),
        ({"eps": ()}, r"eps is \(\); expected"),
        ({"eps": (0.1, 0.0)}, "expected finite numbers above zero"),
        ({"eps": (float("inf"),)}, "expected finite numbers above zero"),
        ({"interval_level": 1.0}, "interval-level is 1.0"),
        ({"run": (Path("no"),)}, "no/config.json cannot be read"),
    ],
)
def test_bad_options_are_refused_in_words(runs, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        overfitting(OverfittingOptions(**{"run": runs[:1], "out": tmp_path} | options))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unfit_runs_are_refused_in_words(runs, tmp_path, capsys):
    few = trained(tmp_path / "few", steps=4, checkpoints_kept=1)
    with pytest.raises(ValueError, match=r"few holds 1 checkpoint\(s\); expected those of a run"):
        overfitting(OverfittingOptions(run=(few,), out=tmp_path / "o"))
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    write_arrays(tmp_path / "x.npz", images=images)
    blind = trained(tmp_path / "blind", data=str(tmp_path / "x.npz"), steps=20)
    with pytest.raises(ValueError, match=r"x.npz has no labels of two classes; expected some"):
        overfitting(OverfittingOptions(run=(blind,), out=tmp_path / "o", **SMALL))
    assert main(["overfitting", "--run", str(few), "--out", str(tmp_path / "p")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_features_that_are_not_finite_name_the_checkpoint(runs, tmp_path):
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    path = run / "checkpoints/checkpoint-000000050.pt"
    content = torch.load(path, weights_only=True)
    next(iter(content["learner"].values())).fill_(torch.nan)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"run after 50 updates: .*(NaN|finite)"):
        overfitting(OverfittingOptions(run=(run,), out=tmp_path / "o", **SMALL))


def test_lines_are_strict_json(runs, tmp_path):
    overfitting(OverfittingOptions(run=runs[:1], out=tmp_path, **SMALL))
    for line in (tmp_path / "measured.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["images"] == 20
