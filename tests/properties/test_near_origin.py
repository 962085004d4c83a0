"""What is always true of operators near the origin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.losses.near_origin import (
    amplitude_times,
    barlow_twins_operator,
    growth,
    growth_modes,
    lejepa_operator,
    simclr_operator,
)
from theory.losses.vicreg import vicreg_operator, vicreg_valid_until

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(2, 9), st.integers(1, 6))
OPERATORS = (
    barlow_twins_operator,
    lambda x, x_prime: simclr_operator(x, x_prime, 0.5),
    lambda x, x_prime: vicreg_operator(x, x_prime, dim=2, mu=1.0, lam=0.01),
    lambda x, x_prime: lejepa_operator(x, x_prime, dim=2, lam=0.3, batch=4),
)


def draw(seed, size):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=size), rng.normal(size=size)


@given(seeds, sizes, st.sampled_from(OPERATORS))
def test_operators_are_symmetric_and_do_not_know_which_view_is_first(seed, size, operator):
    _, x, x_prime = draw(seed, size)
    found = operator(x, x_prime)
    assert np.allclose(found, found.T, rtol=0, atol=1e-13 * np.abs(found).max())
    swapped = operator(x_prime, x)
    assert np.allclose(found, swapped, rtol=0, atol=1e-13 * np.abs(found).max())


@given(seeds, sizes, st.sampled_from(OPERATORS))
def test_operators_turn_with_the_inputs(seed, size, operator):
    rng, x, x_prime = draw(seed, size)
    turn = np.linalg.qr(rng.normal(size=(size[1], size[1])))[0]
    found = operator(x @ turn, x_prime @ turn)
    expected = turn.T @ operator(x, x_prime) @ turn
    assert np.allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max() + 1e-14)


@given(seeds, sizes)
def test_simclr_and_vicreg_ignore_a_common_shift(seed, size):
    rng, x, x_prime = draw(seed, size)
    shift = rng.normal(size=size[1])
    for operator in OPERATORS[1:3]:
        found, expected = operator(x + shift, x_prime + shift), operator(x, x_prime)
        assert np.allclose(found, expected, rtol=0, atol=1e-12 * (1 + np.abs(expected).max()))


@given(seeds, st.integers(1, 5), st.floats(0, 2), st.floats(0, 2))
def test_growth_composes_in_time(seed, m, first, second):
    rng = np.random.default_rng(seed)
    cm = rng.normal(size=(m, m))
    cm, w0 = cm + cm.T, rng.normal(size=(2, m))
    whole = growth(cm, w0, first + second)
    parts = growth(cm, growth(cm, w0, first), second)
    # Rounding of the eigenvectors is amplified by the fastest growth at most.
    bound = 1e-12 * np.abs(w0).max() * np.exp(2 * np.linalg.norm(cm, 2) * (first + second))
    assert np.abs(whole - parts).max() <= bound


@given(seeds, st.integers(1, 6))
def test_growth_modes_are_eigenpairs_in_descending_order(seed, m):
    cm = np.random.default_rng(seed).normal(size=(m, m))
    cm = cm + cm.T
    modes = growth_modes(cm, m)
    assert np.all(np.diff(modes.rates) <= 0)
    assert np.allclose(2 * cm @ modes.basis, modes.basis * modes.rates, atol=1e-12 * m * 10)


@given(seeds, st.floats(1e-9, 1e-3), st.floats(1e-2, 1e3))
def test_amplitude_times_scale_with_the_rate(seed, s0, factor):
    rates = np.random.default_rng(seed).uniform(0.1, 2, size=3)
    times = amplitude_times(rates, np.full(3, s0), 0.1)
    assert np.allclose(amplitude_times(factor * rates, np.full(3, s0), 0.1), times / factor)
    assert np.array_equal(np.argsort(times), np.argsort(-rates))


@given(seeds, st.floats(1e-8, 1e-5), st.floats(0.01, 1.0))
def test_a_smaller_start_or_a_larger_fraction_stays_valid_longer(seed, size, fraction):
    rng, x, x_prime = draw(seed, (6, 3))
    operator = vicreg_operator(x, x_prime, dim=2, mu=1.0, lam=0.01)
    w0 = size * rng.normal(size=(2, 3))
    until = vicreg_valid_until(operator, w0, x, x_prime, fraction=fraction)
    assert until <= vicreg_valid_until(operator, w0 / 2, x, x_prime, fraction=fraction)
    assert until <= vicreg_valid_until(operator, w0, x, x_prime, fraction=2 * fraction)
