"""Top modes of Gamma by every route, against whole diagonalisations and planted spectra."""

import tracemalloc

import numpy as np
import pytest

from theory.pairs import spectrum as sp
from theory.pairs.gamma import apply_cross_correlation, cross_correlation, read_pairs, stacked_views

ITERATED = ("krylov", "streamed")


def rotation(m, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((m, m)))[0]


def symmetric(values, seed=0):
    vectors = rotation(len(values), seed)
    matrix = (vectors * values) @ vectors.T
    return (matrix + matrix.T) / 2.0, vectors


def natural_pairs(n, m, seed=0, **options):
    """Power-law modes that the views share, and noise that makes Gamma indefinite."""
    rng = np.random.default_rng(seed)
    z = (rng.standard_normal((n, m)) / np.arange(1, m + 1)) @ rotation(m, seed).T
    x, x_prime = (z + 0.05 * rng.standard_normal((n, m)) for _ in range(2))
    return read_pairs(x + 0.3, x_prime + 0.3, **options)


def planted_pairs(values, n=64, seed=0):
    """Pairs whose Gamma has exactly these eigenvalues: x' is x, with signs flipped."""
    values = np.asarray(values, dtype=float)
    orthonormal = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, len(values))))[0]
    vectors = rotation(len(values), seed + 1)
    x = np.sqrt(n) * orthonormal * np.sqrt(np.abs(values)) @ vectors.T
    x_prime = np.sqrt(n) * orthonormal * (np.sign(values) * np.sqrt(np.abs(values))) @ vectors.T
    return read_pairs(x, x_prime), vectors


def largest_angle(a, b):
    """Sine of the largest angle between two subspaces of equal dimension."""
    return np.linalg.norm(a - b @ (b.T @ a), 2)


def check_pairs(matrix, k, values, vectors, residuals):
    """Eigenpairs are the right ones, orthonormal, and their residuals are what they say."""
    size = np.abs(np.linalg.eigvalsh(matrix)).max()
    exact = np.linalg.eigvalsh(matrix)[::-1][:k]
    rounding = 1e-12 * max(size, 1e-300)
    assert values.shape == (k,)
    assert np.all(np.diff(values) <= rounding)
    assert np.all(np.abs(values - exact) <= residuals + rounding)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), rtol=0, atol=1e-10)
    actual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    np.testing.assert_allclose(residuals, actual, rtol=1e-3, atol=rounding)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("n", "m"), [(200, 60), (25, 60), (40, 60)])
def test_routes_agree(n, m, center):
    """With 25 pairs the dense route takes the dual path, in the span of 50 views."""
    pairs = natural_pairs(n, m, center=center)
    gamma = cross_correlation(pairs)
    exact, basis = np.linalg.eigh(gamma)
    exact, basis = exact[::-1], basis[:, ::-1]
    dense = sp.spectrum(pairs, 6, route="dense")
    assert (dense.route, dense.complete, dense.passes) == ("dense", True, 0)
    assert len(dense.eigenvalues) == min(m, 2 * n)
    np.testing.assert_allclose(dense.eigenvalues[:6], exact[:6], rtol=1e-10)
    assert largest_angle(dense.eigenvectors[:, :6], basis[:, :6]) < 1e-8
    actual = gamma @ dense.eigenvectors - dense.eigenvectors * dense.eigenvalues
    assert np.linalg.norm(actual, axis=0).max() < 1e-12
    assert dense.residuals.max() < 1e-12
    for route in ITERATED:
        found = sp.spectrum(pairs, 6, route=route, tolerance=1e-9)
        assert (found.route, found.complete) == (route, False)
        check_pairs(gamma, 6, found.eigenvalues, found.eigenvectors, found.residuals)
        assert found.residuals.max() <= 1e-9 * exact[0]
        assert largest_angle(found.eigenvectors, basis[:, :6]) < 1e-5
        positive = dense.positive_modes if route == "krylov" else None
        assert found.positive_modes == positive


def test_dense_route_has_every_mode_of_the_span():
    pairs = natural_pairs(20, 50)
    found = sp.spectrum(pairs, 3, route="dense")
    exact = np.linalg.eigvalsh(cross_correlation(pairs))[::-1]
    nonzero = np.abs(exact) > 1e-12
    assert nonzero.sum() == 40
    np.testing.assert_allclose(found.eigenvalues, exact[nonzero], rtol=0, atol=1e-13)
    assert found.positive_modes == np.count_nonzero(exact > 1e-12) == 20
    span = np.linalg.matrix_rank(np.hstack([found.eigenvectors, stacked_views(pairs).T]))
    assert span == 40


@pytest.mark.machine
@pytest.mark.parametrize("route", ["dense", *ITERATED])
def test_planted_spectrum_is_recovered(route):
    values = np.r_[2.0, 1.5, 0.4, 0.1, 0.03, np.zeros(20), -0.2, -1.0, -3.0]
    pairs, vectors = planted_pairs(values)
    found = sp.spectrum(pairs, 5, route=route, tolerance=1e-10)
    np.testing.assert_allclose(found.eigenvalues[:5], values[:5], rtol=0, atol=1e-9)
    overlap = np.abs(np.sum(found.eigenvectors[:, :5] * vectors[:, :5], axis=0))
    np.testing.assert_allclose(overlap, 1.0, atol=1e-10)
    assert found.positive_modes == (None if route == "streamed" else 5)


def test_views_that_hardly_agree_do_not_turn_rounding_into_modes():
    """Orthogonal views leave a Gamma of nothing but rounding, far above its own epsilon."""
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((60, 40)))[0]
    x, x_prime = x[:, :20] @ rotation(20, 1), x[:, 20:] @ rotation(20, 2)
    pairs = read_pairs(x, x_prime)
    assert 0 < np.abs(cross_correlation(pairs)).max() < 1e-15
    assert sp.spectrum(pairs, 2, route="dense").positive_modes == 0
    assert sp.spectrum(pairs, 2, route="krylov").positive_modes == 0


def test_negative_gamma_has_no_positive_mode_on_any_route():
    pairs, _ = planted_pairs(-np.r_[3.0, 1.0, 0.5, np.zeros(20)])
    for route in ("dense", "krylov"):
        assert sp.spectrum(pairs, 2, route=route).positive_modes == 0


@pytest.mark.parametrize(
    ("n", "m", "k", "route"),
    [
        (5000, 2048, 3, "dense"),
        (1024, 7000, 3, "dense"),
        (5000, 2049, 3, "krylov"),
        (5000, 4096, 3, "krylov"),
        (5000, 4097, 3, "streamed"),
        (1025, 4096, 3, "streamed"),
        (5000, 3000, 1490, "krylov"),
        (5000, 3000, 1491, "dense"),  # a basis of two blocks would fill the space
    ],
)
def test_auto_goes_by_size(n, m, k, route):
    assert sp.route_by_size(n, m, k) == route


def test_auto_is_what_spectrum_takes():
    assert sp.spectrum(natural_pairs(100, 40), 3).route == "dense"
    pairs = read_pairs(*np.random.default_rng(0).standard_normal((2, 1025, 2049)))
    with pytest.warns(UserWarning, match="residual of .* in 1 passes"):
        assert sp.spectrum(pairs, 3, max_passes=1).route == "krylov"


@pytest.mark.parametrize("m", [3, 11, 12, 25, 40, 150])
@pytest.mark.parametrize("rank", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_low_rank_gives_no_spurious_modes(m, rank, k):
    """Once the range is found, a Krylov block is rounding error and has nothing to add."""
    k, rank = min(k, m), min(rank, m)
    rng = np.random.default_rng([m, rank, k])
    values = np.zeros(m)
    values[:rank] = rng.standard_normal(rank) * 10.0 ** rng.integers(-4, 3, rank)
    matrix, _ = symmetric(values, seed=m)
    found = sp.block_krylov(matrix.__matmul__, m, k)
    check_pairs(matrix, k, *found[:3])
    assert found[3] <= 4


@pytest.mark.filterwarnings("ignore:eigenpairs reached")
@pytest.mark.parametrize(("m", "rank"), [(12, 2), (27, 5), (60, 3), (200, 13)])
def test_asking_more_than_float64_can_give_does_no_harm(m, rank):
    values = np.r_[np.linspace(2.0, 1.0, rank), np.zeros(m - rank)]
    matrix, _ = symmetric(values)
    found = sp.block_krylov(matrix.__matmul__, m, min(8, m), tolerance=1e-30, max_passes=30)
    check_pairs(matrix, min(8, m), *found[:3])
    assert np.count_nonzero(found[0] > 0.5) == min(rank, 8)


@pytest.mark.parametrize("route", ITERATED)
def test_data_of_low_rank_on_iterated_routes(route):
    rng = np.random.default_rng(4)
    z = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 80))
    found = sp.spectrum(read_pairs(z, z), 8, route=route)
    exact = np.linalg.eigvalsh(z.T @ z / 30)[::-1][:8]
    np.testing.assert_allclose(found.eigenvalues, exact, rtol=0, atol=1e-10)
    assert found.positive_modes in (2, None)


@pytest.mark.parametrize("route", ["dense", *ITERATED])
@pytest.mark.parametrize("center", [False, True])
def test_zero_and_constant_data(route, center):
    zeros = np.zeros((6, 30))
    found = sp.spectrum(read_pairs(zeros, zeros, center=center), 3, route=route)
    assert not found.eigenvalues.any()
    assert not found.residuals.any()
    np.testing.assert_allclose(
        found.eigenvectors.T @ found.eigenvectors,
        np.eye(12)[: len(found.eigenvalues), : len(found.eigenvalues)],
        atol=1e-12,
    )
    assert found.positive_modes in (0, None)
    if center:
        flat = np.full((6, 30), 0.25)
        assert not sp.spectrum(read_pairs(flat, flat, center=True), 3).eigenvalues.any()


def test_what_a_block_adds_to_a_basis():
    """A remainder near the floor is made orthogonal; one below it is left out."""
    rng = np.random.default_rng(7)
    basis, outside = np.split(rotation(30, 8), [20], axis=1)
    remainder = outside[:, :3] @ rng.standard_normal((3, 5)) * 1e-10
    noise = 1e-14 * rng.standard_normal((30, 5))
    added = sp.complement(basis, remainder + noise, 1e-12)
    assert added.shape == (30, 3)
    np.testing.assert_allclose(added.T @ added, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(basis.T @ added, 0.0, atol=1e-14)
    assert sp.complement(basis, noise, 1e-12).shape == (30, 0)


def test_negative_modes_larger_than_positive_ones():
    values = np.r_[1.0, 0.8, 0.5, 0.1, np.zeros(150), -np.geomspace(1.0, 50.0, 46)]
    matrix, vectors = symmetric(values)
    found = sp.block_krylov(matrix.__matmul__, 200, 4, tolerance=1e-9)
    check_pairs(matrix, 4, *found[:3])
    assert largest_angle(found[1], vectors[:, :4]) < 1e-5


@pytest.mark.machine
def test_clusters_and_degenerate_modes():
    """Copies of an eigenvalue are found up to the number asked, however close the next."""
    values = np.r_[np.full(6, 2.0), 1.0 + 1e-9 * np.arange(5), np.linspace(0.9, -0.5, 289)]
    matrix, vectors = symmetric(values)
    found = sp.block_krylov(matrix.__matmul__, 300, 11, tolerance=1e-9)
    check_pairs(matrix, 11, *found[:3])
    assert largest_angle(found[1], vectors[:, :11]) < 1e-6
    for k in (1, 4):
        check_pairs(matrix, k, *sp.block_krylov(matrix.__matmul__, 300, k)[:3])
    found = sp.block_krylov(lambda block: 3.0 * block, 50, 5)
    np.testing.assert_allclose(found[0], 3.0, rtol=1e-13)
    assert found[3] == 1


def test_basis_that_fills_the_space_is_exact():
    matrix, _ = symmetric(np.linspace(-1.0, 1.0, 30))
    for k in (1, 7, 20, 30):
        found = sp.block_krylov(matrix.__matmul__, 30, k, tolerance=1e-13)
        check_pairs(matrix, k, *found[:3])


@pytest.mark.slow
def test_restarts_bound_the_basis_and_still_converge():
    """A slow spectrum needs more passes than the basis has room for."""
    values = np.r_[1.0 + 0.01 * np.arange(5)[::-1], np.linspace(0.98, 0.0, 995)]

    def apply(block):
        return values[:, None] * block

    tracemalloc.start()
    try:
        found = sp.block_krylov(apply, 1000, 5, tolerance=1e-8, max_passes=200, basis_blocks=4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 20 < found[3] < 200
    np.testing.assert_allclose(found[0], values[:5], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[1].T @ found[1], np.eye(5), atol=1e-12)
    actual = np.linalg.norm(apply(found[1]) - found[1] * found[0], axis=0)
    np.testing.assert_allclose(found[2], actual, rtol=1e-3, atol=1e-13)
    assert peak < 2 * 16 * 4 * 15 * 1000  # basis and images, twice
    whole = sp.block_krylov(apply, 1000, 5, tolerance=1e-8, basis_blocks=1000)
    assert whole[3] < found[3]
    with pytest.raises(ValueError, match="basis_blocks is 1; expected"):
        sp.block_krylov(apply, 1000, 5, basis_blocks=1)


def test_too_few_passes_warn_and_say_what_was_reached():
    matrix, _ = symmetric(np.linspace(0.0, 1.0, 400))
    with pytest.warns(UserWarning, match=r"residual of .* in 3 passes; asked was 9\.4e-08"):
        values, vectors, residuals, passes, _ = sp.block_krylov(
            matrix.__matmul__, 400, 4, max_passes=3
        )
    assert passes == 3
    actual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    np.testing.assert_allclose(residuals, actual, rtol=1e-9)
    assert residuals.max() > 1e-7
    with pytest.warns(UserWarning, match="in 1 passes"):
        sp.spectrum(natural_pairs(100, 300), 4, route="streamed", max_passes=1, tolerance=1e-12)


@pytest.mark.machine
def test_same_seed_gives_the_same_bits():
    pairs = natural_pairs(50, 90)
    one, other = (sp.spectrum(pairs, 4, route="streamed", rng=3) for _ in range(2))
    assert np.array_equal(one.eigenvectors, other.eigenvectors)
    third = sp.spectrum(pairs, 4, route="streamed", rng=np.random.default_rng(3))
    assert np.array_equal(one.eigenvectors, third.eigenvectors)


def test_streamed_route_forms_no_matrix():
    pairs = natural_pairs(8, 20)  # compiles nothing, but warms imports
    sp.spectrum(pairs, 2, route="streamed")
    x = np.random.default_rng(5).integers(0, 256, (40, 4000), dtype=np.uint8)
    tracemalloc.start()
    try:
        sp.spectrum(read_pairs(x, x, scale=1 / 255), 2, route="streamed")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.25 * 8 * 4000**2


def test_streamed_route_applies_the_same_operator():
    pairs = natural_pairs(30, 20, center=True)
    block = np.random.default_rng(6).standard_normal((20, 4))
    expected = cross_correlation(pairs) @ block
    np.testing.assert_allclose(apply_cross_correlation(pairs, block), expected, atol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_inertia_counts_eigenvalues(seed):
    rng = np.random.default_rng(seed)
    for m in (1, 2, 5, 64, 200):
        matrix = rng.standard_normal((m, m))
        matrix = matrix + matrix.T
        values = np.linalg.eigvalsh(matrix)
        for threshold in (-1.3, 0.0, 0.7, values[0] - 1.0, values[-1] + 1.0):
            before = matrix.copy()
            assert sp.count_above(matrix, threshold) == np.count_nonzero(values > threshold)
            assert np.array_equal(matrix, before)


def test_inertia_of_rank_deficient_matrices():
    values = np.r_[3.0, 1.0, 1e-6, np.zeros(50), -1e-6, -2.0]
    matrix, _ = symmetric(values)
    assert sp.count_above(matrix, 1e-12) == 3
    assert sp.count_above(matrix, -1e-12) == 53
    assert sp.count_above(np.zeros((4, 4)), 1e-300) == 0
    assert sp.count_above(np.zeros((4, 4)), -1e-300) == 4
    assert sp.count_above(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.0) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; expected from 1 to 7"),
        ({"k": 8}, "k is 8; expected from 1 to 7"),
        ({"k": 2.5}, "k is 2.5; expected a whole number"),
        ({"k": 2, "route": "fast"}, "route is 'fast'; expected one of auto, dense, krylov"),
        ({"k": 2, "route": "krylov", "tolerance": 0.0}, "tolerance is 0.0"),
        ({"k": 2, "route": "streamed", "max_passes": 0}, "max_passes is 0; expected at least 1"),
    ],
)
def test_unfit_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sp.spectrum(natural_pairs(20, 7), **options)


@pytest.mark.parametrize("k", [0, 6])
def test_krylov_refuses_more_modes_than_there_are(k):
    with pytest.raises(ValueError, match=f"k is {k}; expected from 1 to 5"):
        sp.block_krylov(np.eye(5).__matmul__, 5, k)


@pytest.mark.parametrize(
    ("matrix", "threshold", "message"),
    [
        (np.full((3, 3), np.nan), 0.0, "matrix holds 9 NaN"),
        (np.diag([1.0, np.inf]), 0.0, "matrix holds 1 NaN or inf"),
        (np.eye(2) * 1j, 0.0, "matrix is complex"),
        (np.ones((2, 3)), 0.0, r"matrix has shape \(2, 3\); expected a square"),
        (np.eye(2), np.nan, "threshold is nan"),
    ],
)
def test_eigenvalues_of_what_is_no_finite_square_matrix_are_not_counted(matrix, threshold, message):
    with pytest.raises(ValueError, match=message):
        sp.count_above(matrix, threshold)
