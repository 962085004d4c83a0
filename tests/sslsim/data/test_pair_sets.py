"""Pairs of a data set: drawn from images, or rows of a file."""

import numpy as np
import pytest

from sslsim.data.datasets import load_images
from sslsim.data.pair_sets import load_pair_set
from sslsim.data.pairs import draw_pairs


def test_pairs_of_images_are_those_that_are_drawn():
    pairs = load_pair_set("digits", views="crops", views_per_image=4, pairs=30, seed=3)
    stream = draw_pairs(load_images().images, "crops", 30, views_per_image=4, seed=3)
    for ours, expected in zip(pairs.arrays(), stream.arrays(), strict=True):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(pairs.groups, stream.groups)
    assert (pairs.n_pairs, pairs.m, pairs.n_images, pairs.views) == (30, 36, 15, "crops")
    assert pairs.array_bytes == 2 * 30 * 36 * 8
    assert load_pair_set("digits", pairs=30).groups is None  # one pair an image is independent


def test_pairs_of_a_file_are_its_first_rows(tmp_path):
    x, x_prime = np.random.default_rng(0).standard_normal((2, 9, 3))
    path = str(tmp_path / "pairs.npz")
    np.savez(path, x=x, x_prime=x_prime)
    pairs = load_pair_set(path, pairs=4)
    np.testing.assert_array_equal(pairs.arrays()[1], x_prime[:4])
    assert (pairs.stream, pairs.n_images, pairs.views) == (None, None, None)
    assert load_pair_set(path).n_pairs == 9
    for options, message in (
        ({"pairs": 10}, "pairs is 10; expected from 2 to the 9 pairs"),
        ({"views_per_image": 4}, "views-per-image is 4, but .* expected no --views-per-image"),
        ({"split": "test"}, "split is test, but .* holds pairs"),
        ({"seed": -1}, "seed is -1; expected a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            load_pair_set(path, **options)


def test_views_of_images_are_those_of_their_pairs():
    pairs = load_pair_set("digits", views="crops", views_per_image=4, pairs=30, seed=3)
    views = pairs.stream.views().arrays()
    x, x_prime = pairs.arrays()
    assert views.shape == (15, 4, 36)
    assert pairs.views_per_image == 4
    for image in range(15):
        own = np.flatnonzero(pairs.groups == pairs.groups[2 * image])
        np.testing.assert_array_equal(views[image], np.concatenate([x[own], x_prime[own]]))


def test_every_image_is_used_unless_pairs_limits_them():
    whole = load_pair_set("digits", views="noise", views_per_image=4)
    assert (whole.n_images, whole.n_available, whole.n_pairs) == (1437, 1437, 2874)
    part = load_pair_set("digits", views="noise", views_per_image=4, pairs=31)
    assert (part.n_images, part.n_available, part.n_pairs) == (16, 1437, 32)
    stream = draw_pairs(load_images().images, "noise", 31, views_per_image=4)
    with pytest.raises(ValueError, match="31 pairs are not 2 of each of 16 images"):
        stream.views()


def test_fresh_views_are_new_ones_of_the_same_images():
    stream = load_pair_set("digits", views="noise", pairs=50).stream
    first, again, other = (stream.fresh(number) for number in (4, 4, 5))
    assert first[0].equal(again[0])
    assert not first[0].equal(other[0])
    assert not first[0].equal(first[1])
    clean = stream.images.flatten(1).double() / 255
    for view in (*first, *other):
        assert abs(float((view - clean).std()) - 0.1) < 0.005
