"""What the preconditioned predictions promise for every input."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from theory.linear import closed_form as cf
from theory.linear import preconditioned as pre

magnitudes = st.floats(-3.0, 1.0).map(lambda e: 10.0**e)
log_lams = st.floats(-14.0, -0.4)
powers = st.floats(0.0, 2.0)
ridges = st.floats(-6.0, 1.0).map(lambda e: 10.0**e)


@given(magnitudes, log_lams, powers, ridges)
def test_embedding_side_is_bracketed_by_the_extremes_of_its_factor(gamma, log_lam, p, rho):
    """(lambda + rho)^p lies between its values at lambda(0) and at 1/2."""
    lam0 = 10.0**log_lam
    s0 = [np.sqrt(lam0 / gamma)]
    plain = cf.step_times([gamma], s0)[0]
    found = pre.embedding_side_step_times([gamma], s0, p, rho)[0]
    assert (lam0 + rho) ** p * plain * (1 - 1e-9) <= found <= (0.5 + rho) ** p * plain * (1 + 1e-9)


@given(magnitudes, log_lams, powers, ridges, magnitudes)
def test_embedding_side_keeps_one_over_gamma(gamma, log_lam, p, rho, c):
    lam0 = 10.0**log_lam
    here = pre.embedding_side_step_times([gamma], [np.sqrt(lam0 / gamma)], p, rho)[0]
    there = pre.embedding_side_step_times([gamma / c], [np.sqrt(lam0 * c / gamma)], p, rho)[0]
    np.testing.assert_allclose(there, c * here, rtol=1e-8)


@given(magnitudes, log_lams, powers, ridges, st.floats(0.1, 0.8), st.floats(0.0, 0.19))
def test_embedding_side_is_monotone(gamma, log_lam, p, rho, level, more):
    s0 = np.sqrt(10.0**log_lam / gamma)
    low, high = pre.embedding_side_level_times([level, level + more], [gamma], [s0], p, rho)[:, 0]
    assert low <= high * (1 + 1e-9)
    early = pre.embedding_side_level_times(level, [gamma], [2.0 * s0], p, rho)[0]
    assert early <= low * (1 + 1e-9)
    damped = pre.embedding_side_level_times(level, [gamma], [s0], p, 2.0 * rho)[0]
    assert damped >= low * (1 - 1e-9)


@given(st.lists(magnitudes, min_size=2, max_size=5), st.floats(0.0, 0.99), ridges)
def test_input_side_keeps_order_and_evens_out_rates(gamma, q, delta):
    gamma = np.sort(gamma)[::-1]
    rates = pre.input_side_rates(gamma, q, delta)
    assert np.all(np.diff(rates) <= 1e-14 * rates[:-1])
    assert rates[0] / rates[-1] <= gamma[0] / gamma[-1] * (1 + 1e-12)
    np.testing.assert_allclose(pre.input_side_rates(-gamma, q, delta), -rates)


@given(magnitudes, log_lams, st.floats(0.0, 2.0), ridges, st.booleans(), st.floats(0.0, 50.0))
def test_input_side_is_a_logistic_curve_with_the_same_start(gamma, log_lam, q, delta, pinv, t):
    lam0, options = 10.0**log_lam, {"pseudo_inverse": pinv, "aligned": True}
    s0 = [np.sqrt(lam0 / gamma)]
    rate = pre.input_side_rates([gamma], q, delta, **options)[0]
    found = pre.input_side_curves(t, [gamma], s0, q, delta, **options)[0]
    expected = 1.0 / (1.0 + (1.0 / lam0 - 1.0) * np.exp(-min(8.0 * rate * t, 700.0)))
    np.testing.assert_allclose(found, expected, rtol=1e-12 * (1.0 + min(8.0 * rate * t, 700.0)))
    tau = pre.input_side_step_times([gamma], s0, q, delta, **options)[0]
    if rate == 0:
        assert tau == np.inf
    else:
        np.testing.assert_allclose(tau, np.log(1.0 / lam0 - 1.0) / (8.0 * rate), rtol=1e-9)


@given(magnitudes, log_lams, powers, ridges, st.floats(0.0, 0.99), ridges, st.floats(0.05, 0.95))
def test_curves_of_both_sides_are_the_inverse_of_their_times(gamma, log_lam, p, rho, q, d, level):
    s0 = [np.sqrt(10.0**log_lam / gamma)]
    tau = pre.two_sided_level_times(level, [gamma], s0, (p, rho), (q, d))
    curve = pre.two_sided_curves(tau[0], [gamma], s0, (p, rho), (q, d))[0]
    np.testing.assert_allclose(curve, max(level, 10.0**log_lam), rtol=1e-6)
    # Dividing by a rate that is the same for a mode only changes its clock.
    rate = pre.input_side_rates([gamma], q, d)[0]
    one = pre.embedding_side_level_times(level, [gamma], s0, p, rho)
    np.testing.assert_allclose(tau * rate, one * gamma, rtol=1e-9)


@given(
    st.lists(st.tuples(magnitudes, log_lams), min_size=2, max_size=4),
    powers,
    ridges,
    st.randoms(use_true_random=False),
)
def test_order_of_modes_does_not_matter(pairs, p, rho, random):
    gamma = np.array([g for g, _ in pairs])
    s0 = np.sqrt(10.0 ** np.array([e for _, e in pairs]) / gamma)
    order = list(range(len(gamma)))
    random.shuffle(order)
    # Where a mode stands, its logarithms, below 100, may be rounded another way.
    tolerance = {"rtol": rounding(float, 100), "atol": rounding(float, 100) / gamma.min()}
    here = pre.embedding_side_step_times(gamma, s0, p, rho)
    there = pre.embedding_side_step_times(gamma[order], s0[order], p, rho)
    np.testing.assert_allclose(here[order], there, **tolerance)
    here = pre.input_side_step_times(gamma, s0, p / 2.1, rho)
    there = pre.input_side_step_times(gamma[order], s0[order], p / 2.1, rho)
    np.testing.assert_allclose(here[order], there, **tolerance)
