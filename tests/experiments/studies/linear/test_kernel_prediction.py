"""``predict --kernel`` end to end."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shown import shown

from experiments.options import PredictOptions
from experiments.registry import STUDIES
from experiments.studies.linear.kernel_prediction import predict_kernel
from experiments.studies.linear.kernels import (
    EXPECTED,
    between_views,
    features_of,
    kernel_parts,
    landmark_count,
    parse_kernel,
)
from experiments.studies.linear.pairs import gather_pairs
from paper_figs.runs.linear import draw_prediction
from sslsim.core.files import read_arrays, read_json
from theory.kernels import (
    convolutional_kernels,
    infinite_width_kernels,
    kernel_features,
    kernel_modes,
    rbf_kernel,
)
from theory.prediction import predict_kernel_steps


def run(out, kernel, **options):
    given = {"pairs": 60, "dim": 3, **options, "out": Path(out), "kernel": kernel}
    folder = predict_kernel(PredictOptions(**given))
    return read_json(folder / "prediction.json")


def centred_views(**options):
    pairs = gather_pairs(PredictOptions(pairs=60, **options), 0)
    views = np.concatenate(pairs.arrays())
    return views - views.mean(axis=0)


def expected_kernel(kernel, views, init_scale=1e-3):
    if kernel.startswith("rbf"):
        return rbf_kernel(views, width=2.5), None
    if kernel.startswith("conv"):
        covariance, tangent = convolutional_kernels(views.reshape(-1, 1, 6, 6), depth=2)
    else:
        covariance, tangent = infinite_width_kernels(views, layers=3)
    if "last" in kernel:
        tangent = covariance + init_scale**2 * (tangent - covariance)
    return tangent, covariance


@pytest.mark.parametrize("kernel", ["relu:2", "relu-last:2", "conv:2", "conv-last:2", "rbf:2.5"])
def test_the_result_is_the_prediction_from_the_kernel_of_the_views(tmp_path, kernel):
    result = run(tmp_path, kernel, views="crops", init_scale=0.01, lr=0.02, interval_level=0.8)
    views = centred_views(views="crops")
    matrix, covariance = expected_kernel(kernel, views, 0.01)
    expected = predict_kernel_steps(
        kernel_features(matrix), 3, covariance=covariance, init_scale=0.01, learning_rate=0.02,
        level=0.8,
    )  # fmt: skip
    for name in ("eigenvalues", "step_times", "step_iterations", "initial_singular_values"):
        np.testing.assert_allclose(result[name], getattr(expected.steps, name), rtol=1e-6)
    # Ends of intervals are drawn in the eigenbasis, whose signs differ by rounding.
    np.testing.assert_allclose(result["step_time_low"], expected.steps.step_time_low, rtol=0.1)
    for name in ("step_time_mean", "step_time_draw_low", "step_time_draw_high"):
        np.testing.assert_allclose(result[name], getattr(expected, name), rtol=1e-6)
    assert (result["kernel"], result["landmarks"], result["centred"]) == (kernel, None, True)
    assert result["eigenvalue_change"] is None
    arrays = read_arrays(tmp_path / "prediction.npz")
    # Modes have unit norm in the feature space of the kernel.
    norms = np.diag(arrays["coefficients"].T @ matrix @ arrays["coefficients"])
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
    draw_prediction(tmp_path)
    assert (tmp_path / "prediction.png").stat().st_size > 0


def test_every_key_is_explained_on_the_page(tmp_path):
    page = (Path(__file__).parents[4] / "experiments/docs/predict.md").read_text(encoding="utf-8")
    explained = {
        key
        for line in page.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert set(run(tmp_path, "relu:1")) <= explained
    arrays = read_arrays(tmp_path / "prediction.npz")
    assert all(f"`{name}`" in page for name in arrays)


def test_the_command_chooses_the_kernel_where_one_is_named(tmp_path):
    study = next(study for study in STUDIES if study.name == "predict")
    assert study.chosen({"kernel": "relu:1"}).run.endswith("predict_kernel")
    assert study.chosen({"kernel": None}).run.endswith("predict:predict")
    run(tmp_path, "relu:1")
    text = shown("predict", tmp_path)
    assert "over the draws of the random initial function" in text
    assert "landmarks" not in text


def test_a_kernel_of_a_file_is_used_as_it_is(tmp_path):
    views = centred_views()
    np.save(tmp_path / "k.npy", rbf_kernel(views, width=2.5).astype(np.float32))
    found = run(tmp_path / "a", str(tmp_path / "k.npy"), pairs=None)
    expected = run(tmp_path / "b", "rbf:2.5")
    np.testing.assert_allclose(found["eigenvalues"], expected["eigenvalues"], rtol=1e-4)
    np.testing.assert_allclose(found["step_time_mean"], expected["step_time_mean"], rtol=1e-4)
    assert (found["n_pairs"], found["features"], found["centred"]) == (60, None, False)
    assert found["data"].endswith("k.npy")


def test_a_kernel_that_does_not_fit_is_predicted_by_landmarks(tmp_path):
    whole = run(tmp_path / "whole", "rbf:2.5", pairs=600)
    found = run(tmp_path / "few", "rbf:2.5", pairs=600, memory=20)
    assert whole["landmarks"] is None
    assert 8 <= found["landmarks"] < 1200
    assert 0 < found["missing_trace"] < 0.6
    np.testing.assert_allclose(found["eigenvalues"], whole["eigenvalues"], rtol=0.1)
    assert np.all(np.array(found["eigenvalues"]) <= np.array(whole["eigenvalues"]))
    change = np.array(found["eigenvalue_change"])
    assert np.all((change > 0) & (change < 0.5))
    # What half of the landmarks lack is more than what all of them lack.
    lack = 1 - np.array(found["eigenvalues"]) / np.array(whole["eigenvalues"])
    assert np.all(lack < change)
    said = shown("predict", tmp_path / "few")
    assert f"{found['landmarks']} landmarks stand for the kernel and miss" in said


def test_landmarks_of_a_file_are_read_in_parts(tmp_path):
    views = centred_views()
    np.save(tmp_path / "k.npy", rbf_kernel(views, width=2.5))
    whole = kernel_modes(rbf_kernel(views, width=2.5), 3).gamma
    found = run(tmp_path / "a", str(tmp_path / "k.npy"), pairs=None, memory=1)
    assert found["landmarks"] < 120
    np.testing.assert_allclose(found["eigenvalues"], whole, rtol=0.1)


def test_blocks_give_the_whole_kernel():
    views = centred_views()
    between = between_views(parse_kernel("relu:1"), views, None, 1e-3)
    expected = infinite_width_kernels(views, layers=2)
    for memory in (2**16, 2**30):
        kernel, covariance = kernel_parts(between, np.arange(120), memory)
        np.testing.assert_allclose(kernel, expected[1], rtol=1e-6)
        np.testing.assert_allclose(covariance, expected[0], rtol=1e-6)
        np.testing.assert_array_equal(kernel, kernel.T)


def test_the_covariance_is_that_at_the_landmarks():
    views = centred_views()
    between = between_views(parse_kernel("relu:1"), views, None, 1e-3)
    features, covariance, half = features_of(between, 120, 2**20, 0)
    z = features.landmarks
    assert 8 <= len(z) < 120
    np.testing.assert_allclose(covariance, infinite_width_kernels(views[z], layers=2)[0], rtol=1e-6)
    np.testing.assert_array_equal(half.landmarks, z[: len(half.landmarks)])


def test_more_memory_gives_more_landmarks_until_all_fit():
    counts = [landmark_count(20_000, mib << 20) for mib in (64, 256, 1024, 4096)]
    assert all(count % 2 == 0 for count in counts)
    assert np.all(np.diff(counts) > 0)
    assert landmark_count(20_000, 100 << 30) is None
    with pytest.raises(ValueError, match="memory is 1 MiB; expected"):
        landmark_count(20_000, 2**20)


PEAK = """
import re, sys, tempfile
from pathlib import Path
from experiments.options import PredictOptions
from experiments.studies.linear.kernel_prediction import predict_kernel

def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

def predicted(pairs, memory):
    out = Path(tempfile.mkdtemp())
    predict_kernel(PredictOptions(kernel="relu:1", pairs=pairs, dim=3, memory=memory, out=out))

predicted(20, 64)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = status("VmRSS")
predicted(int(sys.argv[1]), int(sys.argv[2]))
print(before, status("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "memory"), [(500, 128), (1400, 64)])
def test_the_memory_is_within_the_budget(pairs, memory):
    """The first number of pairs fits as a whole, the second needs landmarks."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not say how much memory a process took")
    assert (landmark_count(2 * pairs, memory << 20) is None) == (pairs == 500)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(pairs), str(memory)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, peak = map(float, done.stdout.splitlines()[-1].split())
    assert peak - before < memory
    assert peak - before > memory / 8  # the budget is not far from what is used


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("relu", EXPECTED),
        ("tanh:2", EXPECTED),
        ("rbf-last:2", EXPECTED),
        ("", EXPECTED),
        ("relu:0", "whole number of layers from 1 to 100 after relu:"),
        ("conv-last:1.5", "whole number of layers from 1 to 100 after conv-last:"),
        ("relu:", "whole number of layers from 1 to 100 after relu:"),
        ("rbf:nan", "finite width above zero after rbf:"),
        ("rbf:-2", "finite width above zero after rbf:"),
        ("there/is/none.npy", "none.npy is not there; expected a \\(2n, 2n\\) matrix"),
    ],
)
def test_kernels_that_do_not_exist_are_refused(tmp_path, kernel, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", kernel, pairs=None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.eye(5), "holds an array of shape \\(5, 5\\); expected \\(2n, 2n\\)"),
        (np.ones((4, 6)), "shape \\(4, 6\\)"),
        (np.eye(4, dtype=complex), "complex128; expected real numbers"),
        (np.arange(16.0).reshape(4, 4), "expected a symmetric matrix"),
        (-np.eye(4), "expected a positive semi-definite matrix"),
        (np.full((4, 4), np.nan), "NaN"),
        (b"no array", "is not a file of numpy.save"),
    ],
)
def test_files_that_hold_no_kernel_are_refused(tmp_path, array, message):
    path = tmp_path / "k.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", str(path), pairs=None, dim=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "k.npy", "pairs": 10}, "pairs is 10, but k.npy holds the kernel of the pairs"),
        ({"kernel": "k.npy", "pairs": None, "data": "x.npz"}, "expected no --data"),
        ({"kernel": "relu:1", "memory": 0}, "memory is 0; expected at least 1 MiB"),
        ({"kernel": "relu:1", "pairs": 1400, "memory": 1}, "or more for the views of 1400 pairs"),
        ({"kernel": "relu:1", "dim": 121}, "dim is 121; expected from 1 to the 120 features"),
        ({"kernel": "relu:1", "lr": 1e6}, "where descent is stable"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    np.save("k.npy", np.eye(8))
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_convolutions_need_images(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.eye(4), x_prime=np.eye(4))
    with pytest.raises(ValueError, match="holds pairs of vectors; expected images"):
        run(tmp_path / "out", "conv:1", pairs=None, data=str(tmp_path / "pairs.npz"), dim=1)
