"""``train`` and ``compare --run`` end to end, on a handful of digits."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shown import shown

import sslsim.training.loop
from experiments.options import CompareOptions
from experiments.studies.training.compare import compare_run
from experiments.studies.training.train import train_network
from paper_figs.runs.embeddings import animate, principal_points
from paper_figs.runs.training import draw_run, draw_run_comparison
from sslsim.core.checkpoints import load_newest_checkpoint
from sslsim.core.files import read_arrays, read_json
from sslsim.data.pixels import pixel_statistics
from sslsim.measures.modes.agreement import step_time_agreement
from sslsim.measures.probes import knn_accuracy
from sslsim.methods.learner import PairLearner
from sslsim.runs.options import TrainOptions, for_images, training_options
from sslsim.runs.setup import initial_learner, split_data
from sslsim.training.batches import batch_order
from sslsim.training.options import TrainingOptions

LINEAR = {
    "encoder": "linear",
    "dim": 3,
    "init_scale": 0.01,
    "lr": 0.004,
    "momentum": 0.0,
    "batch": 2000,
    "fixed_views": True,
    "steps": 900,
    "records": 60,
    "evaluate": False,
}


def run(out, **options):
    settings = {"limit": 120, "steps": 20, "records": 8, "probe": 32, "device": "cpu", **options}
    return train_network(TrainOptions(**settings, out=Path(out)))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return run(tmp_path_factory.mktemp("linear"), **{**LINEAR, "limit": 300, "probe": 300})


@pytest.mark.slow
def test_a_linear_encoder_steps_when_its_theory_says(linear):
    result = read_json(linear / "training.json")
    assert result["detected_steps"] == 3
    compare_run(CompareOptions(run=linear))
    found = read_json(linear / "comparison.json")
    assert found["theory"] == "exact initial map"
    # Measured on held-out pairs at a finite learning rate.
    assert found["mean_relative_error"] < 0.15
    assert found["spearman"] == pytest.approx(1.0)
    off = f"as they are {100 * found['mean_relative_error']:.3g} %"
    assert off in shown("compare", linear, run=linear)
    for text in ("comparison.json", "training.json", "records.jsonl"):
        content = (linear / text).read_text()
        assert "NaN" not in content
        assert "Infinity" not in content


@pytest.mark.slow
def test_pictures_are_drawn(linear):
    compare_run(CompareOptions(run=linear))
    for path in (draw_run(linear), draw_run_comparison(linear), animate(linear, count=4)):
        assert path.stat().st_size > 5000
    points = principal_points(read_arrays(linear / "records.npz"))
    # A point, then a line, a plane, a volume.
    spread = points.std(axis=1)
    assert spread[0].max() < 0.05
    assert spread[-1].min() > 0.2


def test_records_hold_what_the_page_says(linear):
    lines = [json.loads(line) for line in (linear / "records.jsonl").read_text().splitlines()]
    records = read_arrays(linear / "records.npz")
    assert [line["step"] for line in lines] == records["steps"].tolist()
    page = Path("experiments/docs/train.md")
    page = Path(__file__).parents[4] / page
    documented = page.read_text(encoding="utf-8")
    for key in [*lines[0], *read_json(linear / "training.json"), *records]:
        assert f"`{key}`" in documented, key
    assert lines[0]["loss"] is None
    assert lines[-1]["probe_loss"] < lines[0]["probe_loss"]


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    folder = run(tmp_path, encoder="mlp", widths=(16,), evaluate=False)
    first = (folder / "records.npz").read_bytes()
    run(tmp_path, encoder="mlp", widths=(16,), evaluate=False)
    assert (folder / "records.npz").read_bytes() == first
    with pytest.raises(ValueError, match=r"holds a run with lr 0.003, now it is 0.1"):
        run(tmp_path, encoder="mlp", widths=(16,), evaluate=False, lr=0.1)


def test_frozen_features_are_probed_on_held_out_images(tmp_path):
    folder = run(tmp_path, encoder="linear", limit=300, steps=10)
    probes = read_json(folder / "training.json")["probes"]
    assert set(probes) == {
        f"{kind}_{layer}" for kind in ("knn", "linear") for layer in ("backbone", "projector")
    }
    found = probes["linear_backbone"]
    assert (found["train_size"], found["test_size"], found["classes"]) == (300, 360, 10)
    assert found["accuracy"] > 0.3
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    read = [line["knn"] for line in lines if line["knn"] is not None]
    assert len(read) == 2  # every tenth of eight records, and the last
    assert all(0.3 < accuracy < 1 for accuracy in read)


@pytest.mark.parametrize("method", ["simclr", "vicreg", "byol", "lejepa", "supervised"])
def test_methods_run_on_few_images_without_a_test_split(tmp_path, method):
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 11), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(20) % 2)
    folder = run(
        tmp_path / "run", data=str(tmp_path / "few.npz"), limit=None, method=method, steps=4
    )
    result = read_json(folder / "training.json")
    assert (result["train_images"], result["held_out_images"]) == (18, 2)
    assert result["dim"] == (2 if method == "supervised" else 8)


def test_one_class_and_no_labels_are_no_obstacle(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "plain.npz", images=images)
    folder = run(tmp_path / "a", data=str(tmp_path / "plain.npz"), limit=None, steps=3)
    assert read_json(folder / "training.json")["probes"] == {}
    np.savez(tmp_path / "one.npz", images=images, labels=np.zeros(8, int))
    folder = run(tmp_path / "b", data=str(tmp_path / "one.npz"), limit=None, steps=3)
    assert read_json(folder / "training.json")["probes"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 3}, "gives 3 image"),
        ({"steps": 0}, "steps is 0"),
        ({"init_scale": 0.0}, "init_scale is 0.0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"device": "nonsense"}, "device is 'nonsense'"),
        ({"method": "supervised", "dim": 4}, "dim is 4; expected the 10 classes"),
        ({"method": "mae"}, "mae"),
        ({"data": "nowhere"}, "unknown data set"),
        ({"temperature": 0.5}, "temperature is 0.5"),
        ({"prototypes": 5}, "prototypes is 5"),
        ({"layers": ("layer9",)}, "layers holds 'layer9'; expected some of backbone"),
    ],
)
def test_bad_options_are_refused_in_words(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        compare_run(CompareOptions(run=tmp_path))
    (tmp_path / "config.json").write_text('{"command": "predict", "options": {}}')
    with pytest.raises(ValueError, match="holds a run of 'predict'"):
        compare_run(CompareOptions(run=tmp_path))


def test_agreement_fits_one_factor():
    found = step_time_agreement(np.array([1.0, 2.0, 4.0, np.inf]), np.array([3.0, 6.0, 12.0, 1.0]))
    assert found["fitted_time_scale"] == pytest.approx(3.0)
    assert found["mean_scaled_relative_error"] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(found["relative_error"][:3], 2 / 3)
    assert step_time_agreement(np.array([np.inf]), np.array([1.0]))["fitted_time_scale"] is None


def test_options_of_the_command_are_those_of_the_loop():
    assert training_options(TrainOptions()) == TrainingOptions()


def test_held_out_images_are_not_trained_on(tmp_path):
    images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "plain.npz", images=images)
    data, held_out = split_data(TrainOptions(data=str(tmp_path / "plain.npz")))
    seen, kept = (set(part.images[:, 0, 0, 0].tolist()) for part in (data, held_out))
    assert len(seen) == 36
    assert not seen & kept
    assert torch.equal(data.images.sort(dim=0).values, data.images)


def recorded(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_other_images_are_not_gone_on_with(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "some.npz", images=images)
    options = {"data": str(tmp_path / "some.npz"), "limit": None, "evaluate": False}
    run(tmp_path / "run", **options)
    np.savez(tmp_path / "some.npz", images=255 - images)
    with pytest.raises(ValueError, match="holds a run on other images"):
        run(tmp_path / "run", **options)
    run(tmp_path / "digits", evaluate=False)
    with pytest.raises(ValueError, match="holds a run with split train, now it is test"):
        run(tmp_path / "digits", evaluate=False, split="test")


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["linear", "mlp"])
def test_networks_of_one_size_take_crops(tmp_path, encoder):
    folder = run(tmp_path, encoder=encoder, views="crops", limit=200)
    result = read_json(folder / "training.json")
    assert result["probes"]["knn_backbone"]["test_size"] == 360
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "W.0. is not small")  # of the linear network's start
        compare_run(CompareOptions(run=folder))


def test_probes_that_the_images_do_not_allow_are_left_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "each.npz", images=images, labels=np.arange(20))
    with pytest.warns(UserWarning, match="is left out"):
        folder = run(tmp_path / "run", data=str(tmp_path / "each.npz"), limit=None)
    result = read_json(folder / "training.json")
    assert "linear_backbone" not in result["probes"]
    assert result["detected_steps"] >= 0


def test_held_out_images_are_of_all_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "periodic.npz", images=images, labels=np.arange(200) % 10)
    data, held_out = split_data(TrainOptions(data=str(tmp_path / "periodic.npz")))
    assert torch.bincount(held_out.labels).tolist() == [2] * 10
    assert torch.bincount(data.labels).tolist() == [18] * 10


def test_the_trained_network_is_probed_as_it_is_fed(tmp_path):
    """Accuracies are those of features computed here, of the network that the checkpoint holds."""
    options = TrainOptions(
        encoder="mlp", widths=(64,), limit=300, steps=60, records=8, probe=32, device="cpu",
        out=tmp_path,
    )  # fmt: skip
    folder = train_network(options)
    data, held_out = split_data(options)
    learner = initial_learner(options, data)
    pixels = pixel_statistics(data.images)

    def accuracies():
        parts = [
            learner.encoder.backbone(pixels.standardise(part.images.float() / 255)).detach()
            for part in (data, held_out)
        ]
        return knn_accuracy(parts[0], data.labels, parts[1], held_out.labels).accuracy

    untrained = accuracies()
    learner.load_state_dict(load_newest_checkpoint(folder / "checkpoints", "cpu")["learner"])
    found = read_json(folder / "training.json")["probes"]["knn_backbone"]["accuracy"]
    assert found == accuracies() != untrained
    raw = knn_accuracy(
        *(
            value
            for part in (data, held_out)
            for value in (learner.encoder.backbone(part.images / 255).detach(), part.labels)
        )
    )
    assert found != raw.accuracy


def test_recorded_times_count_momentum_and_schedule(tmp_path):
    folder = run(tmp_path, encoder="linear", evaluate=False, lr=0.01, schedule="cosine")
    for line in recorded(folder):
        rates = [0.01 * (1 + np.cos(np.pi * step / 20)) / 2 for step in range(line["step"])]
        assert line["time"] == pytest.approx(sum(rates) / 0.1)


def test_teachers_follow_more_slowly_towards_the_end(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(PairLearner, "after_step", lambda self, done: seen.append(done))
    run(tmp_path, encoder="linear", evaluate=False, steps=4)
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_prediction_of_a_deep_network_starts_from_its_spectrum(tmp_path):
    folder = run(tmp_path, encoder="mlp", widths=(16,), limit=300, evaluate=False, dim=3)
    compare_run(CompareOptions(run=folder))
    found = read_json(folder / "comparison.json")
    assert found["theory"] == "barlow_twins near the origin"
    start = np.abs(read_arrays(folder / "records.npz")["cross_spectrum"][0].astype(float))
    gamma = np.array(found["eigenvalues"])
    expected = np.log(1 / start - 1) / (8 * gamma)
    np.testing.assert_allclose(found["predicted_step_times"], expected, rtol=1e-6)


@pytest.mark.slow
def test_methods_without_a_theory_are_compared_with_barlow_twins(tmp_path):
    largest = {}
    for method in ("byol", "vicregl"):
        options = {"method": method, "limit": 64, "steps": 6, "evaluate": False, "views": "weak"}
        folder = run(tmp_path / method, **options)
        compare_run(CompareOptions(run=folder))
        found = read_json(folder / "comparison.json")
        assert found["theory"] == f"barlow_twins near the origin (there is none of {method})"
        largest[method] = found["eigenvalues"][0]
    # VICRegL is blind to the mean; uncentred, the mean image is the largest mode by far.
    assert largest["byol"] > 3 * largest["vicregl"]


@pytest.mark.slow
def test_vicreg_is_predicted_only_where_its_theory_holds(tmp_path):
    folder = run(tmp_path / "a", method="vicreg", limit=64, steps=6, evaluate=False)
    with pytest.warns(UserWarning, match=r"expected below 0\.0001"):
        compare_run(CompareOptions(run=folder))
    assert read_json(folder / "comparison.json")["predicted_step_times"][0] is None
    folder = run(tmp_path / "b", method="vicreg", limit=64, steps=6, evaluate=False, init_scale=0.1)
    compare_run(CompareOptions(run=folder))
    found = read_json(folder / "comparison.json")
    assert found["theory"] == "vicreg near the origin"
    assert found["predicted_step_times"][0] > 0


def test_fewer_pairs_can_be_asked_for(linear):
    for pairs in (50, 20):
        compare_run(CompareOptions(run=linear, pairs=pairs))
        assert read_json(linear / "comparison.json")["n_pairs"] == pairs
    with pytest.raises(ValueError, match="pairs is 1"):
        compare_run(CompareOptions(run=linear, pairs=1))
    for other in ({"width": (8,)}, {"seed": 3}, {"out": Path("elsewhere")}):
        with pytest.raises(ValueError, match=f"{next(iter(other))} is .* means nothing for a run"):
            compare_run(CompareOptions(run=linear, **other))


def test_results_whose_checkpoints_are_gone_are_kept(tmp_path):
    folder = run(tmp_path, evaluate=False)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for lr in (0.003, 1e20, -1.0):
        with pytest.raises(ValueError, match=r"checkpoints are gone|lr is -1"):
            run(tmp_path, evaluate=False, lr=lr)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_run_that_diverges_before_its_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="finite"):
        run(tmp_path / "run", evaluate=False, lr=1e20)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_run_replaces_what_was_found_in_the_shorter_one(tmp_path):
    folder = run(tmp_path, evaluate=False)
    (folder / "comparison.json").write_text("{}")
    config = read_json(folder / "config.json")
    assert read_json(run(tmp_path, evaluate=False, steps=24) / "training.json")["steps"] == 24
    assert read_json(folder / "config.json")["options"] == {**config["options"], "steps": 24}
    assert not (folder / "comparison.json").exists()
    with pytest.raises(ValueError, match="a run of 24 steps, now it is 20; expected at least 24"):
        run(tmp_path, evaluate=False)


def test_a_longer_run_that_was_interrupted_replaces_the_comparison_too(tmp_path, monkeypatch):
    folder = run(tmp_path, evaluate=False)
    (folder / "comparison.json").write_text("{}")
    save = sslsim.training.loop.save_checkpoint

    def save_and_stop(*arguments, **named):
        save(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sslsim.training.loop, "save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, evaluate=False, steps=24)
    assert read_json(folder / "config.json")["options"]["steps"] == 24
    run(tmp_path, evaluate=False, steps=24)
    assert not (folder / "comparison.json").exists()
    (folder / "comparison.json").write_text("{}")
    run(tmp_path, evaluate=False, steps=24)
    assert (folder / "comparison.json").exists()


def test_fitted_factor_is_the_geometric_mean_of_the_ratios():
    found = step_time_agreement(np.array([1.0, 1.0]), np.array([1.0, 4.0]))
    assert found["fitted_time_scale"] == pytest.approx(2.0)


def test_principal_directions_are_those_of_three_open_dimensions():
    """Three dimensions open one after another; a fourth comes to outweigh the third."""
    rng = np.random.default_rng(0)
    z = np.linalg.qr(rng.standard_normal((50, 4)))[0] * np.sqrt(50)
    z = z - z.mean(axis=0)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    heights = np.array([[1, 0, 0, 0], [1, 0.9, 0.8, 0], [1, 0.9, 0.8, 0.85]])
    scores, axes, spectra = [], [], []
    for height in heights:
        left, scale, right = np.linalg.svd(z * height @ turn.T, full_matrices=False)
        scores.append(left * scale)
        axes.append(right.T)
        spectra.append(scale**2 / 50)
    records = {"scores": np.array(scores), "axes": np.array(axes)}
    points = principal_points({**records, "covariance_spectrum": np.array(spectra)})
    open_ = points[1]
    for height, found in zip(heights, points, strict=True):
        expected = (z * height @ turn.T) @ np.linalg.lstsq(z * heights[1] @ turn.T, open_)[0]
        np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_allclose(points[2].std(axis=0), points[1].std(axis=0), rtol=1e-6)


def photo(path, size, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 10)).save(path)


def test_the_test_split_of_a_folder_is_used_or_its_fault_is_told(tmp_path):
    for k in range(8):
        photo(tmp_path / "train" / "ab"[k % 2] / f"{k}.png", (23, 17), 20 * k)
        photo(tmp_path / "test" / "ab"[k % 2] / f"{k}.png", (23, 17), 20 * k)
    data, held_out = split_data(TrainOptions(data=str(tmp_path)))
    assert data.images.shape == held_out.images.shape == (8, 3, 17, 23)
    (tmp_path / "test" / "a" / "0.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"0\.png"):
        split_data(TrainOptions(data=str(tmp_path)))
    for k in range(8):
        photo(tmp_path / "test" / "ab"[k % 2] / f"{k}.png", (12, 17))
    with pytest.raises(ValueError, match="expected one shape"):
        split_data(TrainOptions(data=str(tmp_path)))
    data, held_out = split_data(TrainOptions(data=str(tmp_path), size=16))
    assert data.images.shape == held_out.images.shape == (8, 3, 16, 16)


@pytest.mark.slow
def test_any_layer_can_be_probed(tmp_path):
    folder = run(tmp_path, limit=300, layers=("layer1", "backbone"))
    probes = read_json(folder / "training.json")["probes"]
    assert {"knn_layer1", "linear_layer1", "knn_backbone", "linear_backbone"} == set(probes)


def test_the_exact_theory_is_of_the_theory_form_alone(tmp_path):
    folder = run(tmp_path, encoder="linear", barlow_form="published", evaluate=False, limit=200)
    compare_run(CompareOptions(run=folder))
    found = read_json(folder / "comparison.json")
    assert found["spectrum"] == "covariance_spectrum"
    assert "none of the published form" in found["theory"]


def test_labels_that_would_make_a_giant_classifier_are_refused(tmp_path):
    images = np.zeros((12, 8, 8), dtype=np.uint8)
    labels = np.arange(12) % 2 * 10**12
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    options = TrainOptions(method="supervised", data=str(tmp_path / "x.npz"), out=tmp_path / "out")
    with pytest.raises(ValueError, match="labels go up to 1000000000000 for 10 images; expected"):
        train_network(options)
    assert not (tmp_path / "out").exists()


def photo_folder(folder, count=40):
    """Photographs of noise, of two classes."""
    draw = np.random.default_rng(0)
    for k in range(count):
        path = folder / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.mark.filterwarnings("ignore:.* is left out")
def test_a_streamed_folder_gives_the_numbers_of_one_in_memory(tmp_path, capsys):
    photos = photo_folder(tmp_path / "photos")
    options = {"data": str(photos), "batch": 16, "steps": 6, "records": 4, "limit": None}
    results = {}
    for stream in ("never", "always"):
        out = run(tmp_path / stream, **options, stream=stream, cache=tmp_path / "cache")
        assert ("(3 x 12 x 12, streamed)" in capsys.readouterr().out) == (stream == "always")
        results[stream] = (out / "records.jsonl").read_text(), read_json(out / "training.json")
        del results[stream][1]["seconds"]
    assert results["never"] == results["always"]
    # Where its images are read from is no other run.
    run(tmp_path / "never", **{**options, "steps": 7}, stream="always", cache=tmp_path / "cache")


def test_epochs_become_updates_before_anything_is_stored(tmp_path, capsys):
    options = {"limit": 100, "batch": 40, "steps": 2400, "lr": 0.001, "lr_reference_batch": 16}
    for epochs, steps in ((2, 4), (3, 6)):  # the second time, the run goes on
        out = run(tmp_path / "run", **options, epochs=epochs, records=3, evaluate=False)
        told = capsys.readouterr().out
        assert f"{epochs} epochs are {steps} updates" in told
        assert "learning rate 0.0025, which is 0.001 for 16 images in an update" in told
        stored = read_json(out / "config.json")["options"]
        assert (stored["steps"], stored["lr"]) == (steps, 0.0025)
        assert (stored["epochs"], stored["lr_reference_batch"]) == (None, None)
        assert read_json(out / "training.json")["steps"] == steps


@pytest.mark.parametrize(
    ("options", "updates"),
    [
        ({"epochs": 1, "batch": 40}, 2),
        ({"epochs": 3, "batch": 40, "accumulate": 4}, 2),  # six batches
        ({"epochs": 3, "batch": 1000}, 3),
        ({"epochs": 3, "batch": 2}, 150),
        ({"steps": 7}, 7),
    ],
)
def test_an_epoch_is_what_the_order_of_the_images_makes_of_it(options, updates):
    resolved = for_images(TrainOptions(**options), 100)
    assert resolved.steps == updates
    if "epochs" in options:
        size = min(options["batch"], 100)
        order = batch_order(100, size, seed=0)
        whole = [order(number) for number in range(options["epochs"] * (100 // size))]
        uses = torch.cat(whole).bincount(minlength=100)
        assert uses.max() == options["epochs"]  # no image is used more often
        assert -(-len(whole) // options.get("accumulate", 1)) == updates


def test_the_learning_rate_of_a_reference_batch_is_for_images_in_an_update():
    options = TrainOptions(lr=0.1, batch=64, accumulate=2, lr_reference_batch=256)
    assert for_images(options, 1000).lr == 0.05
    assert for_images(options, 32).lr == 0.025  # a batch has no more images than there are
    assert for_images(replace(options, lr_reference_batch=None), 32).lr == 0.1


@pytest.mark.parametrize("name", ["epochs", "lr_reference_batch"])
def test_epochs_and_reference_batches_start_at_one(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        run(tmp_path / "run", **{name: 0})
    assert not (tmp_path / "run").exists()
