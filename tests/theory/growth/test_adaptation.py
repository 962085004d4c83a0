"""Adaptation of vectors of factors: derivation, a wide two-layer network, and its inverse."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from theory.growth.adaptation import adaptation_of, factors_with
from theory.growth.factors import growth_rate, growth_time
from theory.growth.two_factor import growth_time as two_factor_time
from theory.growth.two_factor import two_factor_law


def test_the_coupling_of_two_vectors_is_that_of_their_overlap():
    """The squared rate over g^2, less 16 lambda, is conserved by the flow of both vectors."""
    w, phi = sympy.Matrix(sympy.symbols("w:3")), sympy.Matrix(sympy.symbols("phi:3"))
    g = sympy.symbols("g", positive=True)
    amplitude = w.dot(phi)
    flow = [*(g * amplitude * phi), *(g * amplitude * w)]

    def change(value):
        places = [*w, *phi]
        return sum(sympy.diff(value, at) * speed for at, speed in zip(places, flow, strict=True))

    rate = sympy.expand(change(amplitude) * 2 / amplitude)
    assert sympy.simplify(rate - 2 * g * (w.dot(w) + phi.dot(phi))) == 0
    assert sympy.simplify(change((rate / g) ** 2 - 16 * amplitude**2)) == 0
    # beta = d ln(rate / g) / d ln(lambda) = kappa lambda / (2 rate^2) with kappa = 16 g^2
    beta = change(sympy.log(rate)) / change(sympy.log(amplitude**2))
    assert sympy.simplify(beta - 16 * g**2 * amplitude**2 / (2 * rate**2)) == 0


def test_a_wide_random_start_rises_by_its_adaptation_and_not_by_its_shares():
    """Two layers of 200 units: shares are even, and yet features hardly adapt at first."""
    generator = np.random.default_rng(0)
    w, phi = 0.1 * generator.standard_normal((2, 200))
    phi *= np.sign(w @ phi)
    lam = float(w @ phi) ** 2
    late, early = 2 * (1 - lam) * (phi @ phi), 2 * (1 - lam) * (w @ w)

    def flow(_, state):
        w, phi = state[:200], state[200:]
        force = (1 - (w @ phi) ** 2) * (w @ phi)
        return np.concatenate([force * phi, force * w])

    def half(_, state):
        return (state[:200] @ state[200:]) ** 2 - 0.5

    half.terminal = True
    measured = solve_ivp(
        flow, (0, 50), np.concatenate([w, phi]), events=half, rtol=1e-10, atol=1e-12
    ).t[-1]
    rate = late + early
    beta = 16 * (1 - lam) ** 2 * lam / (2 * rate**2)
    shares, rooms = factors_with(rate, beta)
    told = growth_time(shares, lambda at: 1 - at, lam, 0.5, rooms=rooms)
    assert float(told) == pytest.approx(measured, rel=1e-6)
    by_shares = float(two_factor_time(two_factor_law(lam, late, early), lam, 0.5))
    assert by_shares < 0.8 * measured


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.4999, 0.5, 0.51, 2 / 3, 0.7, 0.9, 0.95])
def test_factors_have_the_rate_and_the_adaptation_asked(beta):
    shares, rooms = factors_with(3.0, beta)
    assert shares.sum() == pytest.approx(3.0, rel=1e-12)
    assert np.isinf(rooms).all()
    assert adaptation_of(shares) == pytest.approx(beta, abs=1e-9)
    assert len(shares) == (1 if beta == 0 else max(int(np.ceil(1 / (1 - beta) - 1e-9)), 2))


@pytest.mark.parametrize("beta", [-0.7, -0.01, 0.2, 0.6])
def test_the_rate_changes_as_the_adaptation_says(beta):
    shares, rooms = factors_with(2.0, beta)
    rate = float(growth_rate(shares, np.ones_like, 0.1, 0.1 * np.exp(1e-5), rooms))
    assert np.log(rate / 2.0) / 1e-5 == pytest.approx(beta, rel=1e-3)


def test_more_than_twenty_factors_are_twenty():
    assert len(factors_with(1.0, 0.999)[0]) == 20
    assert adaptation_of(factors_with(1.0, 3.0)[0]) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factors_with(-1.0, 0.5), "rate is -1.0"),
        (lambda: factors_with(1.0, np.nan), "adaptation is nan; expected a finite number"),
        (lambda: adaptation_of([0.0]), r"shares is \[0.0\]; expected numbers from 0"),
        (lambda: adaptation_of([1.0, -1.0]), "shares is"),
    ],
)
def test_what_is_no_rate_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
