"""Planted outliers and the sets of a study: what is always true of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import scored_images
from sslsim.memorization.image_sets import _queues, image_hashes
from sslsim.memorization.outliers import KINDS, plant_atypical
from sslsim.memorization.statistics import SETS


def pictures(count, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, 3, 3)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


@given(
    count=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_outliers_are_as_many_as_asked_and_leave_the_others_alone(count, channels, share, seed):
    images = pictures(count, channels, seed % 100)
    before = images.clone()
    changed, kinds = plant_atypical(images, share, seed=seed)
    assert torch.equal(images, before)
    assert int((kinds > 0).sum()) == round(share * count)
    assert torch.equal(changed[kinds == 0], images[kinds == 0])
    frequent = torch.bincount(kinds, minlength=len(KINDS))[1 : 5 if channels == 3 else 4]
    assert int(frequent.max() - frequent.min()) <= 1
    again, same = plant_atypical(images, share, seed=seed)
    assert torch.equal(again, changed)
    assert torch.equal(same, kinds)
    # Inverted twice, images are what they were; colours come round after three turns.
    twice = 255 - changed[kinds == 1]
    assert torch.equal(twice, images[kinds == 1])
    assert torch.equal(changed[kinds == 4].roll(2, dims=1), images[kinds == 4])
    # A collage keeps its first quadrant; the others are those of some image at the same place.
    rows, columns = (size // 2 for size in images.shape[2:])
    for place in (kinds == 3).nonzero()[:, 0]:
        assert torch.equal(changed[place, :, :rows, :columns], images[place, :, :rows, :columns])
        same = (changed[place, :, rows:, columns:] == images[:, :, rows:, columns:]).flatten(1)
        assert bool(same.all(dim=1).any())
    # A blend stays nearer to its image than uniform noise may lie: 60 % of the way at most.
    moved = (changed[kinds == 2].double() - images[kinds == 2].double()).abs()
    assert bool((moved <= 0.6 * 255 + 0.5).all())


def test_outliers_of_other_seeds_are_others():
    images = pictures(60, 1, 0)
    kinds = [plant_atypical(images, 0.3, seed=seed)[1] for seed in range(2)]
    assert not torch.equal(*kinds)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    sizes=st.tuples(*[st.integers(2, 12)] * 4),
    seed=st.integers(0, 1000),
    atypical=st.sampled_from([0.0, 0.2]),
)
def test_sets_are_disjoint_of_the_sizes_asked_and_blind_to_method_and_seed(sizes, seed, atypical):
    given = dict(zip(("candidates", "independent", "shared", "external"), sizes, strict=True))
    options = {**given, "draw_seed": seed, "limit": 40, "atypical": atypical}
    images = scored_images(MemorizationOptions(**options))
    assert tuple(len(images.sets[name]) for name in SETS) == sizes
    assert torch.cat([images.sets[name] for name in SETS]).tolist() == list(range(sum(sizes)))
    assert len(images.numbers.unique()) == sum(sizes)
    outside = images.set_codes() == SETS.index("external")
    assert np.array_equal(images.numbers.numpy() >= len(images.data.images), outside)
    everything = torch.cat([images.data.images, images.held_out.images])
    assert torch.equal(images.images, everything[images.numbers])
    other = scored_images(
        MemorizationOptions(**options, method="byol", encoder="mlp", seed=seed + 1, steps=3)
    )
    assert torch.equal(images.numbers, other.numbers)
    assert torch.equal(images.images, other.images)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 100))
def test_outliers_queue_with_their_kinds_in_turn(kinds, seed):
    held = torch.tensor(kinds)
    outliers, ordinary = _queues(held, torch.Generator().manual_seed(seed))
    assert sorted(outliers.tolist() + ordinary.tolist()) == list(range(len(kinds)))
    assert not held[ordinary].any()
    for count in range(len(outliers) + 1):
        taken = torch.bincount(held[outliers[:count]], minlength=5)
        left = torch.bincount(held[outliers[count:]], minlength=5)
        # A kind falls behind another only where none of it is left.
        frequent = taken[1:][left[1:] > 0]
        assert not len(frequent) or int(taken.max() - frequent.min()) <= 1


def test_a_study_of_outliers_alone_is_drawn_in_little_memory():
    kinds = torch.arange(200_000) % 4 + 1  # pairs of these would be 40 GB
    outliers, _ = _queues(kinds, torch.Generator().manual_seed(0))
    assert kinds[outliers[:8]].sort().values.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


def test_sets_of_other_draws_are_others():
    options = {"shared": 10, "candidates": 5, "independent": 5, "external": 5, "limit": 40}
    numbers = [
        scored_images(MemorizationOptions(**options, draw_seed=seed)).numbers for seed in range(2)
    ]
    assert not torch.equal(*numbers)


@given(seed=st.integers(0, 1000))
def test_hashes_tell_images_apart_and_nothing_else(seed):
    images = pictures(6, 3, seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    assert np.array_equal(image_hashes(images[order]), image_hashes(images)[order.numpy()])
    assert len(set(image_hashes(images).tolist())) == 6


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="expected a share from 0 to 1"):
        plant_atypical(pictures(3, 1, 0), share)
