"""``predict`` end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from shown import shown

from experiments.options import PredictOptions
from experiments.studies.linear.pairs import gather_pairs
from experiments.studies.linear.predict import predict
from sslsim.core.files import plain, read_arrays, read_json
from sslsim.data.pair_sets import PairSet
from theory import predict_steps

KEYS = {
    "eigenvalues",
    "step_times",
    "step_iterations",
    "learning_rate",
    "step_time_low",
    "step_time_high",
    "interval_level",
    "plateaus",
    "positive_modes",
    "initial_singular_values",
    "centred",
}


def run(out, in_memory=2**30, **options):
    given = {"pairs": 100, "dim": 4, **options, "out": Path(out)}
    folder = predict(PredictOptions(**given), in_memory=in_memory)
    return read_json(folder / "prediction.json")


def test_the_result_has_its_keys_and_is_strict(tmp_path):
    result = run(tmp_path)
    assert result.keys() >= KEYS
    assert all(len(result[name]) == 4 for name in ("eigenvalues", "step_times", "resolved"))
    assert result["centred"] is True
    assert set(result["plateaus"][0]) == {"modes", "loss", "start", "end"}
    text = (tmp_path / "prediction.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read_json(tmp_path / "config.json")["options"]["seed"] == 0
    lines = shown("predict", tmp_path).partition("\n\n")[0].splitlines()
    assert len(lines) == 6  # caption, headers, and four modes
    assert lines[-1].split()[2] == f"{result['step_times'][-1]:.4g}"


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    first, again, other = (
        run(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first["step_times"] != other["step_times"]
    arrays = [read_arrays(tmp_path / name / "prediction.npz") for name in "ab"]
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def test_pairs_of_a_file_are_taken_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5)) + 3.0
    x_prime = x + 0.1 * rng.standard_normal((40, 5))
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x_prime)
    result = run(
        tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, dim=3, center=False, seed=5
    )
    expected = predict_steps(x, x_prime, dim=3, rng=5)
    np.testing.assert_array_equal(result["step_times"], expected.step_times)
    assert (result["n_pairs"], result["views"], result["n_images"]) == (40, None, None)
    assert run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=30, dim=1)["n_pairs"] == 30


def test_streamed_pairs_give_the_same(tmp_path, monkeypatch):
    held = run(tmp_path, views="crops")
    monkeypatch.delattr(PairSet, "arrays")  # not to be asked for
    streamed = run(tmp_path, views="crops", in_memory=0)
    np.testing.assert_allclose(streamed["step_times"], held["step_times"], rtol=1e-9)


def test_modes_that_are_never_learned_are_null(tmp_path):
    x = np.diag([2.0, 1.0, 1.0, 1.0])
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x * [1, 1, -1, -1])
    with pytest.warns(UserWarning, match="never learned"):
        result = run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, center=False)
    assert [step is None for step in result["step_times"]] == [False, False, True, True]
    assert result["positive_modes"] == 2
    assert json.loads((tmp_path / "prediction.json").read_text())["plateaus"][-1]["end"] is None
    assert "never learned" in result["warnings"][0]


def test_all_pairs_of_the_views_of_an_image_count(tmp_path):
    result = run(tmp_path, views_per_image=4)
    assert (result["n_images"], result["n_pairs"], result["target"]) == (50, 300, "fresh views")
    pairs = gather_pairs(PredictOptions(pairs=100, views_per_image=4), 0)
    x, x_prime = (view.reshape(50, 2, 64) for view in pairs.arrays())
    views = np.concatenate([x, x_prime], axis=1)
    expected = predict_steps(views, dim=4, center=True)
    np.testing.assert_allclose(result["step_times"], expected.step_times, rtol=1e-9)
    assert result["step_time_high"][:2] == pytest.approx(expected.step_time_high[:2], rel=1e-9)
    streamed = run(tmp_path, views_per_image=4, in_memory=0)
    np.testing.assert_allclose(streamed["step_times"], expected.step_times, rtol=1e-9)


def test_no_image_is_dropped_unless_pairs_says_so(tmp_path, capsys):
    result = run(tmp_path, views_per_image=8, pairs=None, limit=1000, views="noise")
    assert (result["n_images"], result["n_images_available"]) == (1000, 1000)
    assert "are used" not in capsys.readouterr().out
    result = run(tmp_path, views_per_image=8, pairs=1500, limit=1000, views="noise")
    assert (result["n_images"], result["n_images_available"]) == (375, 1000)
    assert "375 of 1000 images are used; --pairs sets how many" in capsys.readouterr().out


def test_the_result_says_which_question_it_answers(tmp_path):
    assert run(tmp_path)["target"] == "these pairs"
    assert "(learning rate x iteration), for these pairs" in shown("predict", tmp_path)


def test_options_reach_the_prediction(tmp_path):
    result = run(tmp_path, interval_level=0.5, init_scale=1e-5, lr=0.01)
    pairs = gather_pairs(PredictOptions(pairs=100), 0)
    expected = predict_steps(
        *pairs.arrays(), dim=4, center=True, level=0.5, init_scale=1e-5, learning_rate=0.01
    )
    for name in ("step_times", "step_time_low", "step_iterations", "initial_singular_values"):
        np.testing.assert_array_equal(result[name], plain(getattr(expected, name)))
    assert (result["interval_level"], result["learning_rate"]) == (0.5, 0.01)


def test_a_refused_run_leaves_earlier_results_as_they_were(tmp_path):
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="where descent is stable"):
        run(tmp_path, lr=1e6)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_largest_stable_learning_rate_is_the_bound(tmp_path):
    bound = run(tmp_path)["stable_learning_rate"]
    run(tmp_path, lr=0.999 * bound)
    with pytest.raises(ValueError, match="where descent is stable"):
        run(tmp_path, lr=1.001 * bound)


def test_curves_show_the_last_step_to_its_end(tmp_path):
    run(tmp_path)
    curves = read_arrays(tmp_path / "prediction.npz")
    assert curves["loss"][0] > 3.99
    assert curves["loss"][-1] < 0.02


@pytest.mark.parametrize("option", ["limit", "size", "views_per_image"])
def test_options_of_images_are_refused_for_pairs(tmp_path, option):
    np.savez(tmp_path / "pairs.npz", x=np.eye(4), x_prime=np.eye(4))
    with pytest.raises(ValueError, match="holds pairs, which are taken as they are"):
        run(tmp_path, data=str(tmp_path / "pairs.npz"), pairs=None, **{option: 4})
