"""``compare`` end to end: prediction and training meet."""

from pathlib import Path

import numpy as np
import pytest
from shown import shown

from experiments.options import CompareOptions, PredictOptions
from experiments.studies.linear import compare as module
from experiments.studies.linear.compare import compare
from experiments.studies.linear.pairs import gather_pairs
from experiments.studies.linear.predict import predict
from sslsim.core.files import read_arrays, read_json
from theory import predict_steps_from
from theory.linear.gradient_descent import descent_singular_values

KEYS = {
    "eigenvalues",
    "predicted_step_times",
    "measured_step_times",
    "relative_error",
    "mean_relative_error",
    "naive_mean_relative_error",
}


def run(out, **options):
    counts = {name: options.pop(name) for name in ("records", "curve_points") if name in options}
    given = {"pairs": 200, "dim": 4, **options, "out": Path(out)}
    folder = compare(CompareOptions(**given), **counts)
    return read_json(folder / "comparison.json")


# Without centring the mean is a mode of its own, which bounds the rate and takes the time.
@pytest.mark.slow
@pytest.mark.parametrize(("center", "dim"), [(True, 6), (False, 4)])
def test_training_steps_when_predicted(tmp_path, center, dim):
    result = run(tmp_path, pairs=500, dim=dim, init_scale=1e-6, center=center)
    assert result.keys() >= KEYS
    assert result["mean_relative_error"] <= 0.005
    assert result["naive_mean_relative_error"] >= 5 * result["mean_relative_error"]
    assert None not in result["measured_step_times"]
    # The flow is early by about the error it is expected to have.
    np.testing.assert_allclose(
        result["flow_relative_error"], result["expected_flow_error"], rtol=0.3, atol=2e-3
    )
    text = (tmp_path / "comparison.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_it_predicts_what_predict_predicts(tmp_path):
    result = run(tmp_path / "compare", seed=3)
    folder = predict(PredictOptions(pairs=200, dim=4, seed=3, out=tmp_path / "predict"))
    predicted = read_json(folder / "prediction.json")
    assert result["eigenvalues"] == predicted["eigenvalues"]
    assert result["predicted_step_iterations"] == predicted["step_iterations"]
    assert result["step_time_low"] == predicted["step_time_low"]


def test_the_same_seed_gives_the_same_bits(tmp_path):
    assert run(tmp_path / "a", dim=2) == run(tmp_path / "b", dim=2)
    first, again = (read_arrays(tmp_path / name / "comparison.npz") for name in "ab")
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_steps_beyond_the_training_are_not_reached(tmp_path):
    with pytest.warns(UserWarning, match="raise --max-iterations"):
        result = run(tmp_path, max_iterations=60)
    assert result["iterations"] == 60
    assert result["measured_step_times"][-1] is None
    assert result["relative_error"][-1] is None
    assert result["mean_relative_error"] is not None
    assert result["warnings"]


def test_modes_never_learned_are_left_out(tmp_path):
    x = np.diag([2.0, 1.0, 1.0])
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x * [1, 1, -1])
    options = {"data": str(tmp_path / "pairs.npz"), "pairs": None, "center": False}
    with pytest.warns(UserWarning, match="never learned"):
        result = run(tmp_path, dim=3, **options)
    assert [error is None for error in result["relative_error"]] == [False, False, True]
    assert result["mean_relative_error"] < 0.01


def test_nothing_to_learn_is_no_error(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.eye(3), x_prime=-np.eye(3))
    with pytest.warns(UserWarning, match="never learned"):
        result = run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, dim=2, center=False)
    assert result["mean_relative_error"] is None
    assert "no predicted step was seen" in shown("compare", tmp_path)


def test_long_training_is_recorded_in_two_parts(tmp_path):
    whole = run(tmp_path, dim=3)
    count = len(read_arrays(tmp_path / "comparison.npz")["times"])
    parts = run(tmp_path, dim=3, records=40)
    assert 40 < len(read_arrays(tmp_path / "comparison.npz")["times"]) < count
    np.testing.assert_allclose(
        parts["measured_step_times"], whole["measured_step_times"], rtol=1e-4
    )


def test_curves_are_thinned_and_agree(tmp_path):
    run(tmp_path, init_scale=1e-6, curve_points=40)
    curves = read_arrays(tmp_path / "comparison.npz")
    assert 20 < len(curves["times"]) <= 40
    assert curves["times"][0] == 0
    np.testing.assert_allclose(curves["measured_loss"], curves["predicted_loss"], atol=0.05)


def test_measured_times_go_to_the_modes_in_the_order_they_step(tmp_path):
    """A mode that starts far larger than the one before it steps first."""
    x = np.sqrt(3) * np.diag([1.0, 0.95, 0.2])
    w0 = np.array([[1e-9, 0.0, 0.0], [0.0, 1e-2, 0.0]])
    found = predict_steps_from(x, x, w0)
    times = np.arange(3000)
    curves = np.sort(
        found.eigenvalues
        * descent_singular_values(
            times, found.eigenvalues, found.initial_singular_values, found.learning_rate
        )
        ** 2
    )[:, ::-1]
    assert found.step_times[0] > 2 * found.step_times[1]
    result = module._judged(found, times, curves)
    np.testing.assert_allclose(result["relative_error"], 0, atol=1e-3)
    later = result["predicted_step_times"] / found.step_times
    assert np.all(later > 1)
    np.testing.assert_allclose(result["predicted_low"], found.step_time_low * later)


def test_directions_on_which_views_disagree_set_the_learning_rate(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, x_prime = rng.standard_normal((2, 50, 3))
    x[:, 0] *= 5
    x_prime[:, 0] = -x[:, 0]
    x_prime[:, 1] = x[:, 1]
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x_prime)
    result = run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, dim=1, center=False)
    lowest = np.linalg.eigvalsh((x.T @ x_prime + x_prime.T @ x) / 100)[0]
    np.testing.assert_allclose(result["learning_rate"], 0.1 / -lowest, rtol=1e-9)
    assert result["mean_relative_error"] < 0.01


def test_modes_too_close_to_the_next_are_named(tmp_path):
    x = np.diag([2.0, 1.0, 0.99, 0.98])
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x)
    options = {"data": str(tmp_path / "pairs.npz"), "pairs": None, "center": False}
    result = run(tmp_path, dim=3, **options)
    assert result["near_ties"] == [2, 3]
    assert result["integrated"] == [False, True, True]
    assert result["mean_relative_error"] < 0.002 < 0.02 < result["naive_mean_relative_error"]
    assert "smaller" not in shown("compare", tmp_path)
    assert run(tmp_path, dim=1, **options)["near_ties"] == []


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_pairs_of_any_scale_are_predicted_and_trained(tmp_path, scale):
    x, x_prime = np.random.default_rng(0).standard_normal((2, 60, 4)) * [1.0, 0.7, 0.4, 0.2]
    results = []
    for factor in (1.0, scale):
        np.savez(tmp_path / "pairs.npz", x=factor * x, x_prime=factor * (x + 0.3 * x_prime))
        options = {"data": str(tmp_path / "pairs.npz"), "pairs": None, "init_scale": 1e-3 / factor}
        results.append(run(tmp_path / str(factor), dim=2, **options))
    for name in ("relative_error", "measured_step_iterations", "resolved", "near_ties"):
        np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-6, atol=1e-9)
    late = np.array(results[0]["predicted_high"]) / scale / scale
    np.testing.assert_allclose(results[1]["predicted_high"], late, rtol=1e-6)
    assert results[1]["mean_relative_error"] < 0.005


def test_training_with_fresh_views_is_predicted_by_all_pairs_of_views(tmp_path):
    result = run(tmp_path, pairs=None, limit=300, dim=3, views="noise", fresh_views=True)
    assert (result["target"], result["views_per_image"]) == ("fresh views", 8)
    assert (result["n_images"], result["n_pairs"]) == (300, 300 * 28)
    assert result["mean_relative_error"] < 0.05
    assert "error, one pair" in shown("compare", tmp_path)
    assert "for fresh views" in shown("compare", tmp_path)
    again = run(tmp_path, pairs=None, limit=300, dim=3, views="noise", fresh_views=True)
    assert again == result


def test_one_pair_an_image_is_compared_with_the_same_training(tmp_path):
    """On strong augmentations, all pairs of views are much nearer to training with fresh ones."""
    result = run(tmp_path, pairs=None, limit=200, dim=3, fresh_views=True)
    assert result["one_pair_mean_relative_error"] > 1.5 * result["mean_relative_error"]
    pairs = gather_pairs(CompareOptions(limit=200, views_per_image=8), 0)
    x, x_prime = (view[::4] for view in pairs.arrays())
    w0 = 1e-3 * np.random.default_rng(0).standard_normal((3, 64))
    found = predict_steps_from(x, x_prime, w0, center=True, learning_rate=result["learning_rate"])
    expected = found.step_iterations * result["learning_rate"]
    np.testing.assert_allclose(result["one_pair_step_times"], expected, rtol=1e-9)


def test_batches_of_fresh_views_step_and_settle_as_predicted(tmp_path):
    result = run(
        tmp_path, pairs=None, limit=100, dim=2, views="noise", fresh_views=True, batch_size=8
    )
    assert (result["target"], result["batch_size"]) == ("fresh views", 8)
    assert len(result["measured_by_run"]) == 3
    assert result["mean_relative_error"] < 0.1
    assert result["ceiling_error"] < 0.15
    assert result["ceilings"][0] < 0.95


def test_fresh_views_go_with_momentum_and_weights_but_not_with_an_input_side(tmp_path):
    given = {"pairs": None, "limit": 100, "dim": 2, "views": "noise", "fresh_views": True}
    result = run(tmp_path, **given, momentum=0.5, weight_decay=0.05)
    assert result["mean_relative_error"] < 0.05
    assert result["plain_mean_relative_error"] > 2 * result["mean_relative_error"]
    with pytest.raises(ValueError, match="precondition is input with fresh-views"):
        run(tmp_path, **given, precondition="input")
    with pytest.raises(ValueError, match="views-per-image is 2 with fresh-views and batch-size"):
        run(tmp_path, **given, views_per_image=2, batch_size=8)


def test_fresh_views_need_images(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.eye(3), x_prime=np.eye(3))
    with pytest.raises(ValueError, match="fresh-views needs images"):
        run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, fresh_views=True)


OTHERWISE = {
    "ceilings",
    "measured_ceilings",
    "ceiling_error",
    "measured_by_run",
    "plain_step_times",
    "plain_relative_error",
    "plain_mean_relative_error",
}


@pytest.mark.parametrize(
    "options",
    [
        {"off_diagonal": 0.2, "momentum": 0.5},
        {"weight_decay": 0.05},
        {"precondition": "embedding"},
        {"precondition": "input", "power": 0.3},
        {"precondition_embedding": "covariance", "precondition_inputs": "covariance"},
        {"depth": 2, "init_scale": 0.1},
    ],
    ids=str,
)
def test_other_than_plain_training_steps_when_predicted(tmp_path, options):
    result = run(tmp_path, dim=2, **options)
    assert result.keys() >= KEYS | OTHERWISE
    limit = 0.05 if "depth" in options else 1e-4  # layers: the curves of modes are sorted
    assert result["mean_relative_error"] <= limit
    assert result["plain_mean_relative_error"] > 10 * limit or "depth" in options
    np.testing.assert_allclose(result["ceilings"], result["measured_ceilings"], atol=0.2)
    assert len(result["measured_by_run"]) == 1
    saved = read_arrays(tmp_path / "comparison.npz")
    if "depth" not in options:
        np.testing.assert_allclose(
            saved["predicted_eigenvalues"], saved["measured_eigenvalues"], atol=1e-4
        )


@pytest.mark.parametrize(("momentum", "pairs"), [(0.0, None), (0.9, 300)])
def test_orthogonalised_training_on_digits_steps_by_its_closed_form(tmp_path, momentum, pairs):
    result = run(tmp_path, pairs=pairs, dim=10, optimizer="muon", momentum=momentum)
    assert result.keys() >= KEYS | OTHERWISE
    # The last mode turns slowly to its eigenvector, which iterations know and the closed form not.
    assert max(result["flow_relative_error"][:-1]) < 0.05
    assert np.mean(result["flow_relative_error"]) < 0.02
    assert max(result["relative_error"]) < 0.05
    assert result["mean_relative_error"] < 0.01
    assert min(result["plain_relative_error"]) > 2
    gamma, times = np.array(result["eigenvalues"]), np.array(result["measured_step_times"])
    np.testing.assert_allclose(times[:-1], np.sqrt(0.5 / gamma[:-1]), rtol=0.05)
    np.testing.assert_allclose(result["ceilings"], result["measured_ceilings"], atol=0.1)
    saved = read_arrays(tmp_path / "comparison.npz")
    difference = saved["predicted_eigenvalues"] - saved["measured_eigenvalues"]
    assert np.sqrt(np.mean(difference**2)) < 0.05
    assert saved["times"][-1] == pytest.approx(result["iterations"] * result["learning_rate"])


def test_batches_step_and_settle_as_predicted(tmp_path):
    result = run(tmp_path, dim=2, batch_size=16, repeats=2)
    assert len(result["measured_by_run"]) == 2
    assert result["measured_by_run"][0] != result["measured_by_run"][1]
    assert result["mean_relative_error"] < 0.1
    assert result["ceiling_error"] < 0.15
    assert result["ceilings"][0] < 0.95
    assert (result["batch_size"], result["momentum"], result["depth"]) == (16, 0.0, 1)
    tables = shown("compare", tmp_path)
    assert "ceiling predicted" in tables
    assert "plain error" in tables


def test_every_key_of_the_result_is_documented(tmp_path):
    page = (Path(__file__).parents[4] / "experiments" / "docs" / "compare.md").read_text()
    plain, otherwise = run(tmp_path / "a", dim=1), run(tmp_path / "b", dim=1, weight_decay=0.1)
    for key in {*plain, *otherwise}:
        assert f"`{key}`" in page, key
