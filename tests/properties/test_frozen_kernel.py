"""A frozen kernel without blocks between outputs has the steps of the closed form."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from theory.kernels.frozen import frozen_kernel_descent
from theory.kernels.modes import embed, kernel_modes
from theory.linear.gradient_descent import descent_singular_values, stable_learning_rate


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 2), st.floats(1e-3, 0.5))
def test_without_blocks_between_outputs_modes_stay_apart(seed, n, dim, scale):
    """From an aligned start, whose modes descent keeps apart for ever."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((2 * n, 2 * n)) / np.sqrt(2 * n)
    kernel = root @ root.T + 0.1 * np.eye(2 * n)
    modes = kernel_modes(kernel)
    assume(modes.positive_modes >= dim)
    gamma = modes.gamma[:dim]
    s0 = scale * rng.uniform(0.5, 1.0, dim) / np.sqrt(gamma)
    rate = 0.2 * stable_learning_rate(modes.eigenvalues[[0, -1]])
    left = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    start = embed(modes, kernel, 0.0, s0, left)
    found = frozen_kernel_descent(kernel[:, :, None, None] * np.eye(dim), start, rate, 60)
    expected = gamma * descent_singular_values(np.arange(61), gamma, s0, rate) ** 2
    # Directions outside the start begin at rounding and grow no faster than the first mode.
    grown = 1e-15 * (1 + 4 * rate * gamma[0]) ** 60 * np.linalg.cond(kernel)
    np.testing.assert_allclose(found, -np.sort(-expected), atol=1e-11 + grown)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_turning_the_outputs_turns_nothing_that_is_seen(seed, dim):
    rng = np.random.default_rng(seed)
    n = 3
    jacobian = rng.standard_normal((2 * n, dim, 8)) / 4
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    start = 0.1 * rng.standard_normal((2 * n, dim))
    turned = np.einsum("ij,ajp->aip", turn, jacobian)
    one, other = (
        frozen_kernel_descent(np.einsum("akp,blp->abkl", j, j), f, 0.02, 30)
        for j, f in ((jacobian, start), (turned, start @ turn.T))
    )
    np.testing.assert_allclose(one, other, atol=1e-10)
