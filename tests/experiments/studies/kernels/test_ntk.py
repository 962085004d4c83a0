"""``ntk`` end to end: the kernel of a network against the network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from shown import shown
from torch import nn

from experiments.cli import main
from experiments.options import NtkOptions
from experiments.studies.kernels.across_runs import Network, alignment_matrix, by_group
from experiments.studies.kernels.ntk import ntk
from experiments.studies.kernels.over_training import restarted_steps
from experiments.studies.kernels.pairs import predictions
from experiments.studies.training.train import train_network
from paper_figs.runs.kernels import draw_kernel
from sslsim.core.files import read_arrays, read_json
from sslsim.measures.modes.agreement import embedding_agreement, kernel_agreement
from sslsim.ntk.embedded_pairs import kernel_and_embeddings
from sslsim.runs.networks import spread_steps
from sslsim.runs.options import TrainOptions

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/ntk.md").read_text(encoding="utf-8")


def trained(folder, **options):
    given = {
        "encoder": "linear",
        "dim": 3,
        "init_scale": 0.01,
        "lr": 0.008,
        "momentum": 0.0,
        "batch": 2000,
        "steps": 450,
        "records": 60,
        "limit": 300,
        "probe": 64,
        "evaluate": False,
        "device": "cpu",
        "out": folder,
    }
    return train_network(TrainOptions(**given | options))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear encoder trained on pairs to the end: its kernel is its theory."""
    folder = tmp_path_factory.mktemp("linear")
    return trained(folder, checkpoints_kept=0, checkpoint_every=50)


@pytest.fixture(scope="module")
def convnet(tmp_path_factory):
    """A small network whose kernel moves, and which sees few updates."""
    folder = tmp_path_factory.mktemp("convnet")
    options = {"encoder": "convnet", "widths": (4,), "steps": 60, "batch": 64, "init_scale": 0.5}
    return trained(folder, method="simclr", views="crops", dim=4, lr=0.01, **options)


def test_the_kernel_of_a_linear_map_does_not_move_and_predicts(linear, tmp_path):
    folder = ntk(NtkOptions(run=(linear,), samples=120, over_training=4, out=tmp_path))
    found = read_json(folder / "ntk.json")
    assert found["step"] == 450
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
    lines = found["over_training"]
    assert [line["step"] for line in lines] == arrays["steps"].tolist()
    assert (lines[0]["step"], lines[-1]["step"], len(lines)) == (0, 450, 4)
    for line in lines:
        assert line["kernel_cka"] == pytest.approx(1.0)
        assert line["with_final_embedding"]["subspace_alignment"] == pytest.approx(
            found["subspace_alignment"]
        )
    with_embedding = [line["with_embedding"]["subspace_alignment"] for line in lines]
    assert with_embedding[0] < with_embedding[-1] - 0.2
    # Refreshing a kernel that stands still changes nothing but the closed form's approximation.
    np.testing.assert_allclose(
        found["refreshed_step_times"], found["predicted_step_times"], rtol=0.03
    )
    assert found["restarted_agreement"]["mean_relative_error"] < 0.4
    for key in [*found, *arrays, *lines[0]]:
        assert f"`{key}`" in PAGE, key
    assert f"chance {found['chance']:.2g}" in shown("ntk", folder)
    assert draw_kernel(folder).stat().st_size > 5000
    assert (folder / "ntk_training.png").stat().st_size > 5000


def test_a_step_is_predicted_from_the_last_checkpoint_before_it():
    rng = np.random.default_rng(0)
    kernel = np.diag([4.0, 2.0, 1.0, 4.0, 2.0, 1.0])
    start = 1e-3 * rng.standard_normal((6, 2))
    times, measured = np.array([0.0, 1.0, 2.0]), np.array([1.5, np.inf])
    steps, since = restarted_steps(times, [kernel] * 3, [start] * 3, measured, 60.0)
    assert since == [1, 2]
    first = restarted_steps(times[:1], [kernel], [start], np.zeros(2), 60.0)[0]
    np.testing.assert_allclose(steps, first + np.array([1.0, 2.0]), rtol=1e-5)


@pytest.mark.parametrize(("count", "kept"), [(2, 50), (3, 50), (7, 50), (12, 50), (5, 4)])
def test_checkpoints_are_spread_from_the_first_to_the_last(count, kept):
    steps = [10 * place for place in range(kept)]
    found = spread_steps(steps, count)
    assert found == sorted(set(found))
    assert {steps[0], steps[-1]} <= set(found) <= set(steps)
    assert min(count, kept) - 2 <= len(found) <= count


def test_at_initialisation_the_embedding_is_not_yet_what_is_predicted(linear, tmp_path):
    start, end = (
        read_json(
            ntk(NtkOptions((linear,), checkpoint=step, samples=60, out=tmp_path / str(step)))
            / "ntk.json"
        )
        for step in (0, 450)
    )
    assert (start["step"], end["step"]) == (0, 450)
    assert start["subspace_alignment"] < end["subspace_alignment"] - 0.2


def test_several_runs_are_compared_on_the_same_pairs(linear, convnet, tmp_path):
    options = NtkOptions((linear, convnet), samples=40, views="crops", out=tmp_path)
    with pytest.raises(ValueError, match="views crops: the network does not take inputs of shape"):
        ntk(options)  # the linear map was trained on whole images
    other = trained(tmp_path / "b", steps=30, seed=1, method="supervised", dim=None)
    folder = ntk(NtkOptions((linear, convnet, other), samples=40, views="weak", out=tmp_path))
    found, arrays = read_json(folder / "ntk_across.json"), read_arrays(folder / "ntk_across.npz")
    assert found["methods"] == ["barlow_twins", "simclr", "supervised", "untrained"]
    assert found["modes"] == 3
    assert found["chance"] == pytest.approx(3 / 79)
    assert found["chance_alike"] == pytest.approx(3 / 39)
    matrix = np.array(found["network_alignment"])
    assert matrix.shape == (8, 8)
    np.testing.assert_allclose(np.diagonal(matrix), 1.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    # A linear map has one kernel at all times, so that its prediction is that of its start.
    assert matrix[4, 7] == pytest.approx(1.0)
    for key in [*found, *arrays]:
        assert f"`{key}`" in PAGE, key
    assert "untrained" in shown("ntk", folder, run=(linear, convnet))
    assert draw_kernel(folder).name == "ntk_across.png"
    assert (folder / "ntk_across.png").stat().st_size > 5000


def test_groups_leave_out_a_network_with_itself():
    matrix = np.arange(36.0).reshape(6, 6)
    mean, low, high = by_group(matrix, ["a", "b", "b"])
    assert np.isnan(mean[0, 0])  # there is one network of the first group
    assert (low[1, 1], high[1, 1], mean[1, 1]) == (8, 13, 10.5)  # (1, 2) and (2, 1)
    assert (low[0, 1], high[0, 1]) == (1, 2)
    assert (low[1, 3], high[1, 3]) == (10, 17)  # embeddings and predictions of the same networks
    assert mean[0, 2] == 3


def test_subspaces_of_random_networks_are_aligned_by_chance():
    rng = np.random.default_rng(0)
    networks = []
    for _ in range(12):
        z, factor = rng.standard_normal((60, 5)), rng.standard_normal((60, 60))
        networks.append(Network("a", "a", z, factor @ factor.T))
    for center, points in ((True, 59), (False, 60)):
        matrix = alignment_matrix(networks, 4, center)
        embeddings = matrix[:12, :12][np.triu_indices(12, 1)]
        assert embeddings.mean() == pytest.approx(4 / points, abs=0.01)
        assert matrix[:12, 12:].mean() == pytest.approx(4 / points, abs=0.005)
        # Modes lean to functions that treat both views alike, even those of a random kernel.
        predictions = matrix[12:, 12:][np.triu_indices(12, 1)]
        assert 4 / points + 0.01 < predictions.mean() < 4 / (points // 2)


def test_blind_to_the_difference_of_views_chance_is_twice_as_large():
    rng = np.random.default_rng(0)
    views = np.repeat(rng.standard_normal((20, 1, 30, 5)), 2, axis=1).reshape(20, 60, 5)
    networks = [Network("a", "a", z, z @ z.T) for z in views]
    found = alignment_matrix(networks, 4, True)[:20, :20][np.triu_indices(20, 1)]
    assert found.mean() == pytest.approx(4 / 29, abs=0.01)


def test_agreement_of_random_embeddings_is_chance():
    rng = np.random.default_rng(0)
    found = [
        embedding_agreement(*rng.standard_normal((2, 60, 5)))["subspace_alignment"]
        for _ in range(40)
    ]
    chance = embedding_agreement(*rng.standard_normal((2, 60, 5)))["chance"]
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / np.sqrt(40))


def test_modes_never_learned_do_not_count():
    """Three inputs teach three modes; an embedding of them in more dimensions holds all three."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3))
    views = np.vstack([x, x + 0.1 * rng.standard_normal((30, 3))])
    with pytest.warns(UserWarning, match="only 3 modes"):
        found, _, predicted = predictions(views @ views.T, views @ rng.standard_normal((3, 8)))
    assert predicted.shape == (60, 8)
    assert found["subspace_alignment"] == pytest.approx(1.0)
    assert found["chance"] == pytest.approx(3 / 60)
    np.testing.assert_allclose(found["mode_alignment"], [1, 1, 1, 0, 0, 0, 0, 0], atol=1e-12)
    nothing = embedding_agreement(np.zeros((60, 2)), views)
    assert nothing["subspace_alignment"] == nothing["chance"] == 0.0


def test_the_centred_alignment_of_kernels_is_blind_to_constants():
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((12, 12))
    kernel = factor @ factor.T
    shift = 20 * rng.standard_normal((12, 1))
    found = kernel_agreement(3 * kernel + 100 + shift + shift.T, kernel)
    assert found["kernel_cka"] == pytest.approx(1.0)
    assert found["kernel_alignment"] < 0.9
    assert kernel_agreement(np.ones((4, 4)), np.eye(4))["kernel_cka"] == 0.0


def test_a_module_of_ones_own_is_taken_with_its_weights(tmp_path, monkeypatch, capsys):
    source = "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), {})\n"
    (tmp_path / "mine.py").write_text(source.format("nn.Linear(64, 3, bias=False).double()"))
    (tmp_path / "tall.py").write_text(source.format("nn.Linear(65, 3)"))
    monkeypatch.chdir(tmp_path)
    weights = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    torch.save({"1.weight": weights.double()}, "w.pt")
    command = ["ntk", "--samples", "20", "--out", "o", "--module"]
    assert main([*command, "mine:build", "--weights", "w.pt"]) == 0
    found, arrays = read_json("o/ntk.json"), read_arrays("o/ntk.npz")
    assert (found["module"], found["n_pairs"]) == ("mine:build", 20)
    # The kernel of a linear map is known without it, its embedding is not.
    inputs = np.linalg.lstsq(weights.double().numpy(), arrays["embeddings"].T, rcond=None)[0]
    gram = inputs.T @ inputs  # of the inputs' part in the row space
    assert np.linalg.eigvalsh(arrays["kernel"] - gram).min() > -1e-9 * np.trace(gram)
    for key in found:
        assert f"`{key}`" in PAGE, key
    assert (tmp_path / "o/ntk.png").stat().st_size > 3000
    assert main([*command, "tall:build"]) == 2
    told = capsys.readouterr().err
    assert "does not take inputs of shape (40, 1, 8, 8) and type float32" in told
    assert told.count("\n") == 1


def test_combined_outputs_estimate_the_trace():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 400, bias=False))
    x = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    exact, few, one = (
        kernel_and_embeddings(network, x[:3], x[3:], outputs=count)[0] for count in (None, 8, 400)
    )
    np.testing.assert_allclose(few, exact, rtol=1e-5)  # a linear map: the same for any direction
    np.testing.assert_array_equal(one, exact)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Identity(), r"gives \(4, 1, 2, 2\) for inputs of shape \(4, 1, 2, 2\)"),
        (nn.Conv2d(3, 2, 1), "does not take inputs of shape"),
    ],
)
def test_networks_that_give_no_embedding_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        kernel_and_embeddings(network, torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": 7}, "checkpoint is 7; .* holds 0, 50, 100"),
        ({"samples": 1}, "samples is 1"),
        ({"samples": 0}, "samples is 0"),
        ({"memory": 0}, "memory 0"),
        ({"outputs": 0}, "outputs is 0"),
        ({"over_training": 1}, "over-training is 1; expected at least 2"),
        ({"over_training": 3, "checkpoint": 0}, "both checkpoint and over-training"),
        ({"module": "a:b"}, "both run and module are given"),
        ({"run": ()}, "neither run nor module is given"),
        ({"data": "cifar10"}, "data is cifar10, which means nothing for a run"),
        ({"modes": 2}, "modes is 2, which means nothing for a run"),
        ({"run": (), "module": "a:b", "checkpoint": 3}, "checkpoint is 3, .* for a module"),
        ({"run": (Path("no"),)}, "no/config.json cannot be read"),
    ],
)
def test_bad_options_are_refused_in_words(linear, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ntk(NtkOptions(**{"run": (linear,), "out": tmp_path} | options))
    assert "\n" not in str(caught.value)


def test_runs_on_other_images_and_too_many_modes_are_refused(linear, convnet, tmp_path):
    other = trained(tmp_path / "a", steps=2, limit=200)
    with pytest.raises(ValueError, match=r"trained with limit 200, .* with 300; expected runs on"):
        ntk(NtkOptions((linear, other), out=tmp_path))
    with pytest.raises(ValueError, match="expected different folders"):
        ntk(NtkOptions((linear, linear), samples=20, out=tmp_path))
    with pytest.raises(ValueError, match="modes is 4; expected from 1 to 3"):
        ntk(NtkOptions((linear, convnet), modes=4, views="weak", samples=20, out=tmp_path))
    with pytest.raises(ValueError, match="which means nothing for several runs"):
        ntk(NtkOptions((linear, convnet), over_training=4, out=tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(linear, tmp_path):
    with pytest.raises(ValueError, match="device is 'cuda', which is not there"):
        ntk(NtkOptions(run=(linear,), device="cuda", out=tmp_path))
