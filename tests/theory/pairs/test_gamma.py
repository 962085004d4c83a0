"""Gamma against its definition, pair by pair."""

import tracemalloc

import numpy as np
import pytest

from theory.pairs import gamma as gm


def literal(x, x_prime):
    """The definition, as the paper writes it: a sum over pairs of outer products."""
    total = np.zeros((x.shape[1],) * 2)
    for a, b in zip(x, x_prime, strict=True):
        total += np.outer(a, b) + np.outer(b, a)
    return total / (2 * len(x))


def draw(n=40, m=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m)) + rng.standard_normal(m)
    return x, x + rng.standard_normal((n, m))


class OnceOnly:
    """Looks like a collection, but hands out the same iterator every time."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    def __iter__(self):
        yield from self.chunks


@pytest.mark.machine
def test_matrix_is_the_mean_over_pairs_of_outer_products():
    x, x_prime = draw()
    found = gm.cross_correlation(gm.read_pairs(x, x_prime))
    np.testing.assert_allclose(found, literal(x, x_prime), rtol=1e-13, atol=1e-14)
    assert np.array_equal(found, found.T)


def test_matrix_can_be_indefinite():
    """Views that disagree in sign along a direction give it a negative eigenvalue."""
    x = np.random.default_rng(0).standard_normal((50, 2))
    found = gm.cross_correlation(gm.read_pairs(x, x * [1.0, -1.0]))
    assert found[0, 0] == pytest.approx(np.mean(x[:, 0] ** 2), rel=1e-13)
    assert found[1, 1] == pytest.approx(-np.mean(x[:, 1] ** 2), rel=1e-13)


def test_centring_subtracts_the_mean_over_both_views():
    x, x_prime = draw()
    mean = (x.mean(axis=0) + x_prime.mean(axis=0)) / 2.0
    pairs = gm.read_pairs(x, x_prime, center=True)
    found = gm.cross_correlation(pairs)
    np.testing.assert_allclose(pairs.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(found, literal(x - mean, x_prime - mean), rtol=0, atol=1e-13)
    plain = gm.cross_correlation(gm.read_pairs(x, x_prime))
    np.testing.assert_allclose(found, plain - np.outer(mean, mean), rtol=0, atol=1e-13)
    assert not gm.read_pairs(x, x_prime).mean.any()


@pytest.mark.machine
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_every_reader_gives_the_same_streamed_from_bytes(center, scale):
    rng = np.random.default_rng(1)
    x, x_prime = rng.integers(0, 256, (2, 30, 5), dtype=np.uint8)
    chunks = [(x[:11], x_prime[:11]), (x[11:12], x_prime[11:12]), (x[12:], x_prime[12:])]
    four_rows = 8 * 5 * 4
    pairs = gm.read_pairs(chunks, center=center, scale=scale, chunk_bytes=four_rows)
    assert max(len(a) for a, _ in pairs) == 4
    a, b = scale * x.astype(float), scale * x_prime.astype(float)
    mean = (a.mean(axis=0) + b.mean(axis=0)) / 2 if center else np.zeros(5)
    expected = literal(a - mean, b - mean)
    size = np.abs(expected).max()
    assert (pairs.n, pairs.m, pairs.centred, pairs.scale) == (30, 5, center, scale)
    np.testing.assert_allclose(gm.cross_correlation(pairs), expected, rtol=0, atol=1e-13 * size)
    block = rng.standard_normal((5, 3))
    np.testing.assert_allclose(
        gm.apply_cross_correlation(pairs, block), expected @ block, rtol=0, atol=1e-12 * size
    )
    stacked = gm.stacked_views(pairs)
    np.testing.assert_allclose(
        stacked, np.vstack([a, b]) - mean, rtol=0, atol=1e-15 + scale * 1e-13
    )
    energy = np.mean(np.sum((np.vstack([a, b]) - mean) ** 2, axis=1))
    assert pairs.energy == pytest.approx(energy, rel=1e-12)
    read = list(pairs)
    assert max(len(one) for one, _ in read) == 4
    assert {array.dtype for pair in read for array in pair} == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_])
def test_other_types_are_summed_in_double_precision(dtype):
    rng = np.random.default_rng(2)
    x, x_prime = rng.integers(0, 2, (2, 50, 4)).astype(dtype)
    found = gm.cross_correlation(gm.read_pairs(x, x_prime))
    assert found.dtype == np.float64
    expected = literal(x.astype(float), x_prime.astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_layout_in_memory_and_empty_chunks_do_not_matter():
    x, x_prime = draw(20, 6)
    wide = np.asfortranarray(np.hstack([x, x_prime]))
    expected = literal(x, x_prime)
    for source in (
        (wide[:, :6], wide[:, 6:]),
        (x[::-1], x_prime[::-1]),
        ([(x[:0], x_prime[:0]), (x, x_prime), (x[:0], x_prime[:0])],),
        (x.tolist(), x_prime.tolist()),
    ):
        found = gm.cross_correlation(gm.read_pairs(*source))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_the_callers_data_are_left_alone():
    x, x_prime = draw()
    before = x.copy(), x_prime.copy()
    pairs = gm.read_pairs(x, x_prime, center=True, scale=0.5)
    gm.cross_correlation(pairs)
    gm.apply_cross_correlation(pairs, np.eye(7))
    gm.stacked_views(pairs)
    assert np.array_equal(x, before[0])
    assert np.array_equal(x_prime, before[1])


def test_applying_holds_chunks_and_no_matrix():
    chunk = 8 * 2000 * 4
    x, x_prime = np.random.default_rng(3).integers(0, 256, (2, 200, 2000), dtype=np.uint8)
    block = np.ones((2000, 2))
    tracemalloc.start()
    try:
        pairs = gm.read_pairs(x, x_prime, center=True, scale=1 / 255, chunk_bytes=chunk)
        gm.apply_cross_correlation(pairs, block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * chunk  # an m x m array would be 500 chunks


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("view", ["x", "x_prime"])
def test_values_that_are_not_finite_are_refused_by_view(bad, view):
    views = dict(zip(("x", "x_prime"), draw(), strict=True))
    views[view][3, 2] = bad
    with pytest.raises(ValueError, match=rf"^{view} holds 1 NaN or infinite value"):
        gm.read_pairs(views["x"], views["x_prime"])


def test_values_whose_squares_overflow_are_refused():
    x, x_prime = draw()
    with pytest.raises(ValueError, match="x_prime holds values whose squares overflow"):
        gm.read_pairs(x, x_prime * 1e200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2)), np.ones((3, 4))), r"x has shape \(3, 2\) and x_prime \(3, 4\)"),
        ((np.ones((3, 2)), np.ones((4, 2))), r"x has shape \(3, 2\) and x_prime \(4, 2\)"),
        ((np.ones(3), np.ones(3)), r"expected equal \(n, m\)"),
        ((np.ones((3, 0)), np.ones((3, 0))), "m >= 1"),
        ((np.ones((1, 2)), np.ones((1, 2))), r"1 pair\(s\) given; expected at least 2"),
        (([],), r"0 pair\(s\) given; expected at least 2"),
        ((np.ones((3, 2)),), r"array of shape \(3, 2\) and x_prime is missing"),
        (([(np.ones((2, 3)), np.ones((2, 3))), (np.ones((2, 4)), np.ones((2, 4)))],), "4 features"),
        (((pair for pair in [draw()]),), "can be read only once"),
        ((zip(*draw(), strict=True),), "can be read only once"),
    ],
)
def test_unfit_pairs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gm.read_pairs(*arguments)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_unfit_scales_are_refused(scale):
    with pytest.raises(ValueError, match="scale is"):
        gm.read_pairs(*draw(), scale=scale)


def test_chunks_that_change_between_readings_are_refused():
    """Silently empty at the second reading, they would make Gamma zero."""
    pairs = gm.read_pairs(OnceOnly([draw()]))
    with pytest.raises(ValueError, match="40 pairs when first read and 0 when read again"):
        gm.cross_correlation(pairs)
