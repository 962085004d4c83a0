"""Random masks of patches."""

import pytest
import torch
from scipy.stats import chisquare

from sslsim.data.views import mask_patches


def test_all_subsets_are_equally_likely():
    _, masked = mask_patches(6000, 5, 0.4, torch.Generator().manual_seed(1))
    counts = torch.bincount(5 * masked[:, 0] + masked[:, 1])
    counts = counts[counts > 0]
    assert len(counts) == 10  # pairs of 5
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_the_paper_s_mask_keeps_a_quarter_and_repeats_itself():
    one, two = (mask_patches(3, 196, 0.75, torch.Generator().manual_seed(2)) for _ in range(2))
    assert (one[0].shape[1], one[1].shape[1]) == (49, 147)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


@pytest.mark.parametrize(
    ("n", "patches", "share"),
    [(0, 4, 0.5), (2, 1, 0.5), (2, 4, 0.0), (2, 4, 1.0), (2, 4, 0.1), (2, 4, float("nan"))],
)
def test_masks_that_keep_or_mask_nothing_are_refused(n, patches, share):
    with pytest.raises(ValueError, match="keeps and masks at least one patch"):
        mask_patches(n, patches, share, torch.Generator())
