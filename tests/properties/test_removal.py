"""What holds of every choice of images to leave out."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.memorization.finished import Finished
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points
from experiments.memorization.removal import kept_images, removed_counts
from experiments.memorization.removal_options import RemovalOptions
from sslsim.data import Images

NOTHING = Images(torch.zeros(0, 1, 2, 2, dtype=torch.uint8), None, "")


def study_of(scores):
    places = torch.arange(len(scores))
    points = Points(NOTHING, NOTHING, places, NOTHING.images, {}, torch.zeros_like(places))
    return Finished(MemorizationOptions(), points, np.array(scores))


SCORES = st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=30)


@given(SCORES, st.data())
def test_removals_are_nested_and_the_ends_complementary(scores, data):
    n = len(scores)
    small = data.draw(st.integers(0, n))
    large = data.draw(st.integers(small, n))
    seed = data.draw(st.integers(0, 5))
    study = study_of(scores)
    everything = set(range(n))
    for which in ("most", "least", "random"):
        one, other = (set(kept_images(study, which, k, seed).tolist()) for k in (small, large))
        assert other <= one
        assert len(one) == n - small
    most, least = (
        set(kept_images(study, which, k, seed).tolist())
        for which, k in (("most", small), ("least", n - small))
    )
    assert most | least == everything
    assert not most & least
    removed = everything - most
    if removed and most:
        values = np.array(scores)
        assert values[list(removed)].min() >= values[list(most)].max()
    assert kept_images(study, "none", 0, seed).tolist() == sorted(everything)


@given(st.lists(st.sampled_from([0.02, 0.1, 0.25, 0.5, 0.9]), min_size=1, unique=True),
       st.integers(100, 500))  # fmt: skip
def test_counts_are_the_shares_of_the_pool(shares, pool):
    found = removed_counts(RemovalOptions(remove=tuple(shares)), pool)
    assert [share for share, _ in found] == sorted(shares)
    for share, removed in found:
        assert abs(removed - share * pool) <= 0.5
