"""What is always true of the flow with refreshed kernels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.kernels.refreshed import refreshed_curves

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, n, dim):
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((2, 2 * n, 3))
    kernels = factors @ factors.transpose(0, 2, 1)
    return kernels, rng.standard_normal((2 * n, dim)) * rng.uniform(0.01, 2), rng


@settings(max_examples=30)
@given(seeds, st.integers(2, 5), st.integers(1, 3))
def test_the_loss_never_rises_whatever_the_kernels(seed, n, dim):
    kernels, start, _ = drawn(seed, n, dim)
    curves = refreshed_curves(np.linspace(0, 1, 9), [0.0, 0.4], kernels, start)
    loss = np.sum((1 - curves) ** 2, axis=1)
    assert np.all(np.diff(loss) <= 1e-7 * (1 + loss[0]))


@settings(max_examples=30)
@given(seeds, st.integers(2, 5), st.integers(1, 3))
def test_neither_rotations_nor_the_order_of_views_and_samples_matter(seed, n, dim):
    kernels, start, rng = drawn(seed, n, dim)
    times, starts = [0.1, 0.3, 0.7], [0.0, 0.3]
    found = refreshed_curves(times, starts, kernels, start)
    order = rng.permutation(n)
    order = np.concatenate([n + order, order])
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    other = kernels[:, order][:, :, order]
    again = refreshed_curves(times, starts, other, start[order] @ rotation)
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-6 * np.abs(found).max())


@settings(max_examples=30)
@given(seeds, st.floats(0.1, 10.0))
def test_a_larger_kernel_is_a_faster_clock(seed, factor):
    kernels, start, _ = drawn(seed, 4, 2)
    times = np.array([0.1, 0.4, 0.6])
    found = refreshed_curves(times, [0.0, 0.3], kernels, start)
    faster = refreshed_curves(times / factor, [0.0, 0.3 / factor], factor * kernels, start)
    np.testing.assert_allclose(faster, found, rtol=1e-5, atol=1e-6 * np.abs(found).max())
