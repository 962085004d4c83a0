"""``train`` and ``compare --run`` end to end, on a handful of digits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.compare_run import agreement, compare_run
from experiments.options import CompareOptions
from experiments.runs import read_arrays, read_json
from experiments.train import split_data, train_network
from experiments.train_options import TrainOptions, training_options
from paper_figs.embeddings import animate, principal_points
from paper_figs.run import draw_run, draw_run_comparison
from sslsim.training_options import TrainingOptions

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


def test_a_linear_encoder_steps_when_its_theory_says(linear, capsys):
    result = read_json(linear / "training.json")
    assert result["detected_steps"] == 3
    compare_run(CompareOptions(run=linear))
    found = read_json(linear / "comparison.json")
    assert found["theory"] == "exact initial map"
    # Measured on held-out pairs at a finite learning rate.
    assert found["mean_relative_error"] < 0.15
    assert found["spearman"] == pytest.approx(1.0)
    assert "off by" in capsys.readouterr().out
    for text in ("comparison.json", "training.json", "records.jsonl"):
        content = (linear / text).read_text()
        assert "NaN" not in content
        assert "Infinity" not in content


def test_pictures_are_drawn(linear, monkeypatch):
    monkeypatch.setattr("paper_figs.embeddings._FRAMES", 4)
    compare_run(CompareOptions(run=linear))
    for path in (draw_run(linear), draw_run_comparison(linear), animate(linear)):
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
    page = Path(__file__).parents[2] / page
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


@pytest.mark.parametrize("method", ["simclr", "vicreg", "byol", "supervised"])
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
        ({"init_scale": 0.0}, "factor is 0.0"),
        ({"lr": -1.0}, "learning_rate is -1.0"),
        ({"device": "nonsense"}, "device is 'nonsense'"),
        ({"method": "supervised", "dim": 4}, "dim is 4; expected the 10 classes"),
        ({"method": "mae"}, "mae"),
        ({"data": "nowhere"}, "unknown data set"),
        ({"temperature": 0.5}, "temperature is 0.5"),
    ],
)
def test_bad_options_are_refused_in_words(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        compare_run(CompareOptions(run=tmp_path))
    (tmp_path / "config.json").write_text('{"command": "predict"}')
    with pytest.raises(ValueError, match="holds a run of 'predict'"):
        compare_run(CompareOptions(run=tmp_path))


def test_agreement_fits_one_factor():
    found = agreement(np.array([1.0, 2.0, 4.0, np.inf]), np.array([3.0, 6.0, 12.0, 1.0]))
    assert found["fitted_time_scale"] == pytest.approx(3.0)
    assert found["mean_scaled_relative_error"] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(found["relative_error"][:3], 2 / 3)
    assert agreement(np.array([np.inf]), np.array([1.0]))["fitted_time_scale"] is None


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
