"""What Gamma promises for every set of pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.pairs.gamma import apply_cross_correlation, cross_correlation, read_pairs

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(2, 12), st.integers(1, 9))


def draw(size, seed):
    rng = np.random.default_rng(seed)
    x, x_prime = rng.standard_normal((2, *size)) * 10.0 ** rng.uniform(-3, 3)
    return rng, x + rng.standard_normal(), x_prime


def gamma(x, x_prime, **options):
    return cross_correlation(read_pairs(x, x_prime, **options))


def close(found, expected, x, x_prime):
    size = np.abs(x).max() * np.abs(x_prime).max() + 1e-300
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * size * x.shape[1])


@given(sizes, seeds, st.booleans())
def test_views_can_be_swapped_and_pairs_permuted(size, seed, center):
    rng, x, x_prime = draw(size, seed)
    expected = gamma(x, x_prime, center=center)
    assert np.array_equal(expected, expected.T)
    span = np.vstack([x, x_prime])
    close(gamma(x_prime, x, center=center), expected, span, span)
    order = rng.permutation(len(x))
    close(gamma(x[order], x_prime[order], center=center), expected, span, span)
    swapped = rng.random(len(x)) < 0.5  # which of its two views comes first is each pair's own
    a, b = np.where(swapped[:, None], x_prime, x), np.where(swapped[:, None], x, x_prime)
    close(gamma(a, b, center=center), expected, span, span)


@given(sizes, seeds, st.booleans())
def test_rotating_the_inputs_rotates_gamma(size, seed, center):
    rng, x, x_prime = draw(size, seed)
    turn = np.linalg.qr(rng.standard_normal((size[1],) * 2))[0]
    span = np.vstack([x, x_prime])
    expected = turn @ gamma(x, x_prime, center=center) @ turn.T
    close(gamma(x @ turn.T, x_prime @ turn.T, center=center), expected, span, span)


@given(sizes, seeds, st.booleans(), st.floats(0.01, 100.0))
def test_scale_enters_squared(size, seed, center, scale):
    _, x, x_prime = draw(size, seed)
    found = gamma(x, x_prime, center=center, scale=scale)
    span = scale * np.vstack([x, x_prime])
    close(found, scale**2 * gamma(x, x_prime, center=center), span, span)


@given(sizes, seeds, st.booleans(), st.lists(st.integers(0, 12), max_size=5))
def test_cuts_do_not_matter(size, seed, center, cuts):
    rng, x, x_prime = draw(size, seed)
    chunks = list(zip(np.split(x, sorted(cuts)), np.split(x_prime, sorted(cuts)), strict=True))
    whole = read_pairs(x, x_prime, center=center)
    parts = read_pairs(chunks, center=center)
    span = np.vstack([x, x_prime])
    assert (parts.n, parts.m) == size
    close(cross_correlation(parts), cross_correlation(whole), span, span)
    block = rng.standard_normal((size[1], 2))
    expected = cross_correlation(whole) @ block
    close(apply_cross_correlation(parts, block), expected, span, span * np.abs(block).max())


@given(sizes, seeds, st.booleans())
def test_energy_bounds_the_eigenvalues(size, seed, center):
    _, x, x_prime = draw(size, seed)
    pairs = read_pairs(x, x_prime, center=center)
    largest = np.abs(np.linalg.eigvalsh(cross_correlation(pairs))).max()
    assert largest <= pairs.energy + 1e-12 * np.mean(np.sum(x**2 + x_prime**2, axis=1))
