"""The next rate on a plateau: ends of the staircase, noise, errors."""

import numpy as np
import pytest

from theory.kernels.modes import kernel_modes
from theory.kernels.plateau import plateau_rate

NOTHING = np.zeros((4, 0))


def test_with_nothing_learned_it_is_that_of_the_kernel():
    factor = np.random.default_rng(0).standard_normal((12, 12))
    kernel = factor @ factor.T
    expected = 8 * kernel_modes(kernel).eigenvalues[0]
    np.testing.assert_allclose(plateau_rate(kernel, np.zeros((12, 0)), []), expected, rtol=1e-12)


def test_one_by_one_the_modes_of_a_kernel_are_learned():
    """The kernel of a scalar output, as its modes say: each learned leaves the next."""
    factor = np.random.default_rng(1).standard_normal((12, 12))
    kernel = factor @ factor.T
    modes = kernel_modes(kernel)
    assert modes.positive_modes == 6
    functions = kernel @ modes.coefficients / np.sqrt(modes.gamma)
    for count in range(6):
        found = plateau_rate(kernel, functions[:, :count], np.ones(count))
        np.testing.assert_allclose(found, 8 * modes.gamma[count], rtol=1e-9)
    assert plateau_rate(kernel, functions, np.ones(6)) < 1e-10 * modes.gamma[0]


@pytest.mark.parametrize("share", [1.0, -1.0])
def test_nothing_can_grow(share):
    """All directions are learned, or the views disagree in every one."""
    x = np.random.default_rng(2).standard_normal((5, 2))
    stacked = np.vstack([x, share * x])
    gamma, v = np.linalg.eigh(x.T @ x / 5)
    learned = stacked @ v / np.sqrt(gamma) if share > 0 else np.zeros((10, 0))
    found = plateau_rate(stacked @ stacked.T, learned, np.ones(learned.shape[1]))
    assert 0.0 <= found < 1e-11 * gamma[-1]
    assert plateau_rate(np.zeros((10, 10)), np.zeros((10, 0)), []) == 0.0


def test_rounding_of_a_kernel_in_float32_is_borne():
    factor = np.random.default_rng(3).standard_normal((8, 8))
    kernel = (factor @ factor.T).astype(np.float32)
    kernel[0, 1] *= 1 + 1e-6
    exact = plateau_rate(factor @ factor.T, np.zeros((8, 0)), [])
    np.testing.assert_allclose(plateau_rate(kernel, np.zeros((8, 0)), []), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "learned", "lam", "message"),
    [
        (np.eye(3), np.zeros((3, 0)), [], r"shape \(3, 3\); expected \(2n, 2n\)"),
        (np.eye(2), np.zeros((2, 0)), [], r"shape \(2, 2\); expected \(2n, 2n\)"),
        (np.ones((4, 2)), NOTHING, [], r"kernel has shape \(4, 2\); expected a square"),
        (np.triu(np.ones((4, 4))), NOTHING, [], "kernel differs from its transpose"),
        (np.full((4, 4), np.nan), NOTHING, [], "kernel"),
        (-np.eye(4), NOTHING, [], "expected a positive semi-definite matrix"),
        (np.eye(4), np.ones((4, 1)), [], r"learned has shape \(4, 1\) with 0 eigenvalues"),
        (np.eye(4), np.ones((3, 1)), [1.0], r"learned has shape \(3, 1\) .* expected \(4, 1\)"),
        (np.eye(4), np.ones((4, 1)), [0.0], "lam holds 0; expected eigenvalues above zero"),
        (np.eye(4), np.full((4, 1), np.inf), [1.0], "learned"),
    ],
)
def test_what_does_not_fit_is_refused(kernel, learned, lam, message):
    with pytest.raises(ValueError, match=message) as caught:
        plateau_rate(kernel, learned, lam)
    assert "\n" not in str(caught.value)
