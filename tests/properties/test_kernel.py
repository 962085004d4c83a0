"""What is always true of kernel modes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.kernels.modes import embed, kernel_initialization, kernel_modes

seeds = st.integers(0, 2**32 - 1)
pairs = st.integers(2, 7)


def positive_definite(seed, n):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(2 * n, 2 * n))
    return factor @ factor.T + 0.1 * np.eye(2 * n), rng


def swapped(f):
    return np.roll(f, len(f) // 2, axis=0)


@given(seeds, pairs)
def test_a_positive_definite_kernel_has_as_many_positive_modes_as_negative(seed, n):
    kernel, _ = positive_definite(seed, n)
    modes = kernel_modes(kernel)
    assert modes.truncation.dropped == 0
    assert modes.positive_modes == n
    assert np.count_nonzero(modes.eigenvalues < 0) == n
    assert np.all(np.diff(modes.eigenvalues) <= 0)


@given(seeds, pairs)
def test_trace_is_the_agreement_of_the_views(seed, n):
    kernel, _ = positive_definite(seed, n)
    agreement = np.mean(np.diagonal(kernel[:n, n:]))
    total = kernel_modes(kernel).eigenvalues.sum()
    assert abs(total - agreement) <= 1e-13 * np.trace(kernel)


@given(seeds, pairs, st.integers(1, 7))
def test_final_embeddings_have_zero_loss_and_the_norm_stated(seed, n, dim):
    kernel, _ = positive_definite(seed, n)
    modes = kernel_modes(kernel, dim=min(dim, n))
    f = embed(modes, kernel)
    correlation = f.T @ swapped(f) / (2 * n)
    bound = 1e-13 * np.linalg.norm(kernel, 2) / modes.gamma[-1]
    assert np.abs(correlation - np.eye(f.shape[1])).max() <= bound
    scaled = modes.coefficients * modes.gamma**-0.5
    assert np.isclose(np.trace(scaled.T @ kernel @ scaled), modes.squared_norm, rtol=1e-10)


@given(seeds, pairs, st.floats(1e-3, 1e3))
def test_a_scaled_kernel_scales_the_spectrum_and_keeps_the_embeddings(seed, n, factor):
    kernel, _ = positive_definite(seed, n)
    one, other = kernel_modes(kernel), kernel_modes(factor * kernel)
    atol = 1e-12 * one.eigenvalues[0]
    assert np.allclose(other.eigenvalues, factor * one.eigenvalues, rtol=0, atol=factor * atol)
    # A product of embeddings does not know the signs of the modes.
    first, second = embed(one, kernel), embed(other, factor * kernel)
    bound = 1e-12 * np.linalg.norm(kernel, 2) / one.gamma[-1] * max(np.abs(first).max(), 1) ** 2
    assert np.abs(first @ first.T - second @ second.T).max() <= bound * n


@given(seeds, pairs)
def test_order_of_samples_and_of_views_does_not_matter(seed, n):
    kernel, rng = positive_definite(seed, n)
    order = rng.permutation(n)
    order = np.concatenate([n + order, order])
    found = kernel_modes(kernel[np.ix_(order, order)]).eigenvalues
    expected = kernel_modes(kernel).eigenvalues
    assert np.allclose(found, expected, rtol=0, atol=1e-12 * np.linalg.norm(kernel, 2))


@given(seeds, pairs, st.floats(1e-8, 1e-1))
def test_an_aligned_start_is_recovered_and_embedded(seed, n, scale):
    kernel, rng = positive_definite(seed, n)
    modes = kernel_modes(kernel)
    left = np.linalg.qr(rng.normal(size=(n, n)))[0]
    s0 = scale * rng.uniform(0.5, 1, size=n)
    start = embed(modes, kernel, 0.0, s0, left)
    found_left, found_s0 = kernel_initialization(modes, start)
    condition = np.linalg.cond(kernel)
    assert np.allclose(found_s0, s0, rtol=1e-13 * condition)
    assert np.allclose(found_left, left, rtol=0, atol=1e-13 * condition)
