"""VICReg's rise against its derivation, the law of factors and the loss itself."""

import numpy as np
import pytest
import sympy

from theory.growth.factors import growth_time
from theory.growth.standard_deviation import standard_deviation_curve, standard_deviation_time


def test_the_curve_solves_the_linear_equation_of_both_factors():
    t, a, b = sympy.symbols("t A B", positive=True)
    half = sympy.sqrt(a * b) / 2
    w = sympy.cosh(half * t) + sympy.sqrt(a / b) * sympy.sinh(half * t)
    phi = sympy.cosh(half * t) + sympy.sqrt(b / a) * sympy.sinh(half * t)
    assert sympy.simplify(sympy.diff(w, t) - a / 2 * phi) == 0
    assert sympy.simplify(sympy.diff(phi, t) - b / 2 * w) == 0
    curve = sympy.cosh(2 * half * t) + (a + b) / (4 * half) * sympy.sinh(2 * half * t)
    assert sympy.simplify((w * phi - curve).rewrite(sympy.exp)) == 0
    # The other form: [(w0 + phi0)^2 e^(2Gt) - (w0 - phi0)^2 e^(-2Gt)] / 4 over w0 phi0, where the
    # shares of w and phi are as phi0^2 to w0^2.
    ratio = sympy.sqrt(b / a)  # w0 / phi0
    plus, minus = (1 + ratio) ** 2 / (4 * ratio), (1 - ratio) ** 2 / (4 * ratio)
    other = plus * sympy.exp(2 * half * t) - minus * sympy.exp(-2 * half * t)
    assert sympy.simplify((other - curve).rewrite(sympy.exp)) == 0


@pytest.mark.parametrize("shares", [(1.0, 1.0), (2.0, 0.3), (1.0, 1e-9), (0.0, 1.0)])
def test_times_are_those_of_the_law_of_factors_with_the_pull_of_the_hinge(shares):
    ends = np.array([0.011, 0.03, 0.2, 0.9])
    told = standard_deviation_time(0.01, ends, *shares)
    law = growth_time(shares, lambda lam: lam**-0.5, 1e-4, ends**2)
    np.testing.assert_allclose(told, law, rtol=1e-9)


def test_the_difference_of_two_asinh_is_the_one_of_the_code():
    a, b, sigma, end = 1.3, 0.2, 0.01, 0.4
    root = np.sqrt(a * b)
    scale = 2 * root / abs(a - b)
    expected = (np.arcsinh(scale * end / sigma) - np.arcsinh(scale)) / root
    assert float(standard_deviation_time(sigma, end, a, b)) == pytest.approx(expected, rel=1e-12)


def test_balanced_factors_grow_at_a_constant_rate_and_one_alone_along_a_line():
    np.testing.assert_allclose(
        standard_deviation_curve([0.0, 1.0, 2.0], 0.1, 2.0, 2.0), 0.1 * np.exp([0.0, 2.0, 4.0])
    )
    np.testing.assert_allclose(
        standard_deviation_curve([0.0, 1.0, 2.0], 0.1, 2.0, 0.0), [0.1, 0.2, 0.3]
    )


def test_the_hinge_of_one_mode_pulls_with_the_inverse_of_the_standard_deviation():
    """d/da of -sum_j sqrt(eps + u_j^2 a^2), over a."""
    a, eps, first, second = sympy.symbols("a eps u v", positive=True)
    hinge = -sum(sympy.sqrt(eps + (part * a) ** 2) for part in (first, second))
    pull = -sympy.diff(hinge, a) / a
    assert sympy.simplify(pull.subs(eps, 0) - (first + second) / a) == 0


def test_no_growth_takes_for_ever():
    assert standard_deviation_time(0.1, [0.1, 0.2], 0.0, 0.0).tolist() == [0.0, np.inf]
    assert standard_deviation_curve(5.0, 0.1, 0.0, 0.0) == 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: standard_deviation_time(0.0, 1.0, 1, 1), "sigma is 0.0"),
        (lambda: standard_deviation_time(0.1, 0.05, 1, 1), "end is 0.05; expected finite standard"),
        (lambda: standard_deviation_time(0.1, np.inf, 1, 1), "end is inf"),
        (lambda: standard_deviation_time(0.1, 0.2, -1, 1), "late is -1"),
        (lambda: standard_deviation_curve(1.0, 0.1, 1, np.nan), "early is nan"),
        (lambda: standard_deviation_curve(-1.0, 0.1, 1, 1), "t goes from -1.0 to -1.0; expected"),
    ],
)
def test_what_is_no_standard_deviation_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
