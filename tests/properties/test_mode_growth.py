"""Laws of growing modes: limits, inverses, and how times add up and scale."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.growth import factors, two_factor
from theory.growth.lag import flow_lagged_rate, gradient_rate, lagged_rate, momentum_mass
from theory.growth.standard_deviation import standard_deviation_curve, standard_deviation_time

LAM = st.floats(1e-9, 0.95)
SHARE = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
SHARES = st.lists(SHARE, min_size=1, max_size=6).filter(lambda shares: sum(shares) > 0)
RATE = st.floats(1e-9, 1e6)
ETA = st.floats(1e-7, 10.0)
MU = st.one_of(st.just(0.0), st.floats(0.01, 0.999))


def line(lam):
    return 1 - lam


@given(LAM, LAM, SHARE, SHARE)
def test_two_factors_are_the_two_factor_law(start, end, late, early):
    start, end = sorted((start, end))
    law = two_factor.two_factor_law(start, late, early)
    expected = two_factor.growth_time(law, start, end)
    found = factors.growth_time([late, early], line, start, end)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(
        factors.growth_rate([late, early], line, start, end),
        two_factor.growth_rate(law, end),
        rtol=1e-9,
    )


@given(LAM, LAM, st.floats(1e-3, 1e3))
def test_one_factor_is_logistic(start, end, share):
    start, end = sorted((start, end))
    logits = [np.log(lam / (1 - lam)) for lam in (start, end)]
    expected = (logits[1] - logits[0]) * (1 - start) / share
    size = sum(map(abs, logits)) * (1 - start) / share
    found = factors.growth_time([share], line, start, end)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-14 * size)


@given(SHARES, LAM, LAM)
def test_factors_without_a_share_and_their_order_change_nothing(shares, start, end):
    start, end = sorted((start, end))
    found = factors.growth_time(shares, line, start, end)
    other = factors.growth_time([*shares[::-1], 0.0], line, start, end)
    np.testing.assert_allclose(other, found, rtol=1e-10)


@given(SHARES, LAM, LAM)
def test_the_unit_of_the_pull_does_not_matter_and_a_change_of_clock_scales_times(
    shares, start, end
):
    start, end = sorted((start, end))
    found = factors.growth_time(shares, line, start, end)
    assert factors.growth_time(shares, lambda lam: 4 * line(lam), start, end) == found
    slow = factors.growth_time(np.array(shares) / 4, line, start, end)
    np.testing.assert_allclose(slow, 4 * found, rtol=1e-12)


@given(SHARES, st.floats(1e-6, 0.3), st.floats(1.01, 3.0))
def test_more_equal_factors_of_one_rate_grow_sooner(shares, start, growth):
    """Adaptation is least with one factor, and most with equal ones."""
    rate = sum(shares)
    alone = factors.growth_time([rate], line, start, growth * start)
    found = factors.growth_time(shares, line, start, growth * start)
    even = np.full(len(shares), rate / len(shares))
    equal = factors.growth_time(even, line, start, growth * start)
    assert equal <= found * (1 + 1e-9)
    assert found <= alone * (1 + 1e-9)


@given(SHARES, st.floats(1e-6, 0.3), st.floats(1.01, 1.5), st.floats(1e-2, 1e3))
def test_room_that_is_limited_makes_rises_later_and_wide_room_changes_nothing(
    shares, start, growth, room
):
    end = growth * start
    free = factors.growth_time(shares, line, start, end)
    rooms = np.full(len(shares), room)
    assert factors.growth_time(shares, line, start, end, rooms=rooms) >= free * (1 - 1e-9)
    wide = factors.growth_time(shares, line, start, end, rooms=rooms * 1e12)
    np.testing.assert_allclose(wide, free, rtol=1e-8)


@given(RATE, ETA, MU)
def test_the_lag_is_a_root_of_the_updates_and_can_be_undone(rate, eta, mu):
    found = float(lagged_rate(rate, eta, mu))
    assert 0 < found <= rate * (1 + 1e-12)
    small = np.expm1(found * eta / (2 * (1 - mu)))
    # x^2 - (1 + mu + h) x + mu with x = 1 + y is y^2 + (1 - mu - h) y - h.
    half = eta * rate / 2
    np.testing.assert_allclose(small**2 + (1 - mu) * small, half * (1 + small), rtol=1e-9)
    np.testing.assert_allclose(gradient_rate(found, eta, mu), rate, rtol=1e-9)


@given(RATE, ETA)
def test_without_momentum_the_lag_is_that_of_plain_descent(rate, eta):
    np.testing.assert_allclose(
        lagged_rate(rate, eta, 0.0), 2 * np.log1p(eta * rate / 2) / eta, rtol=1e-12
    )
    assert momentum_mass(eta, 0.0) == 0.0


@given(RATE, st.floats(0.0, 1e3))
def test_the_flow_with_mass_lags_from_nothing_to_a_square_root(rate, mass):
    found = float(flow_lagged_rate(rate, mass))
    assert 0 < found <= rate
    # r + m r^2 / 2 = rho
    np.testing.assert_allclose(found + mass * found**2 / 2, rate, rtol=1e-10)


@given(st.floats(1e-6, 1.0), st.floats(1.0, 1e5), SHARE, SHARE.filter(bool))
def test_a_standard_deviation_is_where_its_time_says(sigma, growth, late, early):
    time = float(standard_deviation_time(sigma, growth * sigma, late, early))
    assert time >= 0
    np.testing.assert_allclose(
        standard_deviation_curve(time, sigma, late, early), growth * sigma, rtol=1e-8
    )
