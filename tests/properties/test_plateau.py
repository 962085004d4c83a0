"""The next rate on a plateau: against the literal operator, and where the linear model gives it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.kernels.plateau import plateau_rate

SEED = st.integers(0, 2**32 - 1)


def literal(kernel, learned, lam):
    """Twice the largest real eigenvalue of (2/n) D K P, as it stands, and D."""
    size = len(kernel)
    n = size // 2
    swap = np.kron(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(n))
    d = np.eye(size)
    for function, value in zip(learned.T, lam, strict=True):
        d -= np.outer(function, function) @ swap / (2 * n * value)
    rates = np.linalg.eigvals(4 / n * d @ kernel @ swap)
    return max(rates.real.max(), 0.0), d, swap


def pairs(seed, n, m, noise):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m))
    return rng, x, x + noise * rng.standard_normal((n, m))


def learned_functions(z, count):
    """Functions of the leading directions of C = (Z^T Z' + Z'^T Z) / (2n), and its eigenvalues."""
    n = len(z) // 2
    cross = z[:n].T @ z[n:] / n
    lam, u = np.linalg.eigh((cross + cross.T) / 2)
    return z @ u[:, ::-1][:, :count], lam[::-1][:count]


@given(SEED, st.integers(2, 6), st.integers(0, 3))
def test_the_rate_is_that_of_the_literal_operator(seed, n, count):
    """Any kernel; learned functions of any embedding, whose kernel need not be this one."""
    rng, x, x_prime = pairs(seed, n, 6, 0.3)
    stacked = np.vstack([x, x_prime])
    functions, lam = learned_functions(stacked @ rng.standard_normal((6, 4)), min(count, n - 1))
    functions, lam = functions[:, lam > 0.1], lam[lam > 0.1]
    factor = rng.standard_normal((2 * n, 8))
    kernel = factor @ factor.T
    expected, d, swap = literal(kernel, functions, lam)
    found = plateau_rate(kernel, functions, lam)
    # Eigenvalues of a matrix that is not normal are good to the norm of its eigenvectors.
    assert abs(found - expected) < 1e-9 * max(expected, 1.0) * np.linalg.norm(d) ** 2
    # D projects, forgets what is learned, and is symmetric in the inner product f^T P g.
    np.testing.assert_allclose(d @ d, d, atol=1e-12 * np.linalg.norm(d) ** 2)
    np.testing.assert_allclose(d @ functions, 0, atol=1e-10 * np.linalg.norm(d) ** 2)
    np.testing.assert_allclose(swap @ d, d.T @ swap, atol=1e-12)


@given(SEED, st.integers(0, 5), st.floats(0.0, 0.4))
def test_of_the_linear_model_it_is_the_next_eigenvalue(seed, count, noise):
    """The functions of the first k modes are learned: 8 gamma_{k+1} is left."""
    _, x, x_prime = pairs(seed, 12, 5, noise)
    gamma, v = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / 24)
    gamma, v = gamma[::-1], v[:, ::-1]
    count = min(count, int(np.sum(gamma > 0)))
    stacked = np.vstack([x, x_prime])
    # At its end, lambda = 1; any other point of the plateau would do.
    functions = stacked @ v[:, :count] / np.sqrt(gamma[:count])
    expected = 8 * max(gamma[count], 0.0) if count < 5 else 0.0
    scale = 8 * gamma[0]
    for size in (1.0, 0.3):
        found = plateau_rate(stacked @ stacked.T, size * functions, np.full(count, size**2))
        assert abs(found - expected) < 1e-10 * scale * max(1.0, gamma[0] / gamma[count - 1])


@given(SEED, st.floats(0.1, 10.0))
def test_a_rotation_of_equal_modes_and_a_scale_change_nothing_else(seed, scale):
    rng, x, x_prime = pairs(seed, 5, 5, 0.2)
    stacked = np.vstack([x, x_prime])
    kernel = stacked @ stacked.T
    functions, lam = learned_functions(stacked, 2)
    rate = plateau_rate(kernel, functions, lam)
    np.testing.assert_allclose(plateau_rate(scale * kernel, functions, lam), scale * rate)
    np.testing.assert_allclose(plateau_rate(kernel, scale * functions, scale**2 * lam), rate)
    order = rng.permutation(5)
    both = np.concatenate([order, order + 5])
    np.testing.assert_allclose(
        plateau_rate(kernel[np.ix_(both, both)], functions[both, ::-1], lam[::-1]), rate
    )
    other = np.roll(np.arange(10), 5)  # the views exchange their names
    np.testing.assert_allclose(
        plateau_rate(kernel[np.ix_(other, other)], functions[other], lam), rate
    )
