"""A run looked back upon: its pairs, its start, and when eigenvalues pass values."""

import numpy as np
import pytest
import torch
from forecasts import planted, trained

from sslsim.data.pixels import pixel_statistics
from sslsim.runs.history import read_history
from sslsim.runs.setup import initial_learner, split_data
from sslsim.training.batches import fixed_views

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three modes, one after the other."""
    return trained(tmp_path_factory.mktemp("run"))


def test_a_run_is_watched_on_the_pairs_it_trained_on(run):
    found = read_history(run, 20)
    assert found.steps == list(range(0, 451, 10))
    np.testing.assert_allclose(found.times, 0.02 * np.array(found.steps), rtol=1e-12)
    assert (found.spectrum, found.ceiling) == ("cross", 1.0)
    data, _ = split_data(found.run.options)
    pixels = pixel_statistics(data.images)
    for view, kept in zip(
        fixed_views(data, "simclr", 1).views, (found.pairs.x, found.pairs.x_prime), strict=True
    ):
        torch.testing.assert_close(kept, pixels.standardise(view)[::3], rtol=0, atol=0)
    with torch.no_grad():
        z, z_prime = (
            found.encoder_at(-1)(x).double() for x in (found.pairs.x, found.pairs.x_prime)
        )
    cross = z.T @ z_prime / 20
    np.testing.assert_allclose(
        found.lam[-1], np.linalg.eigvalsh((cross + cross.T) / 2)[::-1], rtol=1e-6
    )


def test_the_start_is_the_start_though_it_was_not_kept(tmp_path):
    folder = trained(tmp_path, steps=6, checkpoint_every=2, checkpoints_kept=2)
    found = read_history(folder, 10)
    assert found.steps == [0, 4, 6]
    start = initial_learner(
        found.run.options, split_data(found.run.options)[0]
    ).encoder.state_dict()
    for index in (0, 2, 0):
        state = found.encoder_at(index).state_dict()
        same = all(torch.equal(value, start[name]) for name, value in state.items())
        assert same == (index == 0)


@pytest.mark.parametrize("value", [1e-3, 0.02, 0.5])
def test_a_passing_lies_between_checkpoints_as_growth_is_exponential(value):
    times = np.array([0.0, 0.5, 2.0, 2.3, 5.0])
    curve = planted(np.exp(2 * times - 9)[:, None], times)
    exact = (np.log(value) + 9) / 2
    assert curve.passing(0, value) == pytest.approx(exact, rel=1e-12)
    assert curve.passing(0, value, after=4) == 5.0  # it was above already
    assert curve.passing(0, 3.0) == np.inf
    assert planted([[-1.0], [0.0], [0.3], [0.1], [0.6]]).passing(0, 0.2) == 2.0
    assert planted([[-1.0], [0.0], [0.3], [0.1], [0.6]]).passing(0, 0.2, after=3) == (
        pytest.approx(3 + np.log(2) / np.log(6))
    )
