"""Matrix derivations executed, and compared with the numerical solution."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from theory.losses.spectral_contrastive import gram_matrix
from theory.symbolic.matrix import matrix_gradient, riccati_solution, riccati_velocity
from theory.symbolic.scalar import GAMMA, S0, TIME


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "inputs"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 2)])
def test_formulas_expand_to_the_derivatives(dim, inputs):
    for derivation in (matrix_gradient, riccati_velocity):
        derived, formula = derivation(dim, inputs)
        assert sp.expand(derived - formula).is_zero_matrix
        assert not sp.expand(formula).is_zero_matrix


def test_gradient_is_that_of_the_loss_in_numbers():
    rng = np.random.default_rng(0)
    w, gamma = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))
    gamma = gamma + gamma.T
    _, formula = matrix_gradient(2, 3)
    values = {f"w{i}_{j}": w[i, j] for i in range(2) for j in range(3)}
    values |= {f"g{i}_{j}": gamma[i, j] for i in range(3) for j in range(i, 3)}
    found = np.array(formula.subs(values).tolist(), dtype=float)

    def loss(w):
        return np.sum((w @ gamma @ w.T - np.eye(2)) ** 2)

    for index in np.ndindex(w.shape):
        shift = np.zeros_like(w)
        shift[index] = 1e-6
        difference = (loss(w + shift) - loss(w - shift)) / 2e-6
        assert found[index] == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_riccati_solution_of_one_mode_solves_the_equation():
    solution = riccati_solution(sp.Matrix([[GAMMA]]), sp.Matrix([[S0]]))[0, 0]
    residual = solution.diff(TIME) - 8 * GAMMA * solution + 8 * solution**2
    assert sp.simplify(residual) == 0
    assert sp.simplify(solution.subs(TIME, 0) - S0**2) == 0
    assert sp.limit(solution.subs(GAMMA, 2), TIME, sp.oo) == 2
    assert sp.limit(solution.subs(GAMMA, -2), TIME, sp.oo) == 0
    still = sp.limit(solution.subs(GAMMA, sp.Symbol("g", real=True)), sp.Symbol("g", real=True), 0)
    assert sp.simplify(still - S0**2 / (1 + 8 * S0**2 * TIME)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("w0", [sp.Matrix([[1, 2], [-1, 3]]) / 10, sp.Matrix([[3, -2]]) / 7])
def test_riccati_solution_of_two_modes(w0):
    gamma = sp.diag(sp.Rational(1, 2), sp.Rational(-1, 5))
    gram = riccati_solution(gamma, w0)
    gram, velocity = (sp.lambdify(TIME, part, "mpmath") for part in (gram, gram.diff(TIME)))
    numbers = np.array(gamma.tolist(), float), np.array(w0.tolist(), float)
    with mpmath.workdps(30):
        g = mpmath.diag([mpmath.mpf(1) / 2, mpmath.mpf(-1) / 5])
        for t in map(mpmath.mpf, (0, 0.3, 4)):
            m = gram(t)
            residual = velocity(t) - 4 * (g * m + m * g) + 8 * m**2
            assert mpmath.mnorm(residual) < 1e-25
            exact = np.array(m.tolist(), float)
            assert np.allclose(exact, gram_matrix(float(t), *numbers), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrix_gradient(0, 2), "dim is 0"),
        (lambda: riccati_velocity(2, 5), "inputs is 5"),
        (lambda: riccati_solution(sp.Matrix([[1, 2], [2, 1]]), sp.eye(2)), "diagonal"),
        (lambda: riccati_solution(sp.eye(2), sp.eye(3)), "diagonal"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
