"""The two-factor law: its closed form is the integral of its rate, and of the two factors."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from theory.growth.two_factor import (
    TwoFactorLaw,
    growth_rate,
    growth_time,
    most_even_cut,
    two_factor_law,
)

LAM = st.floats(1e-9, 1 - 1e-9)
SHARE = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
LAW = st.builds(TwoFactorLaw, imbalance=SHARE, coupling=SHARE).filter(
    lambda law: law.imbalance + law.coupling > 0
)


@given(LAM, SHARE, SHARE)
def test_the_rate_at_that_moment_is_the_sum_of_the_shares(lam, reading, features):
    law = two_factor_law(lam, reading, features)
    np.testing.assert_allclose(growth_rate(law, lam), reading + features, rtol=1e-12)
    assert law == two_factor_law(lam, features, reading)


@given(LAW, LAM, LAM)
def test_the_time_is_the_integral_of_the_inverse_rate(law, start, end):
    def integrand(logit):  # d lambda = lambda (1 - lambda) d logit, where the rises are smooth
        lam = 1 / (1 + np.exp(-logit))
        return (1 - lam) / growth_rate(law, lam)

    low, high = np.log(start) - np.log1p(-start), np.log(end) - np.log1p(-end)
    cuts = np.linspace(low, high, 13)
    pieces = [quad(integrand, a, b, epsrel=1e-11)[0] for a, b in pairwise(cuts)]
    rounding = 1e-14 * (integrand(low) + integrand(high))  # of the logits, up to 20
    np.testing.assert_allclose(
        growth_time(law, start, end), np.sum(pieces), rtol=1e-7, atol=rounding
    )


@given(st.floats(-18.0, -0.7), st.floats(-2.0, 4.0), st.floats(-7.0, 7.0), st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_the_law_solves_the_equations_of_both_factors(log_start, logit_end, log_ratio, rate):
    """An integrator of w and phi, which knows neither delta nor kappa, arrives where it should."""
    lam, end = np.exp(log_start), 1 / (1 + np.exp(-logit_end))
    reading = rate / (1 + np.exp(log_ratio))
    features = rate - reading
    # A = 2 g phi^2 and B = 2 g w^2 with g = 1 - c (w phi)^2, and lambda = c (w phi)^2.
    w, phi = np.sqrt(np.array([features, reading]) / (2 * (1 - lam)))
    c = lam / (w * phi) ** 2

    def flow(_, logs):
        w, phi = np.exp(logs)
        return (1 - c * (w * phi) ** 2) * np.array([phi**2, w**2])

    time = float(growth_time(two_factor_law(lam, reading, features), lam, end))
    found = solve_ivp(flow, (0, time), np.log([w, phi]), method="DOP853", rtol=1e-12, atol=1e-13).y[
        :, -1
    ]
    # An error of 1e-12 at the start moves the end by the growth of the rate, up to 1e4, and the
    # integrator's own steps, some hundred, as much.
    np.testing.assert_allclose(c * np.exp(2 * found.sum()), end, rtol=1e-6)


@given(LAW, LAM, LAM, LAM)
def test_times_add_up_and_turn_round(law, a, b, c):
    found = growth_time(law, a, b) + growth_time(law, b, c)
    whole = growth_time(law, a, c)
    scale = abs(growth_time(law, a, b)) + abs(growth_time(law, b, c))
    assert abs(found - whole) <= 1e-13 * scale
    assert growth_time(law, a, b) == -growth_time(law, b, a)
    assert growth_time(law, a, a) == 0.0


@given(LAW, LAM, st.floats(1e-14, 1e-6))
def test_short_rises_keep_their_digits(law, start, share):
    end = start * (1 - share)
    assume(start - end > 0)
    slope = start * growth_rate(law, start)
    # The rate changes over the rise by less than a few times its relative length.
    near_one = share * start / (1 - start)
    np.testing.assert_allclose(
        growth_time(law, start, end), (end - start) / slope, rtol=3 * (share + near_one) + 1e-13
    )


@given(LAM, LAM, st.floats(1e-3, 1e3), st.sampled_from([1e-150, 1e-30, 1e-16, 1e-9, 0.0]))
def test_without_coupling_the_rise_is_logistic(start, end, delta, tiny):
    kappa = tiny * delta**2
    logits = [np.log(lam) - np.log1p(-lam) for lam in (start, end)]
    expected = (logits[1] - logits[0]) / delta
    size = sum(map(abs, logits)) / delta
    # kappa shortens the time by a relative kappa / (2 delta^2) at most.
    found = growth_time(TwoFactorLaw(delta, kappa), start, end)
    assert abs(found - expected) <= tiny * abs(expected) + 1e-15 * size


@given(LAM, LAM, st.floats(1e-3, 1e3), st.sampled_from([1e-200, 1e-30, 1e-9, 1e-6, 0.0]))
def test_balanced_factors_rise_as_two_layers(start, end, kappa, tiny):
    """Without delta, d lambda / dt = sqrt(kappa) lambda^(3/2) (1 - lambda)."""

    def primitive(lam):
        root = np.sqrt(lam)
        return -2 / root + 2 * np.arctanh(root)

    delta = tiny * np.sqrt(kappa * min(start, end))
    expected = (primitive(end) - primitive(start)) / np.sqrt(kappa)
    size = (abs(primitive(end)) + abs(primitive(start))) / np.sqrt(kappa)
    found = growth_time(TwoFactorLaw(delta, kappa), start, end)
    # arctanh of a root beside 1 magnifies the root's rounding by 1e9 at most.
    assert abs(found - expected) <= tiny**2 * abs(expected) + 1e-7 * size


@given(LAW, LAM)
def test_a_change_of_clock_changes_times_alone(law, start):
    slow = TwoFactorLaw(law.imbalance / 4, law.coupling / 16)
    assert growth_time(slow, start, 0.5) == 4 * growth_time(law, start, 0.5)
    assert growth_rate(slow, start) == growth_rate(law, start) / 4


@given(
    st.floats(1e-12, 1 - 1e-12),
    st.lists(st.floats(1e-300, 1 - 1e-16, exclude_min=True), min_size=2, max_size=2, unique=True),
    st.floats(1e-130, 1e130),
    st.floats(1e-130, 1e130),
)
def test_extreme_scales_give_ordered_numbers(lam, ends, reading, features):
    assume(ends[1] < 1)
    law = two_factor_law(lam, reading, features)
    low, high = sorted(ends)
    times = growth_time(law, lam, [low, high])
    assert np.isfinite(times).all()
    assert times[0] <= times[1]
    assert (np.sign(times) == np.sign([low - lam, high - lam])).all()


@given(LAW, LAM)
def test_the_ends_are_left_and_approached_for_ever(law, start):
    ends = np.array([1e-300, 1e-200, 1e-100, 1 - 1e-10, 1 - 1e-13, 1 - 1e-16])
    times = growth_time(law, start, ends)
    assert (np.diff(times) > 0).all()
    assert growth_rate(law, 0.0) == law.imbalance
    assert growth_rate(law, 1.0) == 0.0
    # Near 1 the rest decays exponentially, at the rate R.
    decay = np.hypot(law.imbalance, np.sqrt(law.coupling))
    np.testing.assert_allclose(times[4] - times[3], np.log(1e3) / decay, rtol=1e-3)


@given(shares=st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_no_other_cut_has_a_greater_product(shares):
    early, late, cut = most_even_cut(shares)
    assert np.isclose(early + late, sum(shares), rtol=1e-12)
    for place in range(len(shares)):
        product = sum(shares[:place]) * sum(shares[place:])
        assert product <= early * late * (1 + 1e-12)
    assert np.isclose(sum(shares[:cut]), early, rtol=1e-12)
