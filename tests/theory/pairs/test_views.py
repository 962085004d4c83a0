"""All pairs of k views, against loops over every ordered pair."""

from itertools import permutations

import numpy as np
import pytest

from theory import predict_steps
from theory.pairs.gamma import cross_correlation, read_pairs
from theory.pairs.moments import pair_moments
from theory.pairs.spectrum import spectrum
from theory.pairs.views import views_gamma


def draw(n=9, k=4, m=5, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((n, 1, m)) + 1.0
    return images + 0.7 * rng.standard_normal((n, k, m))


class Stream:
    """Chunks of images that can be read again."""

    def __init__(self, views, size):
        self.views, self.size = views, size

    def __iter__(self):
        for start in range(0, len(self.views), self.size):
            yield self.views[start : start + self.size]


def literal(views, center=False):
    """A loop over every image and every ordered pair of different views."""
    n, k, m = views.shape
    mean = views.reshape(-1, m).mean(axis=0) if center else np.zeros(m)
    total = np.zeros((m, m))
    for image in views:
        for a, b in permutations(range(k), 2):
            total += np.outer(image[a] - mean, image[b] - mean)
    return total / (n * k * (k - 1))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_gamma_is_the_mean_over_all_ordered_pairs(k, center):
    views = draw(k=k)
    expected = literal(views, center)
    for found in (
        views_gamma(views, center=center),
        views_gamma(Stream(views, 4), center=center),
        cross_correlation(read_pairs(views, center=center)),
        cross_correlation(read_pairs(Stream(views, 4), center=center, chunk_bytes=300)),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_two_views_are_one_pair_an_image():
    views = draw(k=2)
    found = predict_steps(views, dim=3, center=True)
    pairs = predict_steps(views[:, 0], views[:, 1], 3, center=True)
    np.testing.assert_allclose(found.step_times, pairs.step_times, rtol=1e-10)
    np.testing.assert_allclose(found.mean, pairs.mean, rtol=1e-12)
    assert found.n_pairs == pairs.n_pairs == 9
    moments = []
    for source in (read_pairs(views), read_pairs(views[:, 0], views[:, 1])):
        moments.append(pair_moments(source, spectrum(source, 3), 3))
    np.testing.assert_allclose(moments[0].noise, moments[1].noise, rtol=1e-9)
    np.testing.assert_allclose(moments[0].own, moments[1].own, rtol=1e-9)


def test_all_pairs_count_and_every_route_agrees():
    views = draw(n=150, k=4, m=60, seed=1) * 0.9 ** np.arange(60)
    dense = predict_steps(views, dim=3, route="dense")
    assert dense.n_pairs == 150 * 6
    for other in (
        predict_steps(Stream(views, 40), dim=3, route="krylov"),
        predict_steps(Stream(views, 40), dim=3, route="streamed"),
    ):
        np.testing.assert_allclose(other.step_times, dense.step_times, rtol=1e-5)


def test_fewer_views_than_features_are_diagonalised_in_their_span():
    views = draw(n=4, k=3, m=40)
    found = spectrum(read_pairs(views), 5)
    assert len(found.eigenvalues) == 12
    expected = np.sort(np.linalg.eigvalsh(literal(views)))[::-1][:4]
    np.testing.assert_allclose(found.eigenvalues[:4], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("route", ["dense", "krylov"])
def test_moments_are_those_of_mean_entries_of_images(route):
    n, k, dim = 30, 3, 2
    views = draw(n, k, m=24, seed=3)
    pairs = read_pairs(views, chunk_bytes=8 * 24 * k * 7)
    modes = spectrum(pairs, dim, route=route)
    moments = pair_moments(pairs, modes, dim)
    vectors = modes.eigenvectors
    entries = np.array([literal(image[None]) for image in views])  # (n, m, m)
    along = np.einsum("mj,nml->njl", vectors[:, :dim], entries)  # (n, d, m)
    inside = along @ vectors
    for j in range(dim):
        np.testing.assert_allclose(moments.own[j], inside[:, j, j].var() / n, rtol=1e-9)
        for other in range(vectors.shape[1]):
            if other != j:
                expected = np.mean(inside[:, j, other] ** 2) / n
                np.testing.assert_allclose(moments.noise[j, other], expected, rtol=1e-9)
        if moments.tail:
            rest = np.sum(along[:, j] ** 2, axis=1) - np.sum(inside[:, j] ** 2, axis=1)
            np.testing.assert_allclose(moments.noise[j, -1], rest.mean() / n, rtol=1e-7)
    assert moments.tail == (route == "krylov")
    assert moments.units == n
    assert moments.floor == -modes.lowest


def test_more_views_make_narrower_intervals_but_images_stay_the_units():
    wide, narrow, images = (
        predict_steps(draw(n, k, m=6, seed=5), dim=1) for n, k in [(80, 2), (80, 12), (640, 12)]
    )
    widths = [(p.step_time_high - p.step_time_low)[0] for p in (wide, narrow, images)]
    assert widths[0] > widths[1] > 1.5 * widths[2]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (np.zeros((3, 1, 2)), "k >= 2 views of each image"),
        (np.ones((1, 4, 2)), r"1 image\(s\) given; expected at least 2"),
        ([np.ones((3, 2, 2)), np.ones((3, 4, 2))], "chunks of 2 and 4 views"),
        (np.ones((3, 2, 2)) * 1j, "complex"),
        (np.full((3, 2, 2), np.nan), "NaN"),
    ],
)
def test_unfit_views_are_refused(views, message):
    with pytest.raises(ValueError, match=message):
        predict_steps(views, dim=1)
