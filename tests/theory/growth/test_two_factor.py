"""The two-factor law against derivation, a linear network and a literal quadrature; its errors."""

import numpy as np
import pytest
import sympy

from theory.growth.two_factor import (
    TwoFactorLaw,
    growth_rate,
    growth_time,
    most_even_cut,
    two_factor_law,
)


def test_the_law_follows_from_two_factors():
    """The squared rate over g^2 is the conserved difference squared and a part in lambda."""
    w, phi, g, c = sympy.symbols("w phi g c", positive=True)
    reading, features, lam = 2 * g * phi**2, 2 * g * w**2, c * w**2 * phi**2
    dw, dphi = g * w * phi**2, g * w**2 * phi
    assert sympy.simplify(2 * (dw / w + dphi / phi) - (reading + features)) == 0
    assert sympy.expand(phi * dphi - w * dw) == 0  # phi^2 - w^2 is conserved
    delta, kappa = (reading - features) / g, 4 * reading * features / (g**2 * lam)
    assert not kappa.simplify().has(w, phi)  # a constant, while w and phi move
    assert sympy.expand((reading + features) ** 2 - g**2 * (delta**2 + kappa * lam)) == 0


def test_the_antiderivative_is_derived():
    """In y, in which d lambda / (lambda (1 - lambda) y) is rational."""
    y, delta, top, kappa = sympy.symbols("y delta R kappa", positive=True)
    lam = (y**2 - delta**2) / kappa
    found = sympy.log((y - delta) / (y + delta)) / delta
    found += sympy.log((top + y) / (top - y)) / top
    expected = sympy.diff(lam, y) / (lam * (1 - lam) * y)
    difference = (sympy.diff(found, y) - expected).subs(kappa, top**2 - delta**2)
    assert sympy.simplify(difference) == 0
    # Each logarithm is twice an atanh, and their differences are the code's asinh.
    law = TwoFactorLaw(imbalance=0.7, coupling=5.0)
    numbers = {delta: 0.7, top: np.sqrt(0.49 + 5.0)}
    low, high = (found.subs({**numbers, y: np.sqrt(0.49 + 5 * at)}) for at in (0.01, 0.6))
    np.testing.assert_allclose(growth_time(law, 0.01, 0.6), float(high - low), rtol=1e-12)


@pytest.mark.parametrize("ratio", [1e-3, 0.1, 1.0, 30.0])
def test_a_two_layer_linear_network_follows_it(ratio):
    """Two modes, aligned with the data and each as unbalanced as may be, by small descent steps."""
    gamma = np.array([0.5, 0.3])
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    moment = rotation[:, :2] @ np.diag(gamma) @ rotation[:, :2].T  # Gamma, in R^3
    sizes = 0.05 * np.array([1.0, 0.9])
    second = np.diag(sizes / np.sqrt(ratio))
    first = np.diag(sizes * np.sqrt(ratio)) @ rotation[:, :2].T
    lam = gamma * sizes**4
    # Of L = ||C - 1||^2, C = W Gamma W^T: d ln(lambda) = 8 gamma (1 - lambda) (w1^2 + w2^2) dt.
    rest = 8 * gamma * (1 - lam)
    laws = [
        two_factor_law(one, reading, features)
        for one, reading, features in zip(
            lam, rest * sizes**2 * ratio, rest * sizes**2 / ratio, strict=True
        )
    ]
    count = 4000
    step = (
        1.2 * max(float(growth_time(*given, 0.5)) for given in zip(laws, lam, strict=True)) / count
    )

    def slope(first, second):
        w = second @ first
        pull = 4 * (w @ moment @ w.T - np.eye(2)) @ w @ moment
        return -second.T @ pull, -pull @ first.T

    history = []
    for _ in range(count):
        history.append(np.diagonal(second @ first @ moment @ first.T @ second.T))
        # Midpoint rule: an error of second order in the step.
        one, other = slope(first, second)
        one, other = slope(first + step / 2 * one, second + step / 2 * other)
        first, second = first + step * one, second + step * other
    curves, times = np.array(history), step * np.arange(count)
    for mode, law in enumerate(laws):
        for level in (1e-4, 1e-2, 0.5, 0.9):
            index = int(np.argmax(curves[:, mode] >= level))
            now = float(curves[index, mode])
            expected = float(growth_time(law, lam[mode], now))
            assert abs(times[index] - expected) < 2e-3 * expected + step * 1e-2


def test_the_rate_starts_as_a_line_and_goes_on_as_a_root():
    law = TwoFactorLaw(imbalance=1.0, coupling=1e4)
    slope = (growth_rate(law, 1e-8) - growth_rate(law, 0.0)) / 1e-8
    np.testing.assert_allclose(slope, 1e4 / 2 - 1, rtol=1e-4)
    np.testing.assert_allclose(growth_rate(law, 0.1), 0.9 * np.sqrt(1e3), rtol=1e-3)


def test_a_law_that_stands_still_takes_for_ever():
    law = two_factor_law(0.1, 0.0, 0.0)
    assert law == TwoFactorLaw(0.0, 0.0)
    found = growth_time(law, 0.1, [0.05, 0.1, 0.5])
    assert found.tolist() == [-np.inf, 0.0, np.inf]
    assert float(growth_rate(law, 0.1)) == 0.0


def test_shapes_are_those_of_the_ends():
    law = TwoFactorLaw(1.0, 2.0)
    assert growth_time(law, 0.1, np.full((2, 3), 0.5)).shape == (2, 3)
    assert growth_time(law, 0.1, 0.5).shape == growth_rate(law, 0.5).shape == ()
    assert growth_time(law, 0.1, []).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_factor_law(0.0, 1, 1), "lam is 0.0; expected a number between 0 and 1"),
        (lambda: two_factor_law(1.0, 1, 1), "lam is 1.0; expected"),
        (lambda: two_factor_law(np.nan, 1, 1), "lam is nan; expected"),
        (lambda: two_factor_law(0.5, -1, 1), "late is -1; expected a finite share"),
        (lambda: two_factor_law(0.5, 1, np.inf), "early is inf; expected a finite share"),
        (lambda: growth_time(TwoFactorLaw(1, 1), 0.0, 0.5), "start is 0.0; expected a number"),
        (lambda: growth_time(TwoFactorLaw(1, 1), 0.1, [0.5, 1.0]), "end is 1.0; expected a"),
        (lambda: growth_rate(TwoFactorLaw(1, 1), [0.5, 1.5]), "lam goes from 0.5 to 1.5; expected"),
        (lambda: growth_rate(TwoFactorLaw(1, 1), -0.1), "lam goes from -0.1 to -0.1; expected"),
    ],
)
def test_what_is_no_eigenvalue_or_share_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([3.0], (0.0, 3.0, 0)),
        ([1.0, 1.0, 1.0, 1.0], (2.0, 2.0, 2)),
        ([5.0, 1.0, 1.0], (5.0, 2.0, 1)),
        ([-1.0, 2.0, 3.0], (2.0, 3.0, 2)),
        ([0.0, 0.0], (0.0, 0.0, 0)),
    ],
)
def test_planted_cuts(shares, expected):
    assert most_even_cut(shares) == expected


def test_no_shares_have_no_cut():
    with pytest.raises(ValueError, match="shares is empty; expected"):
        most_even_cut([])
    with pytest.raises(ValueError, match="shares holds 1 NaN"):
        most_even_cut([1.0, float("nan")])
