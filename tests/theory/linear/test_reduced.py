"""The reduced equation against closed forms, its own derivatives and training."""

import numpy as np
import pytest

from sslsim.measures.steps import half_rise_times
from sslsim.training.full_batch import train_linear
from theory.linear import closed_form, momentum, preconditioned, weight_decay
from theory.linear.reduced import (
    Law,
    descent_curves,
    descent_step_iterations,
    final_eigenvalues,
    plateau_height,
    reduced_flow,
)

GAMMA = np.array([1.0, 0.5, 0.25])
ALIGNED = np.diag([1e-3, 2e-3, 3e-3])


def generic(dim, modes, scale=1e-3, seed=0):
    return scale * np.random.default_rng(seed).standard_normal((dim, modes))


def test_aligned_modes_follow_the_closed_form():
    flow = reduced_flow(GAMMA, ALIGNED)
    np.testing.assert_allclose(
        flow.step_times, closed_form.step_times(GAMMA, np.diagonal(ALIGNED)), rtol=1e-6
    )
    times = np.linspace(0.0, 8.0, 30)
    expected = closed_form.eigenvalue_curves(times, GAMMA, np.diagonal(ALIGNED))
    np.testing.assert_allclose(flow.eigenvalue_curves(times), np.sort(expected)[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(
        flow.loss(times), closed_form.loss(times, GAMMA, np.diagonal(ALIGNED)), atol=1e-6
    )


def test_nearly_equal_eigenvalues_need_no_alignment():
    # Training is the witness: the aligned closed form errs by several per cent here.
    rng = np.random.default_rng(1)
    gamma = np.array([0.8, 0.79, 0.2, 0.19, 0.05])
    x = np.sqrt(5.0 * gamma) * np.eye(5)
    w0 = 1e-3 * rng.standard_normal((4, 5))
    run = train_linear(x, x, w0, 0.01, 4000)
    flow = reduced_flow(gamma, w0)
    measured = half_rise_times(run.times, run.eigenvalues)
    np.testing.assert_allclose(flow.step_times, measured, rtol=0.02)
    iterations = descent_step_iterations(gamma, w0, 0.01)
    np.testing.assert_allclose(iterations, measured / 0.01, rtol=1e-6)


def test_descent_in_the_eigenbasis_is_training():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((40, 6)) * np.linspace(1.0, 0.3, 6)
    y = x + 0.1 * rng.standard_normal(x.shape)
    gamma, vectors = np.linalg.eigh((x.T @ y + y.T @ x) / 80)
    w0 = 0.05 * rng.standard_normal((3, 6))
    run = train_linear(x, y, w0, 0.02, 120, momentum=0.6, weight_decay=0.01)
    curves = descent_curves(
        run.iterations, gamma, w0 @ vectors, 0.02, momentum=0.6, law=Law(weight_decay=0.01)
    )
    np.testing.assert_allclose(curves, run.eigenvalues, atol=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.9])
def test_iterations_of_aligned_modes_agree_with_the_momentum_recursion(mu):
    expected = momentum.momentum_step_iterations(GAMMA, np.diagonal(ALIGNED), 0.01, mu)
    measured = descent_step_iterations(GAMMA, ALIGNED, 0.01, momentum=mu)
    np.testing.assert_allclose(measured, expected, rtol=2e-4)


def test_weight_decay_lowers_the_ceilings_as_in_closed_form():
    law = Law(weight_decay=0.3)
    gamma = np.array([1.0, 0.5, 0.25, 0.05])  # the last is below b/2 = 0.075
    heights = weight_decay.final_eigenvalues(gamma, 0.15)
    assert heights[-1] == 0.0
    np.testing.assert_allclose(final_eigenvalues(gamma, 4, law), heights, atol=1e-6)
    s0 = np.full(4, 1e-3)
    flow = reduced_flow(gamma, np.diag(s0), law=law)
    np.testing.assert_allclose(flow.step_times, weight_decay.step_times(gamma, s0, 0.15), rtol=1e-5)
    assert flow.step_times[-1] == np.inf


@pytest.mark.parametrize("precondition", [("embedding", 1.0, 0.01), ("input", 0.5, 0.01)])
def test_preconditioned_modes_follow_their_closed_forms(precondition):
    side, power, ridge = precondition
    s0 = np.diagonal(ALIGNED)
    expected = (
        preconditioned.embedding_side_step_times(GAMMA, s0, power, ridge)
        if side == "embedding"
        else preconditioned.input_side_step_times(GAMMA, s0, power, ridge)
    )
    flow = reduced_flow(GAMMA, ALIGNED, law=Law(precondition=precondition))
    np.testing.assert_allclose(flow.step_times, expected, rtol=1e-5)


@pytest.mark.parametrize(("weight", "end"), [(0.2, 14.0), (0.02, 60.0), (0.005, 250.0)])
def test_the_first_plateau_and_the_growth_after_it_have_a_closed_form(weight, end):
    # One mode from a generic direction, and a second one that stays in its linear phase.
    start = generic(5, 2) * [1.0, 1e-7]
    flow = reduced_flow([0.5, 0.4], start, until=end, law=Law(off_diagonal=weight))
    early, late = flow.eigenvalue_curves([0.8 * end, end])
    assert late[0] == pytest.approx(plateau_height(5, 1, weight), rel=2e-4)
    growth = np.log(late[1] / early[1]) / (0.2 * end)
    assert growth == pytest.approx(8 * 0.4 * weight * plateau_height(5, 1, weight), rel=1e-3)


def test_later_plateaus_have_the_same_height_for_all_learned_modes():
    weight, start = 0.2, generic(4, 3) * [1.0, 1.0, 1e-13]
    flow = reduced_flow([0.5, 0.4, 0.3], start, until=60.0, law=Law(off_diagonal=weight))
    early, late = flow.eigenvalue_curves([50.0, 60.0])
    height = plateau_height(4, 2, weight)
    np.testing.assert_allclose(late[:2], height, rtol=1e-3)
    growth = np.log(late[2] / early[2]) / 10.0
    assert growth == pytest.approx(8 * 0.3 * weight * height, rel=2e-3)


def test_the_gradient_is_that_of_the_expected_loss():
    # Central differences of the loss that `final_eigenvalues` minimises would use the gradient:
    # here the loss of each pair is averaged instead.
    from theory.linear.minibatch import batch_covariance
    from theory.linear.reduced import _gradient

    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 7, 3))
    gamma_matrix = (a.T @ b + b.T @ a) / 14
    gamma, vectors = np.linalg.eigh(gamma_matrix)
    a, b = a @ vectors, b @ vectors
    law = Law(off_diagonal=0.3, noise=batch_covariance(a, b, 1))

    def expected_loss(w):
        # Every batch of one pair, equally likely.
        losses = []
        for i in range(7):
            z, z_prime = w @ a[i], w @ b[i]
            corr = (np.outer(z, z_prime) + np.outer(z_prime, z)) / 2 - np.eye(2)
            losses.append(np.sum(np.where(np.eye(2) > 0, 1.0, 0.3) * corr**2))
        return np.mean(losses)

    w = rng.standard_normal((2, 3))
    slope = _gradient(gamma, 2, law)(w)
    for place in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[place] = 1e-5
        numeric = (expected_loss(w + step) - expected_loss(w - step)) / 2e-5
        assert slope[place] == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_a_map_without_positive_modes_never_steps():
    flow = reduced_flow([-0.5, -1.0], generic(2, 2))
    assert flow.step_times.tolist() == [np.inf, np.inf]
    assert flow.ceilings.tolist() == [0.0, 0.0]


def test_bad_laws_are_refused_in_one_line():
    with pytest.raises(ValueError, match="off_diagonal is 0; expected a finite number above zero"):
        Law(off_diagonal=0)
    with pytest.raises(ValueError, match=r"power is 1\.0 on the input side; expected below 1"):
        Law(precondition=("input", 1.0, 0.1))
    with pytest.raises(ValueError, match="precondition is given with weight decay"):
        Law(weight_decay=0.1, precondition=("embedding", 1.0, 0.1))
    with pytest.raises(ValueError, match="descent diverges"):
        descent_step_iterations([1.0], [[1e-3]], 10.0)
    with pytest.raises(ValueError, match=r"w0_v has shape \(2, 3\) and gamma \(2,\)"):
        reduced_flow([1.0, 0.5], np.ones((2, 3)))
