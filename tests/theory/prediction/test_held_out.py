"""Held-out eigenvalues: ten folds done literally, invariances, and what passes as learned."""

import numpy as np
import pytest

from theory.pairs.gamma import read_pairs
from theory.pairs.planted import planted_pairs
from theory.pairs.spectrum import spectrum
from theory.prediction.held_out import FOLDS, held_out_eigenvalues


def measured(x, x_prime, dim, route="auto", beyond=0, **options):
    pairs = read_pairs(x, x_prime)
    modes = spectrum(pairs, dim, beyond=beyond, route=route)
    return held_out_eigenvalues(pairs, modes, dim, **options)


def literal(x, x_prime, dim, fold):
    """Views of each pair along the top eigenvectors of all other folds, signs as in the sample."""
    whole = np.linalg.eigh(x.T @ x_prime + x_prime.T @ x)[1][:, ::-1][:, :dim]
    a, b = np.empty((len(x), dim)), np.empty((len(x), dim))
    for j in range(FOLDS):
        p, q = x[fold != j], x_prime[fold != j]
        vectors = np.linalg.eigh(p.T @ q + q.T @ p)[1][:, ::-1][:, :dim]
        vectors = vectors * np.sign(np.sum(vectors * whole, axis=0))
        a[fold == j], b[fold == j] = x[fold == j] @ vectors, x_prime[fold == j] @ vectors
    return a, b


def test_values_are_those_of_ten_eigenproblems():
    """Twelve features: the span of the sample's top modes is everything."""
    x, x_prime = planted_pairs("geometric", 95, 12, np.random.default_rng(0))
    found = measured(x, x_prime, 3, rng=5)
    assert found.learned.all()
    a, b = literal(x, x_prime, 3, np.random.default_rng(5).permutation(95) % FOLDS)
    together = (a.T @ b + b.T @ a) / (2 * 95)
    for j in range(3):
        share = np.linalg.solve(together[:j, :j], together[:j, j])
        product = (a[:, j] - a[:, :j] @ share) * (b[:, j] - b[:, :j] @ share)
        assert found.values[j] == pytest.approx(product.mean(), rel=1e-9)
        assert found.errors[j] == pytest.approx(product.std() / np.sqrt(95), rel=1e-9)


def test_the_top_span_is_nearly_as_good_as_ten_eigenproblems():
    """A hundred features of which the span holds 28: within a tenth of a standard error."""
    x, x_prime = planted_pairs("spiked", 300, 100, np.random.default_rng(1))
    found = measured(x, x_prime, 4, rng=2)
    a, b = literal(x, x_prime, 4, np.random.default_rng(2).permutation(300) % FOLDS)
    assert abs(found.values[0] - np.mean(a[:, 0] * b[:, 0])) < 0.1 * found.errors[0]
    together = (a.T @ b + b.T @ a) / (2 * 300)
    pivots = np.diagonal(np.linalg.cholesky(together)) ** 2
    assert np.all(np.abs(found.values - pivots) < 0.1 * found.errors)


def test_routes_and_chunks_agree():
    x, x_prime = planted_pairs("spiked", 400, 100, np.random.default_rng(3))
    dense = measured(x, x_prime, 4)
    chunks = [(x[i : i + 90], x_prime[i : i + 90]) for i in range(0, 400, 90)]
    for route in ("krylov", "streamed"):
        for source in ((x, x_prime), (chunks, None)):
            other = measured(*source, 4, route=route, beyond=10)
            # Guard vectors of these routes are not converged.
            assert np.all(np.abs(other.values - dense.values) < 0.1 * dense.errors)
            np.testing.assert_array_equal(other.learned, dense.learned)


def test_units_rotations_and_the_order_of_pairs_do_not_matter():
    rng = np.random.default_rng(4)
    x, x_prime = planted_pairs("power", 120, 9, rng)
    images = np.arange(120)
    found = measured(x, x_prime, 4, groups=images)
    turn, order = np.linalg.qr(rng.standard_normal((9, 9)))[0], rng.permutation(120)
    for other, factor in (
        (measured(8.0 * x, 8.0 * x_prime, 4, groups=images), 64.0),
        (measured(x @ turn, x_prime @ turn, 4, groups=images), 1.0),
        (measured(x_prime, x, 4, groups=images), 1.0),
        (measured(x[order], x_prime[order], 4, groups=images[order]), 1.0),
    ):
        np.testing.assert_allclose(other.values, factor * found.values, rtol=1e-9)
        np.testing.assert_allclose(other.errors, factor * found.errors, rtol=1e-9)
        np.testing.assert_array_equal(other.learned, found.learned)


def test_an_image_is_held_out_with_all_its_pairs():
    """Copies change nothing; taken for images of their own, they make learned modes of noise."""
    x, x_prime = np.random.default_rng(5).standard_normal((2, 60, 12))
    single = measured(x, x_prime, 3)
    copies = np.repeat(x, 4, axis=0), np.repeat(x_prime, 4, axis=0)
    grouped = measured(*copies, 3, groups=np.repeat(np.arange(60), 4))
    np.testing.assert_allclose(grouped.values, single.values, rtol=1e-9)
    np.testing.assert_allclose(grouped.errors, single.errors, rtol=1e-9)
    assert not grouped.learned.any()
    assert measured(*copies, 3).learned.any()


def test_fewer_images_than_folds_are_left_out_one_by_one():
    x = np.random.default_rng(6).standard_normal((3, 5)) * [3.0, 1.0, 1.0, 1.0, 1.0]
    assert np.isfinite(measured(x, x, 2).values).all()


@pytest.mark.parametrize(("name", "true", "n"), [("heavy", 5, 600), ("spiked", 10, 600)])
def test_modes_of_noise_do_not_pass_as_learned(name, true, n):
    """Standard errors alone let one of them pass in two samples of five."""
    passed = trusting = 0
    for r in range(60):
        x, x_prime = planted_pairs(name, n, 60, np.random.default_rng(r))
        found = measured(x, x_prime, true + 4)
        assert found.learned[: true - 2].all()
        passed += found.learned[true:].any()
        trusting += (found.values > 2.33 * found.errors)[true:].any()
    assert passed <= 6  # of 60, where 5 % make 3 and three standard errors 5 more
    assert trusting >= 12


def test_held_out_values_are_too_small_by_as_much_as_those_of_the_sample_are_too_large():
    """Second order: the mean of both has no bias that 300 samples show."""
    gamma, both = 0.8, []
    for r in range(300):
        x, x_prime = planted_pairs("geometric", 400, 20, np.random.default_rng(r))
        pairs = read_pairs(x, x_prime)
        modes = spectrum(pairs, 1)
        both.append([modes.eigenvalues[0], held_out_eigenvalues(pairs, modes, 1).values[0]])
    sample, held = np.mean(both, axis=0) - gamma
    error = np.std(np.mean(both, axis=1)) / np.sqrt(300)
    assert abs(sample + held) / 2 < 3 * error
    assert held < -3 * error < 3 * error < sample
