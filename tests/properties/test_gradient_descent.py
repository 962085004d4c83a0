"""What the descent predictions promise for every input."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.linear import closed_form as cf
from theory.linear import gradient_descent

magnitudes = st.floats(-3.0, 1.0).map(lambda e: 10.0**e)
rates = st.floats(-5.0, -0.01).map(lambda e: 10.0**e)  # h = 4 eta gamma
log_lams = st.floats(-30.0, -0.4)


@settings(max_examples=30)
@given(magnitudes, st.floats(-3.0, -0.01), log_lams)
def test_crossing_lies_between_the_iterations_around_it(gamma, log_h, log_lam):
    s0, eta = np.sqrt(10.0**log_lam / gamma), 10.0**log_h / (4.0 * gamma)
    n = gradient_descent.descent_step_iterations([gamma], [s0], eta)[0]
    if n > 20_000:
        return
    # The smooth count is off the interpolated one by 0.1 h^2 iterations at most.
    slack = 1e-5
    before, after = max(int(np.floor(n - slack)), 0), int(np.ceil(n + slack))
    s = gradient_descent.descent_singular_values([before, after], [gamma], [s0], eta)[:, 0]
    assert gamma * s[0] ** 2 <= 0.5 <= gamma * s[1] ** 2


@given(magnitudes, rates, log_lams, st.floats(-2.0, 2.0))
def test_only_the_product_of_rate_and_eigenvalue_counts(gamma, h, log_lam, log_c):
    c, s0, eta = 10.0**log_c, np.sqrt(10.0**log_lam / gamma), h / (4.0 * gamma)
    here = gradient_descent.descent_step_iterations([gamma], [s0], eta)[0]
    there = gradient_descent.descent_step_iterations([gamma / c], [s0 * np.sqrt(c)], eta * c)[0]
    # Rounding of log(lambda0), 1e-14, counts 1 / (2h) iterations; the switch of method up to 1e-6.
    assert abs(here - there) <= 1e-12 * here + 1e-13 / h + 2e-6
    iterations = [0, 3, 20]
    one = gradient_descent.descent_singular_values(iterations, [gamma], [s0], eta)
    two = gradient_descent.descent_singular_values(
        iterations, [gamma / c], [s0 * np.sqrt(c)], eta * c
    )
    np.testing.assert_allclose(two, one * np.sqrt(c), rtol=1e-11)


@given(magnitudes, rates, log_lams, st.floats(0.0, 5.0))
def test_monotone_in_start_and_rate(gamma, h, log_lam, gain):
    s0, eta = np.sqrt(10.0**log_lam / gamma), h / (4.0 * gamma)
    count = gradient_descent.descent_step_iterations([gamma], [s0], eta)[0]
    higher = gradient_descent.descent_step_iterations([gamma], [s0 * 10**gain], eta)[0]
    faster = gradient_descent.descent_step_iterations([gamma], [s0], eta * 2.0)[0]
    slack = 1e-6 + 1e-9 * count
    assert 0.0 <= higher <= count + slack
    assert 0.0 <= faster <= count + slack


@given(magnitudes, rates, log_lams)
def test_descent_lags_the_flow_by_less_than_the_bound(gamma, h, log_lam):
    """Log(1 + h (1 - lambda)) lies between h (1 - lambda) / (1 + h) and h (1 - lambda)."""
    s0, eta = np.sqrt(10.0**log_lam / gamma), h / (4.0 * gamma)
    exact = gradient_descent.descent_step_iterations([gamma], [s0], eta)[0]
    flow = cf.step_times([gamma], [s0])[0] / eta
    # Within a step the flow saturates and descent does not: allow for one iteration.
    assert flow - 1.0 - 1e-9 * flow <= exact <= flow * (1.0 + h) + 1.0


@given(
    st.lists(st.tuples(magnitudes, rates), min_size=2, max_size=5),
    st.randoms(use_true_random=False),
)
def test_order_of_modes_does_not_matter(pairs, random):
    gamma, s0 = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    order = list(range(len(gamma)))
    random.shuffle(order)
    eta = 0.5 * gradient_descent.stable_learning_rate(gamma)
    here = gradient_descent.descent_step_iterations(gamma, s0, eta)
    there = gradient_descent.descent_step_iterations(gamma[order], s0[order], eta)
    np.testing.assert_allclose(here[order], there, rtol=1e-14)
    numbers = [5, 0, 2]
    curves = gradient_descent.descent_singular_values(
        numbers, gamma, s0, eta, momentum=0.5, penalty=0.1
    )
    turned = gradient_descent.descent_singular_values(
        numbers[::-1], gamma[order], s0[order], eta, momentum=0.5, penalty=0.1
    )
    np.testing.assert_allclose(turned, curves[::-1][:, order], rtol=1e-14)


@given(st.lists(magnitudes, min_size=1, max_size=5), st.lists(magnitudes, max_size=3))
def test_stable_rate_is_the_least_of_its_modes(positive, negative):
    gamma = np.array(positive + [-g for g in negative])
    bound = gradient_descent.stable_learning_rate(gamma)
    limits = [1 / (4 * g) for g in positive] + [1 / (2 * g) for g in negative]
    np.testing.assert_allclose(bound, min(limits), rtol=1e-14)
    # Close to its end, no mode leaves it below the bound: 1 for positive ones, 0 for the others.
    start = np.where(gamma > 0, 0.95, 0.01) / np.sqrt(np.abs(gamma))
    s = gradient_descent.descent_singular_values([400], gamma, start, 0.9 * bound)[0]
    assert np.all(np.abs(gamma * s**2 - (gamma > 0)) <= 0.1)
