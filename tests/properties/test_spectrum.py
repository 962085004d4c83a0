"""What the top modes promise for every matrix and every set of pairs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.pairs.gamma import cross_correlation, read_pairs
from theory.pairs.spectrum import block_krylov, count_above, spectrum

seeds = st.integers(0, 2**32 - 1)
magnitudes = st.sampled_from([0.0, 1.0, 1.0, 0.5, 1e-3, 1e-9, -1e-9, -0.5, -2.0, -100.0])
spectra = st.lists(magnitudes, min_size=1, max_size=40)


def symmetric(values, seed):
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.standard_normal((len(values),) * 2))[0]
    matrix = (vectors * values) @ vectors.T
    return (matrix + matrix.T) / 2.0


@given(spectra, seeds, st.integers(1, 40))
@settings(max_examples=200)
def test_krylov_agrees_with_the_whole_spectrum(values, seed, k):
    k = min(k, len(values))
    matrix = symmetric(values, seed)
    found, vectors, residuals, _, (lowest, vector) = block_krylov(
        matrix.__matmul__, len(values), k, rng=seed
    )
    size = np.abs(values).max()
    exact = np.sort(values)[::-1][:k]
    assert np.all(np.abs(found - exact) <= residuals + 1e-13 * size)
    assert residuals.max() <= 1e-7 * size
    assert min(values) - 1e-13 * size <= lowest <= max(values) + 1e-13 * size
    assert abs(vector @ matrix @ vector - lowest) <= 1e-11 * size
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), rtol=0, atol=1e-11)
    actual = np.linalg.norm(matrix @ vectors - vectors * found, axis=0)
    np.testing.assert_allclose(residuals, actual, rtol=1e-3, atol=1e-13 * size)


@given(spectra, seeds, st.sampled_from([-1.0 + 1e-4, -1e-6, 1e-6, 0.1, 0.7]))
def test_inertia_counts_what_lies_above(values, seed, threshold):
    expected = np.count_nonzero(np.array(values) > threshold)
    assert count_above(symmetric(values, seed), threshold) == expected


@given(st.integers(2, 15), st.integers(2, 20), seeds, st.booleans())
def test_routes_agree(n, m, seed, center):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m))
    pairs = read_pairs(x, x + 0.5 * rng.standard_normal((n, m)), center=center)
    exact = np.linalg.eigvalsh(cross_correlation(pairs))[::-1]
    k = int(rng.integers(1, min(m, 2 * n) + 1))
    dense = spectrum(pairs, k, route="dense")
    # The dual path leaves out zeros, anywhere in the order.
    nonzero = np.abs(dense.eigenvalues) > 1e-9
    np.testing.assert_allclose(
        dense.eigenvalues[nonzero], exact[np.abs(exact) > 1e-9], rtol=0, atol=1e-11
    )
    for route in ("krylov", "streamed"):
        found = spectrum(pairs, k, route=route)
        error = np.abs(found.eigenvalues - exact[:k])
        assert np.all(error <= found.residuals + 1e-12 * pairs.energy)
        if route == "krylov":
            assert found.positive_modes == dense.positive_modes
