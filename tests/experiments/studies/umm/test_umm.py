"""``umm`` and ``umm-sweep`` end to end on digits, and their table on planted numbers."""

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shown import shown

from experiments.cli import main
from experiments.options import OverfittingOptions
from experiments.studies.overfitting.study import overfitting
from experiments.studies.training.train import train_network
from experiments.studies.umm.finetune import umm
from experiments.studies.umm.options import (
    UmmCommand,
    UmmSweepCommand,
    core_options,
)
from experiments.studies.umm.sweep import settings_of, umm_sweep
from experiments.studies.umm.tables import (
    causal_effects,
    falls,
    group_names,
    sweep_summary,
    tabled,
)
from experiments.summary import as_text
from experiments.tables import percent
from paper_figs.runs.umm import draw_sweep, draw_umm
from sslsim.core.checkpoints import load_newest_checkpoint
from sslsim.core.files import plain, read_json, read_lines, write_json
from sslsim.core.interruption import Interrupted
from sslsim.measures.intervals import interval_summary
from sslsim.runs.options import TrainOptions
from sslsim.runs.trained_run import TrainedRun
from sslsim.umm import UmmOptions
from sslsim.umm.variants import variant_options

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/umm.md").read_text(encoding="utf-8")


def trained(folder, **options):
    given = {
        "method": "simclr",
        "widths": (4, 5),
        "dim": 4,
        "init_scale": 1.0,
        "batch": 30,
        "steps": 12,
        "records": 2,
        "limit": 60,
        "probe": 8,
        "checkpoint_every": 6,
        "evaluate": False,
        "device": "cpu",
        "out": folder,
    }
    return train_network(TrainOptions(**given | options))


def command(run, out, **options):
    given = {"split": "layer1", "steps": 22, "batch": 12, "held_out": 12, "test_images": 40,
             "checkpoint_every": 4, "device": "cpu", "outer_lr": 1e-3}  # fmt: skip
    return UmmCommand(run=run, out=out, **given | options)


def sweep(runs, out, **options):
    given = {"split": "layer1", "steps": 2, "batch": 12, "held_out": 12, "test_images": 40,
             "device": "cpu", "variants": ("full",)}  # fmt: skip
    return UmmSweepCommand(run=tuple(runs), out=out, **given | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run") / "simclr")


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run") / "twin", seed=1)


@pytest.fixture(scope="module")
def undone(run, tmp_path_factory):
    return umm(command(run, tmp_path_factory.mktemp("umm") / "a"))


def test_before_and_after_of_every_layer(run, undone, capsys):
    found = read_json(undone / "umm.json")
    before, after = found["before"], found["after"]
    assert list(before["layers"]) == ["layer1", "layer2", "backbone", "projector"]
    assert before["layers"]["layer1"] == after["layers"]["layer1"]  # frozen
    assert before["layers"]["layer1"]["early_distance"] < 1e-9
    for layer in ("layer2", "backbone", "projector"):
        for key in ("instance_reduction", "class_reduction", "early_distance"):
            assert before["layers"][layer][key] != after["layers"][layer][key], (layer, key)
        for line in (before["layers"][layer], after["layers"][layer]):
            assert 0 <= line["knn"] <= 1
            assert line["instance_reduction"] > 0
    # The representation is what DeltaR is raised of; both readings are of the same views.
    for when in (before, after):
        assert when["coding_rate_reduction"] == pytest.approx(
            when["layers"]["backbone"]["instance_reduction"], rel=1e-5
        )
    assert after["coding_rate_reduction"] > before["coding_rate_reduction"]
    assert (found["checkpoint"], found["split"], found["early"]) == (12, "layer1", "layer1")
    assert set(found["convergence"]) == {
        "inner_rises", "gradient_grows", "outer_falls", "window", "converges"
    }  # fmt: skip
    assert len(read_lines(undone / "records.jsonl")) == 22
    assert draw_umm(undone).stat().st_size > 5000
    keys = [*found, *before, *before["layers"]["backbone"], *found["convergence"]]
    for key in (*keys, *read_lines(undone / "records.jsonl")[0]):
        assert f"`{key}`" in PAGE, key


def test_the_early_part_keeps_its_bits_and_the_projector_of_the_run_is_trained(run, undone):
    before = TrainedRun.open(run).learner().state_dict()
    after = load_newest_checkpoint(undone / "checkpoints", torch.device("cpu"))["learner"]
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("encoder.backbone.layer1"), name
    # Adam: no entry is farther from where it was than the sum of the rates, nearly.
    steps = 22 * 1e-3 * 1.5
    assert (
        after["encoder.projector.0.weight"] - before["encoder.projector.0.weight"]
    ).abs().max() < steps


def test_an_interrupted_run_goes_on_with_the_same_bits(run, undone, tmp_path, monkeypatch):
    import sslsim.umm.finetune as finetune

    step, seen = finetune.outer_step, []

    def stopping(losses, phi):
        seen.append(1)
        if len(seen) == 7:
            signal.raise_signal(signal.SIGINT)
        return step(losses, phi)

    options = command(run, tmp_path / "b")
    monkeypatch.setattr(finetune, "outer_step", stopping)
    with pytest.raises(Interrupted, match="stopped at step 7 of 22"):
        umm(options)
    config = (tmp_path / "b/config.json").read_bytes()
    umm(options)
    assert len(seen) == 22
    assert (tmp_path / "b/config.json").read_bytes() == config
    ours, theirs = (read_json(folder / "umm.json") for folder in (tmp_path / "b", undone))
    assert ours == theirs
    with pytest.raises(ValueError, match=r"holds a run with beta 1.0, now it is 2.0; expected the"):
        umm(replace(options, beta=2.0))
    umm(replace(options, test_images=20))  # what is measured may change, and the result says so
    assert read_json(tmp_path / "b/umm.json")["test_images"] == 20
    assert len(seen) == 22
    with pytest.raises(ValueError, match="holds a run of sslsim train; expected another folder"):
        umm(replace(options, out=run))


def test_ablations_change_what_they_say(run, tmp_path):
    core = core_options(
        command(run, tmp_path, alignment=False), TrainOptions(seed=3, standardise=False)
    )
    assert (core.beta, core.coding_rate, core.joint) == (0.0, 1.0, False)
    assert (core.seed, core.standardise) == (3, False)
    core = core_options(command(run, tmp_path, coding_rate=False, seed=5), TrainOptions(seed=3))
    assert (core.beta, core.coding_rate, core.joint, core.seed) == (1.0, 0.0, False, 5)
    core = core_options(command(run, tmp_path, joint=True, distance="cka"), TrainOptions())
    assert (core.beta, core.coding_rate, core.joint, core.alignment) == (1.0, 1.0, True, "cka")
    core = core_options(command(run, tmp_path, control=True), TrainOptions(fixed_views=True))
    assert (core.beta, core.coding_rate, core.joint, core.fixed_views) == (0.0, 0.0, True, True)
    with pytest.raises(ValueError, match="seed is 5 for a run with fixed views, drawn by seed 0"):
        core_options(command(run, tmp_path, seed=5), TrainOptions(fixed_views=True))
    assert variant_options(UmmOptions(), "align", push=7.0).beta == 7.0
    assert variant_options(UmmOptions(), "spread_held", hold=7.0).hold == 7.0
    # Of one level the objective says what is descended.
    for name, options in {
        "control": {"control": True},
        "joint": {"joint": True},
        "no": {"joint": True, "alignment": False},
    }.items():
        umm(command(run, tmp_path / name, steps=2, **options))
        for line in read_lines(tmp_path / name / "records.jsonl"):
            told = -line["loss"]
            if name != "control":
                told += line["coding_rate_reduction"]
            if name == "joint":
                told -= line["alignment"]
            assert line["objective"] == pytest.approx(told, rel=1e-5), name
            assert line["inner_start"] is None


@pytest.mark.parametrize("fixed", [False, True])
def test_the_control_is_the_run_s_own_training(run, tmp_path, fixed):
    """Adam on the loss of the run alone, on its own kind of views, the early part left out."""
    if fixed:
        run = trained(tmp_path / "fixed", fixed_views=True, steps=2)
    from experiments.studies.umm.start import start_from
    from sslsim.training.batches import training_batches
    from sslsim.training.options import TrainingOptions

    options = command(run, tmp_path, control=True, steps=3)
    umm(options)
    start = start_from(run, options)
    learner = start.learner.train()
    late = [p for name, p in learner.named_parameters() if "layer1" not in name]
    adam = torch.optim.Adam(late, options.outer_lr)
    drawn = TrainingOptions(batch=12, seed=0, standardise=True, fixed_views=fixed)
    batches = training_batches(start.run.images, start.run.views, drawn, torch.device("cpu"))
    for step in range(3):
        adam.zero_grad()
        learner(*batches(step)).backward()
        adam.step()
    after = load_newest_checkpoint(tmp_path / "checkpoints", torch.device("cpu"))["learner"]
    for name, value in learner.state_dict().items():
        torch.testing.assert_close(value, after[name], rtol=1e-4, atol=1e-6)


def test_start_early_and_transfer(run, tmp_path):
    rng = np.random.default_rng(0)
    other = tmp_path / "other.npz"
    labels = np.arange(60) % 2
    images = rng.integers(0, 60, (60, 8, 8, 1)) + 190 * labels[:, None, None, None]
    np.savez(other, images=images.astype(np.uint8), labels=labels)
    options = command(run, tmp_path / "a", checkpoint=6, split="layer2", early="layer1", steps=2,
                      features="embedding", transfer=str(other))  # fmt: skip
    umm(options)
    found = read_json(tmp_path / "a/umm.json")
    assert (found["checkpoint"], found["split"], found["early"]) == (6, "layer2", "layer1")
    line = found["after"]["layers"]["backbone"]
    assert line["transfer_linear"] == 1.0  # dark and bright images
    assert found["before"]["layers"]["layer1"]["early_distance"] < 1e-9
    assert line["early_distance"] > 1e-6
    assert f"`{'transfer_linear'}`" in PAGE
    # What is shown is the layer that was asked about.
    assert found["layer"] == "projector"
    before, after = (found[when]["layers"]["projector"]["linear"] for when in ("before", "after"))
    changed = percent(after - before)
    assert f"change of the linear probe of projector: {changed}\n" in shown("umm", tmp_path / "a")
    np.savez(other, images=np.repeat(images.astype(np.uint8), 3, axis=3), labels=labels)
    with pytest.raises(ValueError, match=r"has images of shape \(3, 8, 8\), .* trained on \(1, 8"):
        umm(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "layer9"}, "split layer is 'layer9'; expected one of layer1, layer2"),
        ({"early": "layer2"}, "early is 'layer2', behind split layer 'layer1'; expected one of"),
        ({"early": "layer9"}, "split layer is 'layer9'; expected one of layer1, layer2"),
        ({"eps": 0.0}, "eps is 0.0; expected a finite number above zero"),
        ({"eps": -1.0}, "eps is -1.0; expected a finite number above zero"),
        ({"test_images": 1}, "test_images is 1; expected at least 2"),
        ({"control": True, "alignment": False}, "both control and no-alignment are given"),
        ({"checkpoint": 5}, "checkpoint is 5; .* holds 0, 6, 12"),
        ({"transfer": "nothing"}, "nothing"),
    ],
)
def test_bad_options_are_refused_in_one_line(run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        umm(command(run, tmp_path / "bad", **options))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad").exists()


def test_runs_that_do_not_fit_are_refused(run, tmp_path, capsys):
    supervised = trained(tmp_path / "supervised", method="supervised", dim=None)
    with pytest.raises(ValueError, match="SupervisedLearner, which embeds one view"):
        umm(command(supervised, tmp_path / "out"))
    wider = trained(tmp_path / "wider", widths=(4, 6))
    config = json.loads((wider / "config.json").read_text())
    config["options"]["widths"] = [4, 5]
    (wider / "config.json").write_text(json.dumps(config))
    argv = ["umm", "--run", str(wider), "--split", "layer1", "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert "is of another network: 'encoder.backbone.layer2.0.weight' is (6, 4, 3, 3); " in told
    assert "expected (5, 4, 3, 3)" in told
    assert told.count("\n") == 1
    with pytest.raises(ValueError, match="no run is given"):
        umm_sweep(UmmSweepCommand())
    with pytest.raises(ValueError, match="interval_level is 1"):
        umm_sweep(sweep([run], tmp_path, interval_level=1.0))
    with pytest.raises(ValueError, match="run holds a folder twice"):
        umm_sweep(sweep([run, run], tmp_path))
    shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(ValueError, match="were trained alike, with seed 0; expected runs of diff"):
        umm_sweep(sweep([run, tmp_path / "copy"], tmp_path))  # seeds are the unit of the intervals


def cells_of(folder):
    """Cells that were run, and when."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/cell.json")}


def test_a_sweep_runs_each_cell_once_and_adds_to_its_table(run, twin, tmp_path, capsys):
    folder = umm_sweep(sweep([run], tmp_path, variants=("full", "control"), vary=("batch=12,8",)))
    # A batch of 12 is the full mechanism's own: another label, but no other fine-tuning to run.
    first = cells_of(folder)
    assert len(first) == 4
    options = sweep([run, twin], tmp_path, variants=("full", "align", "spread", "spread_held"))
    assert umm_sweep(options) == folder
    cells = cells_of(folder)
    assert len(cells) == 4 + 3 + 5
    assert {path: cells[path] for path in first} == first
    assert not list(folder.glob("cells/*/checkpoints"))
    table = read_json(folder / "table.json")
    text = (folder / "table.txt").read_text()
    again = umm_sweep(options)
    assert cells_of(folder) == cells
    assert (again / "table.txt").read_text() == text
    assert text == shown("umm-sweep", folder) + "\n"
    names = [row["setting"] for row in table["rows"]]
    assert names == ["full", "align", "spread", "spread_held", "control"]
    full = table["rows"][0]
    assert (full["group"], full["seeds"], full["failed"]) == ("simclr", [0, 1], {})
    found = full["measures"]["coding_rate_reduction"]
    cells = [read_json(path) for path in folder.glob("cells/*/cell.json")]
    for place, start in enumerate((run, twin)):
        mine, control = (
            next(c for c in cells if c["run"] == str(start) and c["setting"] == setting)
            for setting in ("full", "control")
        )
        change = mine["after"]["coding_rate_reduction"] - mine["before"]["coding_rate_reduction"]
        assert found["change"]["values"][place] == pytest.approx(change)
        less = mine["after"]["coding_rate_reduction"] - control["after"]["coding_rate_reduction"]
        assert found["from_control"]["values"][place] == pytest.approx(less)
    assert full["measures"]["linear_layer1"]["change"]["mean"] == 0
    assert [one["intervention"] for one in table["effects"]] == [
        "align", "spread", "spread_held", "spread_through_alignment"
    ]  # fmt: skip
    assert draw_sweep(folder).stat().st_size > 5000
    row, effect = table["rows"][0], table["effects"][0]
    keys = [*table, *row, *row["measures"]["loss"], *row["measures"]["loss"]["change"], *effect]
    for key in (*keys, "per_pushed"):
        assert f"`{key}`" in PAGE, key


def test_a_cell_that_diverges_fails_alone(run, tmp_path):
    folder = umm_sweep(sweep([run], tmp_path, vary=("inner-lr=1e30,0.01",)))
    rows = {row["setting"]: row for row in read_json(folder / "table.json")["rows"]}
    assert list(rows["inner_lr=1e+30"]["failed"]) == [str(run)]
    assert "no longer finite" in rows["inner_lr=1e+30"]["failed"][str(run)]
    assert rows["inner_lr=1e+30"]["measures"] == {}
    assert rows["inner_lr=0.01"]["seeds"] == [0]
    assert "inner_lr=1e+30 (1 failed)" in (folder / "table.txt").read_text()
    draw_sweep(folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("eps", "vary holds 'eps'; expected NAME=VALUE"),
        ("radius2=1", "expected NAME=VALUE,VALUE with NAME one of .*eps.*outer-lr"),
        ("batch=a", "vary holds 'batch=a'; expected values like 256"),
        ("eps=0", "eps is 0.0; expected a finite number above zero"),
        ("schedule=never", "never"),
    ],
)
def test_settings_that_do_not_exist_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        settings_of(UmmSweepCommand(vary=(given,)), UmmOptions())


def test_settings_are_compared_with_controls_of_the_same_updates():
    options = UmmSweepCommand(
        variants=("full",),
        vary=("schedule=cosine", "beta=3", "distance=cka", "steps=9", "beta=3.0,3"),
    )
    names = [one.name for one in settings_of(options, UmmOptions())]
    assert len(names) == len(set(names))  # a setting given twice is one
    found = {one.name: one for one in settings_of(options, UmmOptions())}
    assert found["schedule=cosine"].control == "control, schedule=cosine"
    assert found["control, schedule=cosine"].options == replace(
        found["control"].options, schedule="cosine"
    )
    assert found["beta=3.0"].control == found["distance=cka"].control == "control"
    assert found["distance=cka"].options == UmmOptions(alignment="cka")
    assert found[found["steps=9"].control].options.steps == 9


def test_a_grid_runs_every_combination_with_its_alignment_and_without():
    options = UmmSweepCommand(
        variants=("full", "no_alignment"), grid=("inner-lr=0.1,1", "batch=8,256", "beta=1,50")
    )
    found = {one.name: one for one in settings_of(options, UmmOptions())}
    assert found["full"].without == "no_alignment"
    combined = [name for name in found if name.startswith("inner_lr")]
    assert len(combined) == 8
    for inner_lr in (0.1, 1.0):
        for batch in (8, 256):
            for beta in (1.0, 50.0):
                one = found[f"inner_lr={inner_lr} batch={batch} beta={beta}"]
                changes = {"inner_lr": inner_lr, "batch": batch}
                assert one.options == UmmOptions(**changes, beta=beta)
                assert one.control == f"control, batch={batch}"
                assert found[one.control].options == variant_options(
                    UmmOptions(batch=batch), "control"
                )
                without = found[one.without]
                assert without.options == UmmOptions(**changes, beta=0.0)
                assert (without.control, without.without) == (one.control, None)
    assert len(found) == 2 + 8 + 4 + 1 + 2
    # A grid of beta alone has the ablation for its twin, once.
    options = UmmSweepCommand(variants=("full", "no_alignment"), grid=("beta=0,3",))
    names = [one.name for one in settings_of(options, UmmOptions())]
    assert names == ["full", "no_alignment", "beta=0.0", "beta=3.0", "control"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (("eps",), "grid holds 'eps'"),
        (("beta=1", "beta=2"), "grid is beta=1 beta=2; expected every option once"),
    ],
)
def test_grids_that_do_not_exist_are_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        settings_of(UmmSweepCommand(grid=grid), UmmOptions())


def test_what_the_alignment_does_is_in_the_table(run, tmp_path):
    folder = umm_sweep(sweep([run], tmp_path, grid=("inner-lr=0.5", "beta=1,1000")))
    rows = {row["setting"]: row for row in read_json(folder / "table.json")["rows"]}
    one, strong, without = (
        rows[f"{name}inner_lr=0.5{beta}"]
        for name, beta in (("", " beta=1.0"), ("", " beta=1000.0"), ("no_alignment, ", ""))
    )
    assert one["without"] == strong["without"] == without["setting"]
    assert without["without"] is None
    assert strong["alignment_share"]["mean"] == pytest.approx(1000 * one["alignment_share"]["mean"])
    assert one["alignment_share"]["mean"] > 0
    assert without["alignment_share"]["mean"] == 0
    loss = [row["measures"]["loss"] for row in (one, strong, without)]
    for each in loss[:2]:
        gap = each["change"]["mean"] - loss[2]["change"]["mean"]
        assert each["from_no_alignment"]["mean"] == pytest.approx(gap)
    assert abs(loss[1]["from_no_alignment"]["mean"]) > abs(loss[0]["from_no_alignment"]["mean"]) > 0
    assert "from_no_alignment" not in loss[2]
    text = (folder / "table.txt").read_text()
    assert "What the alignment does" in text
    for key in (*one, "from_no_alignment"):
        assert f"`{key}`" in PAGE, key


# The table.


def planted(run, group, seed, setting, loss, reduction, failed=None):
    before = {"coding_rate_reduction": 10.0 + seed, "loss": 5.0, "alignment": 0.5, "layers": {}}
    after = before | {"loss": 5.0 + loss, "coding_rate_reduction": 10.0 + seed + reduction}
    return {
        "run": run, "group": group, "seed": seed, "setting": setting, "control": "control",
        "failed": failed, "before": before, "after": None if failed else after,
    }  # fmt: skip


def test_the_table_finds_planted_changes_and_pairs_runs():
    cells = []
    for seed, luck in enumerate((-3.0, 0.0, 5.0)):
        # Luck of the seed is far larger than what differs between settings.
        cells.append(planted(f"r{seed}", "simclr", seed, "full", luck - 1.0, 2.0))
        cells.append(planted(f"r{seed}", "simclr", seed, "control", luck, 0.5 * seed))
    cells.append(planted("s", "byol", 0, "full", 0.0, 0.0, failed="no longer finite"))
    cells.append(planted("s", "byol", 0, "control", 7.0, 0.0))
    found = tabled(cells, 0.9)
    full, control, failed, other = found["rows"]
    loss = full["measures"]["loss"]
    assert loss["change"]["mean"] == pytest.approx(-1 + 2 / 3)
    assert loss["change"]["low"] < 0 < loss["change"]["high"]
    np.testing.assert_allclose(loss["from_control"]["values"], -1.0)
    assert loss["from_control"]["low"] == pytest.approx(loss["from_control"]["high"])
    assert "from_first" not in loss
    np.testing.assert_allclose(control["measures"]["loss"]["from_first"]["values"], 1.0)
    assert "from_control" not in control["measures"]["loss"]
    before = full["measures"]["coding_rate_reduction"]["before"]
    assert before == pytest.approx(11.0)  # of 10, 11 and 12
    reduction = full["measures"]["coding_rate_reduction"]["from_control"]
    # 2, 1.5, 1: half-width t_{0.95, 2} 0.5 / sqrt(3)
    assert reduction["mean"] == pytest.approx(1.5)
    assert reduction["high"] - 1.5 == pytest.approx(2.919986 * 0.5 / math.sqrt(3), rel=1e-6)
    assert reduction["effect"] == pytest.approx(3.0)
    assert (failed["seeds"], failed["failed"]) == ([], {"s": "no longer finite"})
    assert other["measures"]["loss"]["change"]["mean"] == 7.0
    assert math.isnan(other["measures"]["loss"]["change"]["low"])
    assert "from_first" not in other["measures"]["loss"]  # the first failed


def with_layers(cell, layer, **gains):
    """A planted cell whose late features are of one layer, and what layers gain in accuracy."""
    before = {name: {"linear": 0.4, "knn": 0.3} for name in gains}
    after = {name: {"linear": 0.4 + gain, "knn": 0.3} for name, gain in gains.items()}
    cell["before"], cell["after"] = (
        cell[when] | {"layers": layers} for when, layers in (("before", before), ("after", after))
    )
    return cell | {"layer": layer}


def test_tables_show_the_layer_that_was_changed():
    cells = []
    for seed in range(2):
        cell = planted(f"r{seed}", "simclr", seed, "full", 0.0, 1.0)
        cells.append(with_layers(cell, "projector", backbone=0.25, projector=0.125))
        cell = planted(f"r{seed}", "simclr", seed, "features=representation", 0.0, 1.0)
        cells.append(with_layers(cell, "backbone", backbone=0.25, projector=0.125))
        cell = planted(f"r{seed}", "simclr", seed, "spread", 0.0, 1.0)
        cells.append(with_layers(cell, "projector", backbone=0.25, projector=0.125))
        cell = planted(f"r{seed}", "simclr", seed, "control", 0.0, 0.0)
        cells.append(with_layers(cell, "projector", backbone=0.0, projector=0.0625))
    text = as_text(sweep_summary(plain(tabled(cells, 0.9))))
    lines = [line.split() for line in text.splitlines()]
    wanted = (
        ("full", "projector", "6.25"), ("features=representation", "backbone", "25"),
        ("spread", "projector", "6.25"),
    )  # fmt: skip
    for setting, layer, gain in wanted:
        line = next(line for line in lines if line[:1] == [setting])
        assert line[1:4] == ["2", layer, gain], line
    assert "linear probe of projector beyond the control's, points: 6.25 [6.25, 6.25]" in text
    effects = next(line for line in lines if line[:2] == ["simclr:", "spread"])
    assert effects[2:5] == ["coding_rate_reduction", "projector", "6.25"]
    # A table of version 0.1.0 names no layer and showed the representation.
    old = plain(tabled([{k: v for k, v in cell.items() if k != "layer"} for cell in cells], 0.9))
    for entry in (*old["rows"], *old["effects"]):
        assert entry.pop("layer") == "backbone"
    assert "linear probe of backbone beyond the control's, points: 25 [25, 25]" in as_text(
        sweep_summary(old)
    )


def test_falls_are_those_before_the_fine_tuning():
    curves = {"layers": ["layer1", "backbone", "projector"], "steps": [0, 5, 9, 20]}
    flat = [0.5] * 4
    runs = [
        {**curves, "linear": [flat, flat, [0.2, peak, 0.3, 0.9]], "knn": [flat, flat, flat]}
        for peak in (0.5, 0.4)
    ]
    of_backbone, of_projector = falls(["a", "a"], runs, [9, 9], 0.9)
    assert (of_projector["group"], of_projector["layer"]) == ("a", "projector")
    np.testing.assert_allclose(of_projector["linear_fall"]["values"], [0.2, 0.1])
    np.testing.assert_allclose(of_projector["linear_peak"]["values"], [0.5, 0.4])
    assert of_projector["linear_last"]["mean"] == pytest.approx(0.3)
    assert of_backbone["linear_fall"]["mean"] == of_projector["knn_fall"]["mean"] == 0
    assert {f"{name}_{key}" for name in ("linear", "knn") for key in ("peak", "last", "fall")} == {
        *of_projector
    } - {"group", "layer"}


def test_a_sweep_stores_the_falls_of_its_runs(run, twin, tmp_path):
    measured = tmp_path / "measured"
    overfitting(OverfittingOptions(run=(run, twin), checkpoints=3, samples=8, probed=20,
                                   out=measured))  # fmt: skip
    options = sweep([run, twin], tmp_path / "o", variants=("control",), overfitting=measured)
    found = read_json(umm_sweep(options) / "table.json")["falls"]
    told = read_json(measured / "overfitting.json")["runs"]
    for entry, layer in zip(found, ("backbone", "projector"), strict=True):
        own = [one["linear_fall"][one["layers"].index(layer)] for one in told]
        assert entry["layer"] == layer
        np.testing.assert_allclose(entry["linear_fall"]["values"], own)
        for key in entry:
            assert f"`{key}`" in PAGE or key.startswith("knn_"), key
    assert "Before fine-tuning: accuracy at its peak" in shown("umm-sweep", tmp_path / "o")
    shorter = read_json(measured / "overfitting.json")
    shorter["runs"][0]["steps"] = [0, 6, 11]
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other/overfitting.json", shorter)
    with pytest.raises(ValueError, match=r"measured .* after 0, 6, 11 updates; expected 12 among"):
        umm_sweep(replace(options, overfitting=tmp_path / "other"))
    with pytest.raises(ValueError, match="did not measure"):
        umm_sweep(replace(options, run=(trained(tmp_path / "third", seed=5),)))


def test_causal_effects_are_those_planted():
    cells = []
    for seed in range(3):
        for setting, loss, reduction in (
            ("control", 1.0 * seed, 0.1), ("spread", 1.0 * seed + 0.6, 2.1),
            ("spread_held", 1.0 * seed + 0.4, 2.1),
        ):  # fmt: skip
            cells.append(planted(f"r{seed}", "simclr", seed, setting, loss, reduction))
    spread, held, through = causal_effects(cells, 0.9)
    assert spread["pushed"] == "coding_rate_reduction"
    assert spread["effects"]["loss"]["mean"] == pytest.approx(0.6)
    assert spread["effects"]["loss"]["per_pushed"] == pytest.approx(0.3)
    assert held["effects"]["loss"]["per_pushed"] == pytest.approx(0.2)
    assert through["intervention"] == "spread_through_alignment"
    assert through["effects"]["loss"]["mean"] == pytest.approx(0.2)
    assert math.isnan(through["effects"]["loss"]["per_pushed"])  # the distance did not move


def test_an_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [
        (found := interval_summary(rng.standard_normal(3), 0.8))["low"] <= 0 <= found["high"]
        for _ in range(1000)
    ]
    assert abs(np.mean(inside) - 0.8) < 4 * math.sqrt(0.16 / 1000)
    alone = interval_summary([2.0], 0.9)
    assert (alone["mean"], math.isnan(alone["low"]), math.isnan(alone["effect"])) == (2, True, True)


def test_groups_differ_in_more_than_the_seed():
    runs = [TrainOptions(method="simclr", seed=s, out=Path(str(s))) for s in range(2)]
    runs += [TrainOptions(limit=9, device="cpu"), TrainOptions(limit=9, steps=3)]
    assert group_names(runs) == ["simclr", "simclr", "barlow_twins, steps 2400",
                                 "barlow_twins, steps 3"]  # fmt: skip
