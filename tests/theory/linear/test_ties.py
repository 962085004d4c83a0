"""Step times of equal and close eigenvalues, against the exactly integrated matrix flow."""

import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from theory import predict_steps_from
from theory.linear import ties
from theory.linear.closed_form import step_times, weights
from theory.linear.initialization import equivalent_initialization

TIED = (0.8, 0.8, 0.2, 0.2, 0.05)
CLOSE = (0.8, 0.79, 0.2, 0.2, 0.05)
CLOSER = (0.8, 0.799999, 0.2, 0.19, 0.05)
SPREAD = (0.25, 0.179, 0.1235, 0.096, 0.045)


def start(dim, scale=1e-3, seed=0, m=5):
    return scale * np.random.default_rng(seed).standard_normal((dim, m))


def flow(w0, gamma):
    """Solution of the whole flow dW/dt = 4 (I - W Gamma W^T) W Gamma."""
    gamma = np.asarray(gamma)

    def slope(_, flat):
        w = flat.reshape(w0.shape)
        return (4.0 * (np.eye(len(w)) - (w * gamma) @ w.T) @ (w * gamma)).ravel()

    end = 40.0 / (8.0 * gamma.min())
    return solve_ivp(
        slope, (0.0, end), w0.ravel(), "LSODA", rtol=1e-10, atol=1e-16, dense_output=True
    )


def flow_step_times(w0, gamma):
    """Times at which the sorted eigenvalues of W Gamma W^T pass 1/2."""
    run = flow(w0, gamma)

    def excess(t, place):
        w = run.sol(t).reshape(w0.shape)
        return np.linalg.eigvalsh((w * np.asarray(gamma)) @ w.T)[-1 - place] - 0.5

    passed = []
    for place in range(len(w0)):
        after = next(k for k, t in enumerate(run.t) if excess(t, place) > 0)
        passed.append(brentq(excess, run.t[after - 1], run.t[after], args=(place,)))
    return np.array(passed)


def error(times, measured):
    return np.max(np.abs(np.sort(times) / measured - 1.0))


@pytest.mark.parametrize("dim", [3, 5])
@pytest.mark.parametrize("gamma", [TIED, CLOSE, CLOSER, SPREAD])
def test_step_times_are_those_of_the_matrix_flow(gamma, dim):
    qr_errors = []
    for seed in range(3):
        w0 = start(dim, seed=seed)
        measured = flow_step_times(w0, gamma)
        modes = ties.initial_modes(w0, gamma, np.eye(5))
        assert error(step_times(gamma[:dim], modes.s0), measured) < 5e-4
        s0 = equivalent_initialization(w0, np.eye(5, dim))[1]
        qr_errors.append(error(step_times(gamma[:dim], s0), measured))
    if gamma is not SPREAD:
        assert max(qr_errors) > 0.015  # what the factorisation alone gives


@pytest.mark.parametrize("gamma", [TIED, CLOSE])
def test_a_prediction_from_pairs_with_ties_is_within_half_a_per_cent(gamma):
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((5, 5)))[0]
    x = np.sqrt(5.0 * np.array(gamma))[:, None] * axes  # x^T x / 5 has these eigenvalues
    w0 = start(5, seed=2)
    found = predict_steps_from(x, x, w0)
    assert error(found.step_times, flow_step_times(w0 @ axes.T, gamma)) < 5e-3
    assert found.equal.tolist() == [gamma is TIED] * 2 + [True, True, False]
    assert found.integrated.tolist() == [gamma is CLOSE] * 2 + [False] * 3


def test_a_smaller_start_does_not_help_the_factorisation_of_equal_eigenvalues():
    errors = []
    for scale in (1e-3, 1e-6, 1e-9):
        w0 = start(5, scale, seed=2)
        true = ties.initial_modes(w0, TIED, np.eye(5)).s0
        errors.append(np.max(np.abs(np.log(equivalent_initialization(w0, np.eye(5))[1] / true))))
    np.testing.assert_allclose(errors, errors[0], rtol=1e-6)
    assert errors[0] > 0.5


def test_directions_of_equal_eigenvalues_are_those_that_grow_alone():
    w0 = start(2, seed=1, m=3)
    gamma = np.array([0.5, 0.5, 0.01])
    modes = ties.initial_modes(w0, gamma, np.eye(3))
    t = step_times(gamma[:2], modes.s0)[1]
    predicted = weights(t, gamma[:2], modes.s0, modes.left, modes.right)
    measured = flow(w0, gamma).sol(t).reshape(2, 3)
    np.testing.assert_allclose(predicted[:, :2], measured[:, :2], atol=2e-3)
    np.testing.assert_allclose(modes.right.T @ modes.right, np.eye(2), atol=1e-12)


def test_separated_eigenvalues_keep_the_factorisation():
    w0 = start(3, 1e-6, seed=0)
    gamma = [1.0, 0.3, 0.05, 0.01, 0.001]
    modes = ties.initial_modes(w0, gamma, np.eye(5))
    left, s0 = equivalent_initialization(w0, np.eye(5, 3))
    assert not modes.equal.any()
    assert not modes.integrated.any()
    np.testing.assert_array_equal(modes.s0, s0)
    np.testing.assert_array_equal(modes.left, left)


@pytest.mark.parametrize("scale", [1e-200, 1e-60])
def test_tiny_weights_do_not_underflow(scale):
    modes, tiny = (ties.initial_modes(start(5, s), CLOSE, np.eye(5)) for s in (1e-3, scale))
    assert tiny.equal[2:4].all()
    np.testing.assert_allclose(tiny.s0[2:4] / scale, modes.s0[2:4] / 1e-3, rtol=1e-9)
    # The ratio of the first two columns changes by 1/80 of the exponent until they are learned.
    assert tiny.integrated[:2].all() == (scale > 1e-100)
    assert np.all(np.isfinite(step_times(CLOSE, tiny.s0)))


def test_zero_rows_never_learn_and_start_above_half_is_time_zero():
    times = ties.coupled_step_times([[0.0, 0.0], [1e-3, 1e-3]], [0.5, 0.4])
    assert np.isfinite(times).tolist() == [True, False]
    assert ties.coupled_step_times([[2.0, 0.0], [0.0, 1e-3]], [0.5, 0.4])[0] == 0.0
    assert np.isinf(ties.coupled_step_times(np.zeros((2, 2)), [0.5, 0.4])).all()


def test_a_block_that_costs_too_much_is_split_and_said_so(monkeypatch):
    monkeypatch.setattr(ties, "BUDGET", 2e5)
    gamma = 0.98 ** np.arange(12)
    with pytest.warns(UserWarning, match="12 close eigenvalues are too many to integrate together"):
        modes = ties.initial_modes(start(12, m=12), gamma, np.eye(12))
    assert modes.integrated.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(ties, "BUDGET", 2e10)
        assert ties.initial_modes(start(12, m=12), gamma, np.eye(12)).integrated.all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ties.initial_modes(start(2), [1.0, 0.5], np.eye(5)), "expected .d, m., .K,."),
        (
            lambda: ties.initial_modes(start(2), TIED, np.eye(5), 3),
            "dim is 3; expected from 1 to 2",
        ),
        (lambda: ties.coupled_step_times(np.eye(2), [1.0, 0.0]), "K positive"),
    ],
)
def test_unfit_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
