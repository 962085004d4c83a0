"""``compare --width``: networks follow their kernels the better the wider they are."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from scipy import stats

from experiments import cli
from experiments.options import CompareOptions
from experiments.studies.linear.wide import power_law, wide
from experiments.studies.linear.wide_networks import (
    WAYS,
    infinite_width_kernel,
    small_network,
    train_and_predict,
)
from sslsim.core.files import read_arrays, read_json
from sslsim.encoders.build import build_encoder
from sslsim.encoders.centred import Centred
from sslsim.ntk import empirical_ntk, layer_ntks, pair_ntk

pytestmark = pytest.mark.slow


def views(n=12, m=4, seed=0):
    """Pairs whose modes lie apart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m)) * 0.5 ** np.arange(m)
    return np.vstack([x, x + 0.02 * rng.standard_normal((n, m))])


@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_a_linear_network_is_its_kernel(scale):
    """One layer: the kernel is x.x'/m for every draw, and never moves."""
    stacked = views()
    network = build_encoder("linear", (1, 1, 4), 2, seed=0, parameterization="ntk").double()
    kernel = stacked @ stacked.T / 4
    found = train_and_predict(Centred(network, scale), stacked, kernel, 0.1, most=20_000)
    measured = found.step_times["measured"]
    assert np.all(np.isfinite(measured))
    assert found.kernel_distance < 1e-12
    assert found.kernel_change < 1e-12
    np.testing.assert_allclose(found.step_times["full_kernel"], measured, rtol=1e-9)
    # Modes apart by a factor of four: the closed form is off by scale^(2 (1 - 1/4)).
    for name in ("kernel", "limit"):
        np.testing.assert_allclose(found.step_times[name], measured, rtol=max(scale**1.5, 1e-6))
    np.testing.assert_allclose(
        found.curves["full_kernel"][: len(found.curves["measured"])],
        found.curves["measured"],
        atol=1e-8,
    )


def test_both_ways_start_alike_and_differ_in_the_first_layer_only():
    stacked = torch.from_numpy(views())
    options = CompareOptions(dim=3, init_scale=0.1)
    last, centred = (small_network(20, (4,), options, way, seed=1).eval() for way in WAYS)
    torch.testing.assert_close(last(stacked), centred(stacked), rtol=1e-12, atol=0)
    first, second = layer_ntks(last, stacked).values()
    whole_first, whole_second = layer_ntks(centred, stacked).values()
    np.testing.assert_allclose(first, 0.1**2 * whole_first, rtol=1e-12)
    np.testing.assert_allclose(second, whole_second, rtol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_the_kernel_of_infinite_width_is_the_mean_of_finite_ones(way):
    stacked = views(3)
    options = CompareOptions(dim=2, init_scale=0.5)
    kernels = [
        pair_ntk(
            small_network(256, (4,), options, way, seed).eval(), *torch.from_numpy(stacked).chunk(2)
        )
        for seed in range(24)
    ]
    exact, _ = infinite_width_kernel(stacked, way, options)
    # 24 networks of 256 units: entries scatter by about 3 / sqrt(24 * 256) = 4 % at most.
    np.testing.assert_allclose(torch.stack(kernels).mean(0), exact, atol=0.08 * exact.max())


def test_wider_networks_follow_their_kernels_better(tmp_path):
    options = CompareOptions(
        pairs=12, dim=2, width=(16, 256), repeats=2, init_scale=1e-2, out=tmp_path
    )
    result = read_json(wide(options) / "wide.json")
    assert result["widths"] == [16, 256]
    assert result["centred"] is True
    for way in WAYS:
        found = result["ways"][way]
        narrow, broad = np.mean(found["kernel_change"], axis=1)
        assert broad < 0.5 * narrow
        narrow, broad = np.mean(found["kernel_distance"], axis=1)
        assert broad < 0.5 * narrow
        narrow, broad = found["full_kernel"]["geometric_mean"]
        assert broad < 0.6 * narrow
        assert found["full_kernel"]["exponent"] < -0.2
        for name in ("kernel", "full_kernel", "limit"):
            logs = np.log(found[name]["mean_relative_error"])
            ends = stats.t.interval(0.9, 1, loc=logs.mean(axis=1), scale=stats.sem(logs, axis=1))
            middle = np.sqrt(np.prod(found[name]["mean_relative_error"], axis=1))  # of two
            told = [found[name][key] for key in ("low", "high", "geometric_mean")]
            np.testing.assert_allclose(told, [*np.exp(ends), middle], rtol=1e-9)
    curves = read_arrays(tmp_path / "wide.npz")
    for way in WAYS:
        times, measured = (curves[f"{way}_measured_{kind}"] for kind in ("times", "eigenvalues"))
        assert len(times) == len(measured)
        assert measured[-1, -1] > 0.9
    again = read_json(wide(options) / "wide.json")
    assert again == result


@pytest.mark.parametrize("kernel", ["relu:2", "conv:1"])
def test_deep_and_convolutional_networks_come_close_to_what_the_data_alone_predict(
    tmp_path, kernel
):
    options = CompareOptions(
        pairs=12, dim=1, width=(8, 256), repeats=3, kernel=kernel, init_scale=1e-2, out=tmp_path
    )
    result = read_json(wide(options) / "wide.json")
    assert result["kernel"] == kernel
    for way in WAYS:
        narrow, broad = np.mean(result["ways"][way]["kernel_distance"], axis=1)
        assert broad < 0.5 * narrow
        narrow, broad = result["ways"][way]["limit"]["geometric_mean"]
        assert broad < narrow
        alone = result["ways"][way]["data_alone"]
        assert alone["step_time_draw_low"] < alone["step_time_mean"] < alone["step_time_draw_high"]
        measured = np.array(result["ways"][way]["measured_step_times"])[1]
        # One output: chi squared of one degree of freedom leaves a few tens of per cent.
        np.testing.assert_allclose(measured, alone["step_time_mean"][0], rtol=0.6)
        assert np.shape(alone["mean_relative_error"]) == (2, 3)
        inside = (measured >= alone["step_time_draw_low"][0]) & (
            measured <= alone["step_time_draw_high"][0]
        )
        assert alone["inside"][1] == np.mean(inside)


@pytest.mark.parametrize("kernel", ["relu:3", "conv:2"])
def test_the_limit_is_that_of_the_networks_that_are_built(kernel):
    options = CompareOptions(dim=2, kernel=kernel)
    images = np.random.default_rng(0).standard_normal((6, 1, 4, 4))
    stacked = images if kernel.startswith("conv") else images.reshape(6, 16)
    exact, covariance = infinite_width_kernel(stacked, "centred", options)
    assert np.all(np.diag(exact) > np.diag(covariance))
    distances = []
    for width in (16, 256):
        kernels = [
            pair_ntk(
                small_network(width, stacked.shape[1:], options, "centred", seed).eval(),
                *torch.from_numpy(stacked).chunk(2),
            ).numpy()
            for seed in range(4)
        ]
        distances.append(np.mean([np.linalg.norm(one - exact) for one in kernels]))
    assert distances[1] < 0.4 * distances[0]  # a quarter, for sixteen times the width


def test_the_command_draws_a_picture(tmp_path, capsys):
    arguments = ["compare", "--width", "8", "16", "--pairs", "10", "--dim", "1", "--repeats", "2"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "wide.json",
        "wide.npz",
        "wide.png",
    }
    said = capsys.readouterr().out
    assert "last layer scaled" in said
    assert "exponent" in said
    assert "data alone" in said
    pixels = matplotlib.image.imread(tmp_path / "wide.png")[..., :3]
    for half in np.array_split(pixels, 2):
        assert 0.005 < (half < 0.9).any(axis=2).mean() < 0.5


def test_a_planted_power_is_found_and_gaps_are_left_out():
    errors = 3 * np.array([10.0, 100.0, 1000.0])[:, None] ** -0.7 * np.ones(2)
    errors[1, 0] = np.nan
    exponent, error = power_law((10, 100, 1000), errors)
    np.testing.assert_allclose([exponent, error], [-0.7, 0], atol=1e-6)
    assert power_law((10,), errors[:1]) is None
    assert power_law((10, 100), np.array([[np.nan, 1.0], [0.0, 1.0]])) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": (8, 8)}, "width is 8 8"),
        ({"width": (0,)}, "width is 0"),
        ({"repeats": 1}, "repeats is 1"),
        ({"max_iterations": 0}, "max-iterations is 0"),
        ({"dim": 65}, "dim is 65"),
        ({"kernel": "relu:0"}, "kernel is relu:0; expected a whole number of layers"),
        ({"kernel": "relu-last:1"}, "kernel is relu-last:1; with --width, expected relu:DEPTH"),
        ({"lr": 1e3}, "expected below"),
        ({"pairs": 1000, "dim": 10}, "fewer --pairs"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    given = {"width": (8,), "pairs": 10, "dim": 1, "repeats": 2, "out": Path(tmp_path), **options}
    with pytest.raises(ValueError, match=message):
        wide(CompareOptions(**given))


def test_the_traced_kernel_is_the_one_of_pairs():
    stacked = torch.from_numpy(views(4))
    network = small_network(8, (4,), CompareOptions(dim=3), "centred", seed=0).eval()
    full = empirical_ntk(network, stacked, output="full")
    traced = full.diagonal(dim1=2, dim2=3).sum(-1) / 3
    torch.testing.assert_close(traced, pair_ntk(network, *stacked.chunk(2)), rtol=1e-12, atol=0)
