"""``ntk`` end to end: the kernel of a run's network against the network."""

from pathlib import Path

import numpy as np
import pytest

from experiments.ntk import embedding_agreement, ntk
from experiments.options import NtkOptions
from experiments.runs import read_arrays, read_json
from experiments.train import train_network
from experiments.train_options import TrainOptions
from paper_figs.ntk import draw


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear encoder trained on pairs to the end: its kernel is its theory."""
    options = TrainOptions(
        encoder="linear",
        dim=3,
        init_scale=0.01,
        lr=0.004,
        momentum=0.0,
        batch=2000,
        steps=900,
        records=60,
        limit=300,
        probe=64,
        evaluate=False,
        device="cpu",
        out=tmp_path_factory.mktemp("linear"),
    )
    return train_network(options)


def test_the_kernel_of_a_linear_map_does_not_move_and_predicts(linear, tmp_path, capsys):
    folder = ntk(NtkOptions(run=linear, samples=120, out=tmp_path))
    found = read_json(folder / "ntk.json")
    assert found["step"] == 900
    assert found["kernel_alignment"] == pytest.approx(1.0)
    assert found["chance"] == pytest.approx(3 / 240)
    # Trained on fresh views of other images than the kernel is of.
    assert found["subspace_alignment"] > 0.6
    assert found["mean_relative_error"] < 0.4
    assert found["eigenvalues"] == found["initial_eigenvalues"]
    arrays = read_arrays(folder / "ntk.npz")
    assert arrays["kernel"].shape == (240, 240)
    # The kernel of a linear map is the inner product of what it is fed with.
    assert np.linalg.matrix_rank(arrays["kernel"], tol=1e-4) <= 64
    page = (Path(__file__).parents[2] / "experiments/docs/ntk.md").read_text(encoding="utf-8")
    for key in [*found, *arrays]:
        assert f"`{key}`" in page, key
    assert "chance" in capsys.readouterr().out
    assert draw(folder).stat().st_size > 5000


def test_at_initialisation_the_embedding_is_not_yet_what_is_predicted(linear, tmp_path):
    start, end = (
        read_json(ntk(NtkOptions(linear, step, 60, out=tmp_path / str(step))) / "ntk.json")
        for step in (0, 900)
    )
    assert (start["step"], end["step"]) == (0, 900)
    assert start["subspace_alignment"] < end["subspace_alignment"] - 0.2


def test_agreement_of_random_embeddings_is_chance():
    rng = np.random.default_rng(0)
    found = [
        embedding_agreement(*rng.standard_normal((2, 60, 5)))["subspace_alignment"]
        for _ in range(40)
    ]
    chance = embedding_agreement(*rng.standard_normal((2, 60, 5)))["chance"]
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / np.sqrt(40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": 7}, "checkpoint is 7; .* holds 0, 500, 900"),
        ({"samples": 1}, "samples is 1"),
        ({"memory": 0}, "memory 0"),
    ],
)
def test_bad_options_are_refused_in_words(linear, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ntk(NtkOptions(run=linear, out=tmp_path, **options))
