"""What the heavy ball predictions promise for every input."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.linear import gradient_descent, momentum

magnitudes = st.floats(-3.0, 1.0).map(lambda e: 10.0**e)
coefficients = st.floats(0.0, 0.95)


@given(magnitudes, st.floats(-6.0, 1.0), coefficients)
def test_growth_root_solves_its_equation(gamma, log_eta, mu):
    eta = 10.0**log_eta
    r = momentum.growth_root([gamma, -gamma, 0.0], eta, mu)
    h = 4.0 * eta * gamma
    assert abs(r[0] ** 2 - (1 + mu + h) * r[0] + mu) <= 1e-13 * r[0] ** 2
    # At least as fast as descent without momentum, and a decaying mode never outgrows rest.
    assert r[0] >= 1.0 + h - 1e-13 * r[0]
    assert r[2] == 1.0
    if h < 2.0 * (1.0 + mu):
        assert r[1] <= 1.0 + 1e-12


@settings(max_examples=30)
@given(magnitudes, st.floats(-2.0, -0.2), st.floats(-30.0, -0.4), coefficients)
def test_crossing_lies_between_the_iterations_around_it(gamma, log_h, log_lam, mu):
    s0, eta = np.sqrt(10.0**log_lam / gamma), 10.0**log_h / (4.0 * gamma)
    n = momentum.momentum_step_iterations([gamma], [s0], eta, mu)[0]
    before, after = max(int(np.floor(n - 1e-6)), 0), int(np.ceil(n + 1e-6))
    s = gradient_descent.descent_singular_values([before, after], [gamma], [s0], eta, momentum=mu)[
        :, 0
    ]
    assert gamma * s[0] ** 2 <= 0.5 * (1 + 1e-9)
    assert gamma * s[1] ** 2 >= 0.5 * (1 - 1e-9)


@settings(max_examples=30)
@given(magnitudes, st.floats(-7.0, -0.2), st.floats(-12.0, -0.4), coefficients)
def test_momentum_is_never_slower(gamma, log_h, log_lam, mu):
    s0, eta = np.sqrt(10.0**log_lam / gamma), 10.0**log_h / (4.0 * gamma)
    plain = momentum.momentum_step_iterations([gamma], [s0], eta, 0.0)[0]
    pushed = momentum.momentum_step_iterations([gamma], [s0], eta, mu)[0]
    assert pushed <= plain * (1 + 1e-7) + 1e-3
    # No faster than the flow, but for the iteration of the crossing.
    assert pushed >= plain * (1.0 - mu) / (1.0 + 10.0**log_h) - 1.0


@given(magnitudes, st.floats(-5.0, -0.2), st.floats(-12.0, -0.4), st.floats(0.0, 0.9))
def test_only_the_product_of_rate_and_eigenvalue_counts(gamma, log_h, log_lam, mu):
    s0, eta = np.sqrt(10.0**log_lam / gamma), 10.0**log_h / (4.0 * gamma)
    here = momentum.momentum_step_iterations([gamma], [s0], eta, mu)[0]
    there = momentum.momentum_step_iterations([gamma / 8], [s0 * np.sqrt(8)], eta * 8, mu)[0]
    assert abs(here - there) <= 1e-7 * here + 1e-5


@given(st.lists(magnitudes, min_size=1, max_size=4), coefficients)
def test_momentum_widens_the_stable_range(gamma, mu):
    bound = momentum.stable_learning_rate(gamma, mu)
    np.testing.assert_allclose(
        bound, (1.0 + mu) * gradient_descent.stable_learning_rate(gamma), rtol=1e-14
    )
    # The roots at convergence are inside the unit circle just below, outside just above.
    for factor, inside in ((0.999, True), (1.001, False)):
        h = 4.0 * factor * bound * max(gamma)
        largest = np.abs(np.roots([1.0, -(1.0 + mu - 2.0 * h), mu])).max()
        assert (largest < 1.0) == inside
